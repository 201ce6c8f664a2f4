"""What a topology file may say of a name server's zones, clients and peers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from nfv.chain.fields import Many, Model, Network, OneOrMore
from nfv.chain.report import Report
from nfv.services.dns.fields import (
    Domain,
    Line,
    RecordType,
    Secret,
    ServerAddress,
    Ttl,
    UpstreamAddress,
)


class RecordConfig(Model):
    """Resource records of one name and type, written as in a zone file."""

    name: Line = Field("@", description="owner, relative to the zone; `@` is the zone itself")
    type: RecordType
    ttl: Ttl | None = Field(None, description="seconds; by default that of the zone")
    data: OneOrMore[Line] = Field(
        description="data of each record; names are relative to the zone unless a dot ends them",
        examples=["192.0.2.1", ["10 mail", "20 mail.example.net."]],
    )


class ZoneConfig(Model):
    """A zone: its records, or the file that has them."""

    file: Line | None = Field(
        None, description="zone file, relative to the topology file", examples=["example.org.zone"]
    )
    records: Many[RecordConfig] = Field((), description="the records")
    ttl: Ttl = Field(3600, description="seconds, for records without a TTL")
    update: OneOrMore[Domain] = Field(
        (), description="keys, of `tsig`, with which clients may change the zone"
    )
    primary: OneOrMore[ServerAddress] = Field(
        (), description="servers that have the zone, which this one then has a copy of"
    )
    key: Domain | None = Field(
        None, description="key, of `tsig`, that signs what is asked of `primary`"
    )
    names: Annotated[int, Field(strict=True, ge=1, le=1 << 22)] = Field(
        10_000, description="names in a copy that the fast path has room for"
    )

    def check(self, report: Report) -> None:
        given = [word for word in ("file", "records", "primary") if getattr(self, word)]
        if len(given) > 1:
            report.error((given[1],), f"a zone has {given[0]} or {given[1]}, not both", key=True)
        elif not given:
            report.error((), "the zone is empty", "add records, a file, or a primary")
        if self.update and self.primary:
            report.error(("update",), "a copy is changed where it comes from", key=True)
        if self.key is not None and not self.primary:
            report.error(("key",), "the key is for a primary", "add primary: ADDRESS", key=True)

    @property
    def is_unnumbered(self) -> bool:
        """Whether it has no SOA record, so that its versions count by themselves."""
        return bool(self.records) and not any(one.type == "SOA" for one in self.records)


class ViewConfig(Model):
    """What some clients are told otherwise: zones in place of those of the same name, or beside."""

    clients: OneOrMore[Network] = Field(description="whom it is for")
    zones: dict[Domain, ZoneConfig] = Field(description="zones by name, of records or a file")

    def check(self, report: Report) -> None:
        for name, zone in self.zones.items():
            if zone.primary or zone.update:
                word = "primary" if zone.primary else "update"
                message = "a zone of a view does not change by itself"
                report.error(("zones", name, word), message, key=True)


class ForwardConfig(Model):
    """Names in none of the zones: other name servers are asked, and what they say is remembered."""

    to: OneOrMore[UpstreamAddress] = Field(
        (), description="name servers for all names; the quickest that answers is asked"
    )
    domains: dict[Domain, OneOrMore[UpstreamAddress]] = Field(
        {},
        description="name servers for the names of a domain",
        examples=[{"corp.example": ["10.0.0.53"]}],
    )
    clients: OneOrMore[Network] = Field(
        (), description="who may ask; by default the subnets of the topology"
    )
    entries: Annotated[int, Field(strict=True, ge=16, le=1 << 20)] = Field(
        10_000, description="answers that are remembered"
    )
    max_ttl: Ttl = Field(86_400, description="seconds for which an answer is remembered at most")
    max_negative_ttl: Ttl = Field(3600, description="the same for what does not exist")
    stale: Ttl = Field(
        86_400, description="seconds for which an answer serves beyond its time if nobody answers"
    )
    filter_private: StrictBool = Field(
        False,
        description="refuse answers of `to` with addresses that are not of the public internet",
    )
    ca: Line | None = Field(
        None,
        description="file with the certificates (PEM) of those who sign for servers by TLS; "
        "by default those that the system trusts",
        examples=["ca.pem"],
    )

    def check(self, report: Report) -> None:
        if not self.to and not self.domains:
            report.error((), "there is nobody to ask", "add to: ADDRESS, or domains")


class KeyConfig(Model):
    """A shared secret that signs messages (TSIG, RFC 8945)."""

    algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] = Field(
        "hmac-sha256", description="how messages are signed"
    )
    secret: Secret = Field(description="in base 64, as `keymgr -t NAME` of Knot DNS makes it")


class TransferConfig(Model):
    """Secondary servers, which have copies of all zones (AXFR) and are told of changes (NOTIFY)."""

    clients: OneOrMore[Network] = Field((), description="who may have the zones")
    key: Domain | None = Field(None, description="key that they sign with, one of `tsig`")
    notify: OneOrMore[ServerAddress] = Field((), description="who is told when a zone changes")

    def check(self, report: Report) -> None:
        if not self.clients and self.key is None:
            report.error((), "everybody could have the zones", "add clients, or a key")


class LimitConfig(Model):
    """How many answers by UDP a network gets: what a forged sender could be made to receive."""

    rate: Annotated[int, Field(strict=True, ge=1, le=100_000)] = Field(
        50, description="answers a second to a network (/24, /56), and at once"
    )
    slip: Annotated[int, Field(strict=True, ge=0, le=100)] = Field(
        2,
        description="of so many queries beyond that, one is answered, empty, which sends a true "
        "client to TCP; 0 for none",
    )
