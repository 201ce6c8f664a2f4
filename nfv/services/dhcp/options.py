"""Options by name: how a topology file writes them, and their bytes (RFC 2132 and others)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import Field

from nfv.chain.families import Address4, Network4, parse_address4
from nfv.chain.fields import Many, Model, OneOrMore
from nfv.chain.report import Report
from nfv.services.dhcp.values import (
    Byte,
    Codes,
    Custom,
    Domain,
    Enterprise,
    Hex,
    Seconds,
    Text,
    address,
    addresses,
    domains,
    number,
    text,
)

_SUBOPTION = 2  # bytes in front of a vendor's option
_MAX_VENDOR = 255  # bytes of one vendor's options
_OWN = frozenset({0, 1, 12, 50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 80, 81, 82, 118})


class ClasslessRoute(Model):
    """A route that clients are told (RFC 3442)."""

    to: Network4 = Field(description="destination prefix")
    via: Address4 = Field(description="next hop; 0.0.0.0: the destination is on the link")


class CustomOption(Custom):
    """An option without a name here."""

    own = _OWN
    code: Annotated[int, Field(strict=True, ge=1, le=254)] = Field(description="its number")

    def packed(self, value: object) -> bytes:
        return parse_address4(value).packed


class VendorOption(Custom):
    """An option that one vendor has defined."""

    own = frozenset[int]()
    code: Byte = Field(description="its number")

    def packed(self, value: object) -> bytes:
        return parse_address4(value).packed


class VendorOptions(Model):
    """What clients of a vendor are told (RFC 3925, section 4)."""

    enterprise: Enterprise = Field(description="its enterprise number")
    options: Annotated[Many[VendorOption], Field(min_length=1)] = Field(
        description="options as it has defined them"
    )

    def check(self, report: Report) -> None:
        try:
            lengths = [len(one.content()) + _SUBOPTION for one in self.options]
        except (ValueError, TypeError, OverflowError):  # each says itself what is wrong with it
            return
        if sum(lengths) > _MAX_VENDOR:
            report.error(("options",), f"are longer than {_MAX_VENDOR} bytes")

    def content(self) -> bytes:
        """The bytes of the options, each with its number and length."""
        contents = [(one.code, one.content()) for one in self.options]
        return b"".join(bytes((code, len(content))) + content for code, content in contents)


class Options(Model):
    """Options for clients, by name; the number of each is in brackets."""

    time_offset: Annotated[int, Field(strict=True, ge=-(1 << 31), le=(1 << 31) - 1)] | None = Field(
        None, description="seconds east of Greenwich (2)"
    )
    routers: OneOrMore[Address4] = Field((), description="default gateways (3)")
    dns: OneOrMore[Address4] = Field((), description="DNS servers (6)")
    log_servers: OneOrMore[Address4] = Field((), description="syslog servers (7)")
    domain: Domain | None = Field(None, description="the clients' domain (15)")
    root_path: Text | None = Field(None, description="path of the root disk (17)")
    mtu: Annotated[int, Field(strict=True, ge=68, le=65535)] | None = Field(
        None, description="MTU of the interface, in bytes (26)"
    )
    broadcast: Address4 | None = Field(None, description="broadcast address (28)")
    static_routes: Many[ClasslessRoute] = Field(
        (), description="routes (121); clients that take them are not told `routers`"
    )
    nis_domain: Text | None = Field(None, description="domain of NIS (40)")
    nis: OneOrMore[Address4] = Field((), description="NIS servers (41)")
    ntp: OneOrMore[Address4] = Field((), description="NTP servers (42)")
    vendor: Hex | None = Field(None, description="vendor-specific information (43)")
    netbios: OneOrMore[Address4] = Field((), description="NetBIOS name servers (44)")
    netbios_type: Byte | None = Field(None, description="type of NetBIOS node (46)")
    smtp: OneOrMore[Address4] = Field((), description="SMTP servers (69)")
    tftp_server: Text | None = Field(None, description="name of the TFTP server (66)")
    boot_file: Text | None = Field(None, description="name of the boot file (67)")
    posix_timezone: Text | None = Field(None, description="time zone as TZ has it (100)")
    timezone: Text | None = Field(None, description="time zone, such as Europe/Paris (101)")
    ipv6_only: Seconds | None = Field(
        None, description="clients that can do without IPv4 wait so many seconds (108, RFC 8925)"
    )
    captive_portal: Text | None = Field(None, description="URI of its API (114, RFC 8910)")
    search: OneOrMore[Domain] = Field((), description="domains to look names up in (119)")
    sip: OneOrMore[Address4] = Field((), description="SIP servers (120, RFC 3361)")
    vendor_options: Many[VendorOptions] = Field(
        (), description="options of vendors, by enterprise (125)"
    )
    tftp_servers: OneOrMore[Address4] = Field((), description="TFTP servers of phones (150)")
    proxy: Text | None = Field(None, description="URL of the proxy configuration (252)")


def _sip(values: Iterable[IPv4Address]) -> bytes:
    return b"\1" + addresses(values)


def _routes(values: Iterable[ClasslessRoute]) -> bytes:
    """RFC 3442: only as many bytes of a destination as its prefix has."""
    parts = []
    for route in values:
        length = route.to.prefixlen
        destination = route.to.network_address.packed[: (length + 7) // 8]
        parts.append(bytes((length,)) + destination + route.via.packed)
    return b"".join(parts)


def _vendor(values: Iterable[VendorOptions]) -> bytes:
    """RFC 3925, section 4."""
    parts = []
    for one in values:
        content = one.content()
        parts.append(one.enterprise.to_bytes(4, "big") + bytes((len(content),)) + content)
    return b"".join(parts)


CODES: Codes = {
    "time_offset": (2, number(4, signed=True)),
    "routers": (3, addresses),
    "dns": (6, addresses),
    "log_servers": (7, addresses),
    "domain": (15, text),
    "root_path": (17, text),
    "mtu": (26, number(2)),
    "broadcast": (28, address),
    "static_routes": (121, _routes),
    "nis_domain": (40, text),
    "nis": (41, addresses),
    "ntp": (42, addresses),
    "vendor": (43, bytes),
    "netbios": (44, addresses),
    "netbios_type": (46, number(1)),
    "smtp": (69, addresses),
    "tftp_server": (66, text),
    "boot_file": (67, text),
    "posix_timezone": (100, text),
    "timezone": (101, text),
    "ipv6_only": (108, number(4)),
    "captive_portal": (114, text),
    "search": (119, domains),
    "sip": (120, _sip),
    "vendor_options": (125, _vendor),
    "tftp_servers": (150, addresses),
    "proxy": (252, text),
}
"""Number of each named option, and how its value is sent."""
