"""DHCPv4 and DHCPv6 server: addresses, prefixes and options for the hosts on its chains.

It stands in a chain as a bump in the wire and has addresses of its own on the clients' subnets, at
which it answers ARP, neighbour solicitations and ping. What clients and relay agents send to a
server it takes out of the chain and answers, or drops; all else passes. Answers go back along the
chain, through the functions between it and the client.

| | By |
| --- | --- |
| server | RFC 2131: allocation, OFFER and ACK that agree, DECLINE, RELEASE, INFORM, when a NAK |
| options | RFC 2132, by name or by number; long ones (RFC 3396), overload, what clients ask for |
| routes | RFC 3442 |
| clients | by identifier, else hardware address; the identifier is sent back (RFC 6842) |
| relay agents | RFC 1542; option 82 is sent back (RFC 3046), the link that they select (RFC 3527) |
| names of clients | option 12, or 81 (RFC 4702) |
| network boot | next server, file; by vendor class, user class (RFC 3004), system (RFC 4578) |
| vendors | options 124 and 125 (RFC 3925) |
| rapid commit | RFC 4039 |
| `mode: relay` | RFC 1542: adds option 82 with the access point as circuit, takes it off answers |
| DHCPv6, `ipv6` | RFC 9915: addresses, delegated prefixes, stateless, rapid commit |
| its options | RFC 3646 and others, by name or by number, those that clients ask for |
| its relay agents | nested; interface (18), remote-id (RFC 4649), hardware address (RFC 6939) |
| its names | option 39 (RFC 4704) |
| `mode: relay`, IPv6 | RFC 9915, section 19; messages of any kind (RFC 7283) |

`nfvctl inspect TOPOLOGY NAME` lists the leases, `nfvctl tell TOPOLOGY NAME release ip=ADDRESS` ends
one. Each change of a lease is a line of JSON in `/var/lib/nfv/TOPOLOGY/NAME/events.jsonl`.

Hosts cannot exhaust the addresses of others: one access point, or relay agent, has `limit` leases,
those included that it has declined, and what comes without a relay agent must come from the station
that it names. Nor can they keep the server busy: of each chain it takes `rate` messages a second.

With `probe`, the link is asked by ARP whether somebody uses an address already, before a client is
offered it (RFC 2131, section 2.2); one that is in use is left alone for an hour. Other clients do
not wait meanwhile.

Clients that renew, rebind or start again are answered on the fast path from the second time on. It
promises a lease only for as long as the disk says that the address is kept, which is two lease
times; when it did is in the lease within a second.

A lease is on disk (SQLite, synced) before its ACK leaves. Leases survive whatever ends the worker,
a restart of the machine and changes of the topology; `nfvctl destroy` removes them. One outside all
pools, after a pool has shrunk, runs out and is not renewed.

Limits, and why:

- The worker is Python: 6,000 first leases a second by DHCPv4 (four messages each), where Kea 2.2,
  which does not sync, does 13,500; by DHCPv6 4,000, where Kea does 16,000. Renewals of DHCPv4 on
  the fast path: 1.1 million a second, where Kea does 18,000; those of DHCPv6 were not measured
  ([figures](../performance-services.md)).
- DHCPv6 tells no default route and no prefix of the link, which are the router advertisements' to
  tell (RFC 4861). Hosts work without them by a link-local `gateway`
  ([host](../topology.md#host)). A host with `dhcp: true` asks by DHCPv6 where a function of the
  topology gives addresses; what is stateless it does not ask for.
- DHCPv6 is answered by the worker, renewals too. Its server identifier follows from the MAC
  address (DUID-LL): with another `mac`, clients rebind.
- An association gets one address, or one prefix; what lifetimes a client wishes is not heard.
- Clients are not told to reconfigure (RFC 9915, section 18.3.11): that needs its authentication,
  which clients do not have. Leasequery (RFC 4388, 5007) and failover (RFC 8156) are left out.
- Answers of DHCPv6 that are longer than the MTU of the link are not sent in fragments: they leave
  out options that do not fit.
- On the fast path a message is answered that differs from one that its client has sent before in
  nothing but its transaction and seconds: clients that renew, rebind or start again send such. It
  must be a multiple of 4 bytes long, of 572 at most, and have come without relay agent.
- A relay agent finds the client by the option 82 that the server sends back, as RFC 3046 demands;
  answers of servers that do not send it back are lost.
- Addresses for clients behind relay agents are not probed: their links are not the server's. Those
  of DHCPv6 neither: clients do that themselves (RFC 4862), and DECLINE.
- A lease is of a client on one link; leases are not shared with a second server (failover), for
  which there is no standard.
- Vendor-specific options (43) are sent as the bytes that the file gives.
- Authentication of messages (RFC 3118) is left out: clients do not have it. So who sends another's
  identifier, from a station of any address, is taken for that client, as every server takes it.
- Forcing a client to renew (RFC 3203) would need that authentication.
- What a host says as if it were a relay agent is believed, and counts for that agent's `limit`;
  a firewall in front can drop messages from port 67 (RFC 3046, section 5).
- An offer is on no disk: after a restart of the service another client may be offered the address,
  and who asks for it first gets it.
- BOOTP clients, which do not say what their message is (RFC 1534), are not answered.
- An address that is reserved for a client in use by another one is not given: the client gets one
  of a pool until that is over.
- Messages in several IP fragments are dropped: clients do not send such.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import IPv4Interface, IPv6Interface
from typing import Annotated, Literal

from pydantic import Field

from nfv.chain.addressing import check_gateways
from nfv.chain.families import Address4, AddressRange, Network4, Range4
from nfv.chain.fields import (
    Address,
    InterfaceAddress,
    Mac,
    Many,
    Model,
    Name,
    OneOrMore,
)
from nfv.chain.report import Report, did_you_mean, listed
from nfv.ebpf import sources
from nfv.ebpf.tables import Maps
from nfv.functions.base import Function, FunctionConfig
from nfv.services.dhcp.options import CustomOption, Options
from nfv.services.dhcp.values import Domain, Enterprise, Identifier, LeaseSeconds, Text, Word
from nfv.services.dhcp6.config import Ipv6

OWN_ADDRESSES = 8
"""Addresses that a function can have of its own."""

REPEATS = 16384
"""Messages that are answered again on the fast path; those not sent for longest give way."""

REPEATED_LEASES = 65536
"""Leases that such answers may be about."""

STAGES = sources.constant("functions/dhcp.c", "SELF_STAGES")
"""Chains and directions of which each has a rate of its own."""

MAX_SUBNETS = 1024
"""Subnets of one function."""


class Boot(Model):
    """Where clients boot from, in the message's own fields (RFC 2131, section 2)."""

    server: Address4 | None = Field(None, description="next server (siaddr)")
    server_name: Text | None = Field(None, description="its name, at most 63 characters (sname)")
    file: Text | None = Field(None, description="boot file, at most 127 characters (file)")

    def check(self, report: Report) -> None:
        for key, most in (("server_name", 63), ("file", 127)):
            if len((getattr(self, key) or "").encode()) > most:
                report.error((key,), f"is longer than {most} bytes")


