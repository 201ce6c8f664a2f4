"""Name server (DNS): own zones, the names of the whole topology, and a forwarder with a cache.

It stands in a chain as a bump in the wire, with addresses of its own, at which it answers whatever
a host does: DNS over UDP and TCP, ARP and neighbour discovery, ping. Everything else passes.

| | By |
| --- | --- |
| algorithm, names, messages | RFC 1034, 1035, 2181; case of the question kept |
| wildcards, empty non-terminals | RFC 4592 |
| aliases | CNAME, DNAME (RFC 6672), up to 16 in one answer, through all zones it has |
| delegations | with glue, truncated where that does not fit (RFC 9471) |
| negative answers | RFC 2308 |
| EDNS | version 0, answers up to 1,232 bytes over UDP (RFC 6891, RFC 9715) |
| TCP | pipelined, answers as they are ready (RFC 7766) |
| QTYPE ANY | one record set (RFC 8482) |
| unknown types | RFC 3597 |

**Zones** are records in the topology file, or zone files (RFC 1035, section 5) below its directory,
which may `$INCLUDE` others there. `validate` reads them, and says in which line of which file
something is wrong. A zone of records gets a SOA and an NS record if it has none: its server is
`ns.ZONE`, at the function's own addresses.

**Fast path.** Answers over UDP of up to 128 bytes are kept, ready to be sent, where XDP finds them:
those of all names in the zones, prepared as soon as the zones are loaded, and whatever else was
answered. A change of the zones makes all of them void in one store. What XDP does not know goes to
the service, a process of its own behind a Linux network stack with the function's addresses; while
that is being started again, XDP answers on.

**The directory** is a zone that the topology itself fills: `NAME.ZONE` for every host, for every
router (all its addresses; `INTERFACE.NAME.ZONE` for one of them) and for every name server, and the
reverse zones of their subnets. A zone of the same name in `zones` takes the place of a reverse one.
Clients of a function `dhcp` with `register: NAME` are in it by the name that they call themselves,
as long as they have a lease; nobody gets a name or an address that the topology itself has.

**Forwarding.** Of names in none of the zones, the servers of the closest domain are asked, the
quickest first; one that falls silent is asked last for 10 seconds.

| | By |
| --- | --- |
| who is believed | RFC 5452: a port and a number for each query; after a wrong number, TCP |
| what is believed | the answer's own aliases, and the SOA record (RFC 2181, section 5.4.1) |
| negative answers | RFC 2308 |
| stale answers | for 30 seconds each, when nobody answers within 1.8 seconds (RFC 8767) |
| failures | remembered for 5 seconds (RFC 9520) |
| equal queries at the same time | asked once |
| questions under way | 1,024, of which 128 of one client (of IPv6, one /64) |
| DNSSEC | DO, CD and AD pass through; signatures are not validated here |
| by TLS (`192.0.2.53#dns.example.net`) | RFC 7858, RFC 8310 (strict), queries padded (RFC 8467) |
| private reverse zones, `localhost` | answered here unless in a domain (RFC 6303, RFC 6761) |
| shared address space, `home.arpa` | so are these (RFC 7793, RFC 8375) |

Remembered answers are given on the fast path, too, for a second each time, if `clients` is
everybody (`[0.0.0.0/0, "::/0"]`), as the fast path does not look at who asks.

**Secondary servers** (`transfer`) get zones by AXFR (RFC 5936), the directory among them, and are
told of changes by NOTIFY (RFC 1996), four times at most until they acknowledge it. To IXFR the
answer is what has changed since (RFC 1995), or the whole zone if that is too long ago. A query that
is signed by one of `tsig` has a signed answer (RFC 8945). A zone of records without a SOA record
has the time when it was applied as its serial number.

**Being a secondary** (`primary` of a zone): the zone is copied from the first of these servers that
has it, by IXFR where that is possible, and asked for again as its SOA record says, or as soon as
one of them sends NOTIFY. A copy is kept on the disk. Until it is there, and after it has expired,
the answer is SERVFAIL.

**Dynamic update** (`update` of a zone, RFC 2136): who signs with one of these keys may change the
zone. A change is on the disk before it is acknowledged; it advances the serial number, secondary
servers are told, and all answers of the fast path are void at once. Updates outlive the service and
the machine. Where the topology file says something else of the zone than before, the difference is
applied to the zone as updates have left it.

**Views** tell some clients something else: zones in place of those of the same name, or beside
them. The fast path does not look at who asks, so it answers only what all are told: names in a zone
that a view has, and aliases that lead there, are for the service.

**Cookies** (RFC 7873, RFC 9018) are given to whoever sends its part, on the fast path too; none is
asked for. With `limit`, a network (/24, /56) gets so many answers a second by UDP. Of the queries
beyond that, by the number of `slip`, some have an empty answer that sends a true client to TCP, and
the others none. Clients that show a valid cookie are not limited. All of that is done in XDP,
before a query is looked up, so that a flood is no load for the service.

**Floods.** Of what is not answered on the fast path, the service takes `rate` packets a second of
one sender, an eighth of a second's at once, so that no sender keeps it from the others. A sender is
a MAC address with an address of IPv4, or a network (/64) of IPv6. The name servers that this one
asks are senders, too: where one of them has to answer more, or zones of millions of names are
copied, raise `rate`.

Limits:

- Signatures are not validated: dnspython verifies one with a key that it is given, but neither
  finds the keys from the root down nor proves what does not exist (RFC 4035, section 5), and no
  well-kept library for Python does. Forward to a server that validates, by TLS.
- An answer on the fast path is at most 128 bytes longer than its query, without its OPT record.
- Whoever forges many addresses is many senders to `rate`, and senders whose seeded hashes meet, of
  65,536, are one: give a router or a firewall before the name server `reverse_path`.
- Of TSIG: a MAC that was truncated is a wrong one (RFC 8945, section 5.2.2.1). Of EDNS: no options
  but cookies are answered (no NSID, no keepalive of TCP connections).
- A connection ends after 10 seconds without a query; there are 256 at most at each address, 32 of
  one client, and those beyond are closed.
- A query without a question gets no cookie (RFC 7873, section 5.4). Networks whose seeded hashes
  meet, of 65,536, share a limit. Programs on several CPUs may count an answer less.
- Zones of views do not change by themselves; secondary servers get those of their view, and are not
  told of changes of them.
- Zones are not signed: DNSSEC records in them are refused, and so is a copy of a signed zone.
- The TTL of an update's prerequisite without data, which must be 0, is not looked at. Updates of a
  copy are refused, not handed on to its primary server. What has changed between
  versions is known since the service was started, as far as it is not more than the zone. Any
  update makes all answers on the fast path void; they are prepared again in the background.
- `$GENERATE` is refused. All zones are read into memory, some 10,000 names a second; the answers
  of so many are prepared for the fast path in about two seconds more, 160 bytes each.
- The service answers some 8,000 questions a second that nobody asked before; one that was asked
  before costs it far less, and the fast path nothing
  ([figures](../performance-services.md#names)).
- A name that exists nowhere is on the fast path only after it was asked for once, and gives way to
  others. Names of under 8 or over 96 bytes are always for the service.
- A change of the directory makes all answers on the fast path void, and happens at most four times
  a second. Clients that call themselves the same share the name.
- The fast path does not verify the UDP checksum of a query.
- To clients behind a router, answers go by the router's Linux, see
  [architecture.md](../architecture.md#services).
- At most 4 addresses each of IPv4 and IPv6.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated

import dns.name
import dns.rdatatype
from dns.name import Name as DomainName
from pydantic import Field

from nfv.chain.addressing import check_addresses, check_gateways
from nfv.chain.fields import (
    Address,
    InterfaceAddress,
    Mac,
    Name,
    OneOrMore,
)
from nfv.chain.report import Report, listed
from nfv.functions.base import Function, FunctionConfig
from nfv.services.dns import fastpath, limits
from nfv.services.dns.channel import trust
from nfv.services.dns.config import (
    ForwardConfig,
    KeyConfig,
    LimitConfig,
    TransferConfig,
    ViewConfig,
    ZoneConfig,
)
from nfv.services.dns.fields import Domain
from nfv.services.dns.zone import Zone
from nfv.services.dns.zonecheck import Finding, check_zone
from nfv.services.dns.zonefile import (
    Place,
    Record,
    ZoneFileError,
    parse_records,
    read_records,
)

MAX_ADDRESSES = 4
"""Of each of IPv4 and IPv6."""


class DnsConfig(FunctionConfig):
    """A name server: its addresses, and what it knows."""

    ip: OneOrMore[InterfaceAddress] = Field(description="addresses that it answers at")
    gateway: OneOrMore[Address] = Field((), description="default gateway, one for each family")
    mac: Mac | None = Field(None, description="MAC address; by default derived from the names")
    zone: Domain = Field("lab.example", description="the directory's zone")
    zones: dict[Domain, ZoneConfig] = Field({}, description="zones by name")
    views: dict[Name, ViewConfig] = Field(
        {}, description="by name; the first that a client is in counts"
    )
    forward: ForwardConfig | None = Field(None, description="how other names are resolved")
    tsig: dict[Domain, KeyConfig] = Field({}, description="secrets for signatures, by name")
    transfer: TransferConfig | None = Field(None, description="secondary servers of the zones")
    limit: LimitConfig | None = Field(None, description="response rate limiting")
    rate: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = Field(
        2000,
        description="packets a second of one sender that the service takes; those beyond, of what "
        "is not answered on the fast path, are dropped",
    )

    def check(self, report: Report) -> None:
        check_addresses(self.ip, report)
        check_gateways(self.gateway, self.ip, report)
        for version in (4, 6):
            if sum(address.version == version for address in self.ip) > MAX_ADDRESSES:
                report.error(("ip",), f"more than {MAX_ADDRESSES} IPv{version} addresses")
        self._check_keys(report)
        if self.zone in self.zones:
            message = f"{self.zone} is the directory's zone"
            report.error(("zones", self.zone), message, "give `zone:` another name", key=True)

    def _check_keys(self, report: Report) -> None:
        """Every key that is named must be there."""
        named: list[tuple[tuple[str | int, ...], str | None]] = []
        if self.transfer:
            named.append((("transfer", "key"), self.transfer.key))
        for name, zone in self.zones.items():
            named.append((("zones", name, "key"), zone.key))
            named += [(("zones", name, "update"), key) for key in zone.update]
        hint = f"keys are {listed(self.tsig)}" if self.tsig else "add it to tsig"
        for path, key in named:
            if key is not None and key not in self.tsig:
                report.error(path, f"no key '{key}'", hint)


class Dns(Function[DnsConfig]):
    """Answers questions about names."""

    Config = DnsConfig
    answers = True
    cacheable = True
    counts = False
    service = "nfv.services.dns.service"

    @property
    def addresses(self) -> tuple[InterfaceAddress, ...]:
        return self.config.ip

    @property
    def serves_everybody(self) -> bool:
        """Whether every client may ask about any name."""
        forward = self.config.forward
        return forward is not None and {"0.0.0.0/0", "::/0"} <= set(map(str, forward.clients))

    @property
    def certificates(self) -> str | None:
        """Of those whose word is taken for servers by TLS; None for those the system trusts."""
        forward = self.config.forward
        return self.files.read(forward.ca) if forward and forward.ca else None

    def defines(self) -> Mapping[str, int]:
        return {"RATE": self.config.rate}

    def map_sizes(self) -> Mapping[str, int]:
        answers = sum(fastpath.answers_of(zone) for zone in self.zones.values())
        answers += sum(2 * zone.names for zone in self.config.zones.values() if zone.primary)
        if self.config.forward is not None:
            answers += self.config.forward.entries
        return {
            "own": 1,
            "server": 1,
            "answers": fastpath.capacity(answers),
            "truncated": 1,
            "queries": 1,
            "buckets": limits.BUCKETS if self.config.limit else 1,
            "paces": limits.SENDERS,
        }

    @cached_property
    def zones(self) -> Mapping[DomainName, Zone]:
        """The zones with records of their own; only of a configuration with nothing wrong."""
        return self._read(self.config.zones)

    @cached_property
    def views(self) -> Mapping[str, Mapping[DomainName, Zone]]:
        """The zones of each view; as above."""
        return {name: self._read(view.zones) for name, view in self.config.views.items()}

    def _read(self, zones: Mapping[str, ZoneConfig]) -> Mapping[DomainName, Zone]:
        found = {}
        for name, zone in zones.items():
            if not zone.primary:
                origin = dns.name.from_text(name)
                records = _read(origin, zone, self)
                found[origin] = Zone(origin, ((one.name, one.ttl, one.rdata) for one in records))
        return found

    def check(self, report: Report) -> None:
        self._check_certificates(report)
        self._check_zones(self.config.zones, report)
        for name, view in self.config.views.items():
            self._check_zones(view.zones, report.at("views", name))

    def _check_zones(self, zones: Mapping[str, ZoneConfig], report: Report) -> None:
        for name, zone in zones.items():
            if zone.primary:
                continue
            origin, at = dns.name.from_text(name), report.at("zones", name)
            try:
                records = _read(origin, zone, self)
            except ZoneFileError as error:
                self._report(Finding(error.place, error.message), zone, at)
            except ValueError as error:
                at.error(("file",), str(error))
            else:
                for finding in check_zone(origin, records):
                    self._report(finding, zone, at)

    def _check_certificates(self, report: Report) -> None:
        try:
            if self.certificates is not None:
                trust(self.certificates)
        except ValueError as error:
            report.error(("forward", "ca"), str(error))

    def _report(self, finding: Finding, zone: ZoneConfig, report: Report) -> None:
        """Say where something is wrong: in a zone file, or in the topology file."""
        place = finding.place
        if place is None:
            report.error((), finding.message, finding.hint, key=True)
        elif zone.file is not None:
            lines = self.files.read(place.file).splitlines()
            text = lines[place.line - 1] if place.line <= len(lines) else ""
            report.elsewhere(place.file, place.line, finding.message, finding.hint, text)
        else:
            report.error(_path(place), finding.message, finding.hint)


def _read(origin: DomainName, zone: ZoneConfig, function: Dns) -> list[Record]:
    """The records of a zone. Raises `ZoneFileError`, and `ValueError` for its file itself."""
    if zone.file is not None:
        return read_records(zone.file, origin, function.files.read, zone.ttl)
    found: list[Record] = []
    for index, record in enumerate(zone.records):
        ttl = zone.ttl if record.ttl is None else record.ttl
        for number, data in enumerate(record.data):
            text = f"{record.name} {ttl} IN {record.type} {data}\n"
            found += parse_records(text, origin, f"{index}.{number}")
    return [*_made(origin, found, zone.ttl, function), *found]


def _path(place: Place) -> tuple[str | int, ...]:
    """Where a record of the topology file stands in its zone."""
    index, _, number = place.file.partition(".")
    return ("records", int(index), "data", int(number))


def _made(origin: DomainName, records: list[Record], ttl: int, function: Dns) -> list[Record]:
    """The SOA and NS records that a zone of records lacks, with the address of the server."""
    there = {record.rdata.rdtype for record in records if record.name == origin}
    lines = []
    if dns.rdatatype.SOA not in there:
        lines.append(f"@ {ttl} IN SOA ns hostmaster 1 7200 3600 1209600 {min(ttl, 3600)}")
    if dns.rdatatype.NS not in there:
        lines.append(f"@ {ttl} IN NS ns")
        for address in function.config.ip:
            lines.append(f"ns {ttl} IN {'A' if address.version == 4 else 'AAAA'} {address.ip}")
    return parse_records("\n".join(lines) + "\n", origin, "0.0")