class Told(Model):
    """What clients are told."""

    options: Options = Field(Options(), description="options by name")
    custom: Many[CustomOption] = Field((), description="options by number")
    boot: Boot = Field(Boot(), description="where to boot from")


class Class(Told):
    """Clients of a kind: all conditions must hold."""

    vendor: Text | None = Field(None, description="beginning of the vendor class (60)")
    user: Text | None = Field(None, description="the user class (77)")
    enterprise: Enterprise | None = Field(
        None, description="enterprise number of the vendor, as option 124 or 125 says (RFC 3925)"
    )
    arch: OneOrMore[Word] = Field((), description="architectures of PXE clients (93, RFC 4578)")

    def check(self, report: Report) -> None:
        if not (self.vendor or self.user or self.arch) and self.enterprise is None:
            report.error((), "a class without a condition is every client's", "add vendor or user")


class Reservation(Told):
    """An address for one client, and what only that is told. It is known by one of its marks."""

    ip: Address4 = Field(description="its address; may be in a pool, others do not get it")
    mac: Mac | None = Field(None, description="its MAC address")
    client_id: Identifier | None = Field(None, description="its client identifier (61)")
    circuit_id: Identifier | None = Field(None, description="its port, as the relay says (82, 1)")
    remote_id: Identifier | None = Field(None, description="as the relay says (82, 2)")
    hostname: Domain | None = Field(None, description="name that it is given (12)")

    def check(self, report: Report) -> None:
        marks = [self.mac, self.client_id, self.circuit_id, self.remote_id]
        if sum(mark is not None for mark in marks) != 1:
            hint = "write one of mac, client_id, circuit_id and remote_id"
            report.error((), f"{self.ip} is reserved for nobody, or by several marks", hint)


class Pool(Model):
    """Addresses that are given to clients in turn."""

    range: Range4 = Field(description="the addresses")
    classes: OneOrMore[Name] = Field((), description="only for clients of one of these classes")


class Subnet(Told):
    """A subnet of clients."""

    network: Network4 = Field(description="its prefix")
    pools: Many[Pool] = Field((), description="addresses for whoever asks")
    exclude: OneOrMore[Range4] = Field((), description="addresses in the pools that nobody gets")
    reservations: Many[Reservation] = Field((), description="addresses for one client each")
    link: Name | None = Field(
        None, description="name of the link; subnets of one name share it (shared network)"
    )
    chains: OneOrMore[Name] = Field(
        (),
        description="chains whose hosts are on it; by default those with an address of it at one "
        "end, or if there are none, one of `ip`",
    )
    lease: LeaseSeconds | None = Field(None, description="instead of the function's")

    def check(self, report: Report) -> None:
        for index, pool in enumerate(self.pools):
            self._check_inside(pool.range, ("pools", index, "range"), report)
        for index, reservation in enumerate(self.reservations):
            at = ("reservations", index, "ip")
            self._check_inside((reservation.ip, reservation.ip), at, report)
        for index, excluded in enumerate(self.exclude):
            self._check_inside(excluded, ("exclude", index), report)

    def _check_inside(
        self, addresses: AddressRange, at: tuple[str | int, ...], report: Report
    ) -> None:
        first, last = addresses
        if first not in self.network or last not in self.network:
            report.error(at, f"is not within {self.network}")
        elif self.network.prefixlen < 31:
            ends = self.network.network_address, self.network.broadcast_address
            if first == ends[0] or last == ends[1]:
                message = f"{ends[0]} and {ends[1]} are no host's addresses"
                report.error(at, message, "leave them out")


class DhcpConfig(FunctionConfig, Told):
    """A DHCP server: its addresses, and the subnets of its clients."""

    ip: OneOrMore[InterfaceAddress] = Field(
        description="own addresses, best one on each subnet of hosts; those of IPv4 identify the "
        "server"
    )
    mac: Mac | None = Field(None, description="MAC address; by default derived from the names")
    mode: Literal["server", "relay"] = Field(
        "server", description="relay: hand on between clients and `servers`"
    )
    servers: OneOrMore[Address] = Field((), description="servers that a relay agent hands on to")
    gateway: OneOrMore[Address] = Field(
        (), description="default gateway of a relay agent, one for each family"
    )
    subnets: Annotated[Many[Subnet], Field(max_length=MAX_SUBNETS)] = Field(
        (), description="subnets of clients, on the chains or behind relay agents"
    )
    classes: dict[Name, Class] = Field(
        default_factory=dict, description="kinds of clients by name; what the first says wins"
    )
    lease: LeaseSeconds = Field(3600, description="seconds that a lease lasts")
    lease_max: LeaseSeconds | None = Field(
        None, description="if clients ask for more: at most so many; by default `lease`"
    )
    renew: LeaseSeconds | None = Field(
        None, description="seconds until clients renew (T1); by default half of the lease"
    )
    rebind: LeaseSeconds | None = Field(
        None, description="seconds until they ask any server (T2); by default 7/8 of the lease"
    )
    authoritative: Annotated[bool, Field(strict=True)] = Field(
        True, description="false: do not refuse (NAK) addresses that belong to no subnet here"
    )
    rapid_commit: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: give a lease at once to clients that ask so (RFC 4039)"
    )
    probe: Annotated[int, Field(strict=True, ge=0, le=5000)] = Field(
        0,
        description="milliseconds that an address is asked for by ARP before it is offered, while "
        "the offer waits; 0: it is not",
    )
    guard: Annotated[bool, Field(strict=True)] = Field(
        True, description="false: let answers of other DHCP servers pass"
    )
    limit: Annotated[int, Field(strict=True, ge=1, le=1 << 20)] = Field(
        1024, description="leases at most of the clients behind one access point or relay agent"
    )
    rate: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = Field(
        1000,
        description="messages a second that are treated of one chain in one direction; those "
        "beyond are dropped",
    )
    ipv6: Ipv6 | None = Field(None, description="DHCPv6; by default there is none")
    name_server: Name | None = Field(  # `register` is a method of every class of models
        None,
        alias="register",
        description="function `dns` that learns the names and addresses of clients",
    )

    @property
    def ip4(self) -> tuple[IPv4Interface, ...]:
        """Own addresses of IPv4."""
        return tuple(one for one in self.ip if isinstance(one, IPv4Interface))

    @property
    def ip6(self) -> tuple[IPv6Interface, ...]:
        """Own addresses of IPv6."""
        return tuple(one for one in self.ip if isinstance(one, IPv6Interface))

    @property
    def has_ipv6(self) -> bool:
        """Whether it serves DHCPv6, or hands it on."""
        return self.ipv6 is not None or any(one.version == 6 for one in self.servers)


class Dhcp(Function[DhcpConfig]):
    """Gives hosts their addresses."""

    Config = DhcpConfig
    cacheable = True
    answers = True
    counts = False

    @property
    def service(self) -> str:
        return f"nfv.services.dhcp.{'relay' if self.config.mode == 'relay' else 'service'}"

    @property
    def name_server(self) -> str | None:
        return self.config.name_server

    @property
    def addresses(self) -> tuple[InterfaceAddress, ...]:
        return self.config.ip

    @property
    def addresses_by(self) -> set[int]:
        """IP versions of the addresses that it gives to hosts, or hands on from servers."""
        relayed = {server.version for server in self.config.servers}
        ipv4 = {4} if self.config.subnets else set()
        ipv6 = {6} if self.config.ipv6 and self.config.ipv6.subnets else set()
        return relayed | ipv4 | ipv6

    def defines(self) -> Mapping[str, int]:
        config = self.config
        ipv6 = int(config.has_ipv6)
        return {"GUARD": int(config.guard), "IPV6": ipv6, "RATE": config.rate}

    def map_sizes(self) -> Mapping[str, int]:
        return {"own": 1, "repeats": REPEATS, "leases": REPEATED_LEASES, "paces": STAGES}

    def fill(self, maps: Maps, counters: Mapping[str, int], before: Mapping[str, int]) -> None:
        ipv4 = b"".join(address.ip.packed for address in self.config.ip4)
        ipv6 = b"".join(address.ip.packed for address in self.config.ip6)
        own = ipv4.ljust(4 * OWN_ADDRESSES, b"\0") + ipv6.ljust(16 * (OWN_ADDRESSES - 1), b"\0")
        maps.memory("own")[: len(own)] = own  # behind it: the service's own link-local address

    def check_chains(self, chains: Collection[str], report: Report) -> None:
        for index, subnet in enumerate(self.config.subnets):
            for number, name in enumerate(subnet.chains):
                if name not in chains:
                    message = f"'{name}' is no chain that this function stands in"
                    hint = did_you_mean(name, chains, f"it stands in {listed(chains)}")
                    report.error(("subnets", index, "chains", number), message, hint)
        if self.config.ipv6:
            self.config.ipv6.check_chains(chains, report.at("ipv6"))

    def check(self, report: Report) -> None:
        self._check_mode(report)
        self._check_own(report)
        self._check_networks(report)
        self._check_reservations(report)
        for index, subnet in enumerate(self.config.subnets):
            for number, pool in enumerate(subnet.pools):
                at = report.at("subnets", index, "pools", number)
                unknown = [name for name in pool.classes if name not in self.config.classes]
                if unknown:
                    hint = f"classes are {', '.join(self.config.classes) or 'none'}"
                    at.error(("classes",), f"no class '{unknown[0]}'", hint)

    def _check_mode(self, report: Report) -> None:
        """A server has subnets, a relay agent has servers; neither has what is the other's."""
        config = self.config
        subnets, stateless = config.subnets, config.ipv6
        wanted, others = "subnets", ["servers", "gateway"]
        if config.mode == "relay":
            wanted, others = "servers", ["subnets", "classes"]
            if config.ipv6 and config.ipv6.subnets:
                report.error(("ipv6", "subnets"), "mode: relay has no subnets", key=True)
        if not (config.servers if config.mode == "relay" else subnets or stateless):
            report.error((), f"a {config.mode} needs {wanted}", f"add `{wanted}:`")
        for key in others:
            if getattr(config, key):
                report.error((key,), f"mode: {config.mode} has no {key}", key=True)
        times = [time for time in (config.renew, config.rebind, config.lease) if time is not None]
        if times != sorted(set(times)):
            message = "renew, rebind and lease must follow each other in time"
            report.error(("lease",), message, "write renew < rebind < lease")
        check_gateways(config.gateway, config.ip, report)

    def _check_own(self, report: Report) -> None:
        """There is room for the own addresses, and those are there that messages come from."""
        config = self.config
        most = {4: OWN_ADDRESSES, 6: OWN_ADDRESSES - 1}
        for version, own in ((4, config.ip4), (6, config.ip6)):
            if len(own) > most[version]:
                report.error(("ip",), f"more than {most[version]} addresses of IPv{version}")
        if not config.ip4 and (config.subnets or any(one.version == 4 for one in config.servers)):
            report.error(("ip",), "no address of IPv4, which DHCPv4 comes from")
        if not config.ip6 and any(one.version == 6 for one in config.servers):
            report.error(("ip",), "no address of IPv6, which its servers answer to")

    def _check_networks(self, report: Report) -> None:
        subnets = self.config.subnets
        for index, subnet in enumerate(subnets):
            at = report.at("subnets", index)
            for earlier in subnets[:index]:
                if earlier.network.overlaps(subnet.network):
                    at.error(("network",), f"overlaps {earlier.network}")
            self._check_pools(subnet, at)

    def _check_pools(self, subnet: Subnet, report: Report) -> None:
        taken: list[AddressRange] = []
        for number, pool in enumerate(subnet.pools):
            first, last = pool.range
            for start, end in taken:
                if first <= end and start <= last:
                    report.error(("pools", number, "range"), f"overlaps {start}-{end}")
            taken.append(pool.range)

    def _check_reservations(self, report: Report) -> None:
        seen: dict[object, str] = {}
        own = {address.ip for address in self.config.ip}
        for index, subnet in enumerate(self.config.subnets):
            for number, found in enumerate(subnet.reservations):
                at = report.at("subnets", index, "reservations", number)
                where = f"subnets[{index}].reservations[{number}]"
                if found.ip in own:
                    at.error(("ip",), f"{found.ip} is the function's own address")
                first = seen.setdefault(found.ip, where)
                if first != where:
                    at.error(("ip",), f"{first} has {found.ip} too")
                for key in ("mac", "client_id", "circuit_id", "remote_id"):
                    mark = getattr(found, key)
                    first = seen.setdefault((index, key, mark), where) if mark else where
                    if first != where:
                        at.error((key,), f"{first} is for the same client")
