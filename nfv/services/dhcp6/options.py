"""DHCPv6 options by name: how a topology file writes them, and their bytes (RFC 3646 and so on)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Annotated

from pydantic import Field

from nfv.chain.families import Address6, parse_address6
from nfv.chain.fields import Model, OneOrMore
from nfv.services.dhcp.values import Codes, Custom, Domain, Text, addresses, domains, number, text
from nfv.services.dhcp6.wire import build_options

_NTP_ADDRESS = 1  # sub-option (RFC 5908, section 4.1)
_OWN = frozenset({*range(1, 17), 18, 19, 20, 25, 26, 37, 39, 79})


MaxRt = Annotated[int, Field(strict=True, ge=60, le=86400)]


class CustomOption6(Custom):
    """A DHCPv6 option without a name here."""

    own = _OWN
    code: Annotated[int, Field(strict=True, ge=1, le=65535)] = Field(description="its number")

    def packed(self, value: object) -> bytes:
        return parse_address6(value).packed


class Options6(Model):
    """DHCPv6 options for clients, by name; the number of each is in brackets."""

    sip: OneOrMore[Address6] = Field((), description="SIP servers (22, RFC 3319)")
    dns: OneOrMore[Address6] = Field((), description="DNS servers (23, RFC 3646)")
    search: OneOrMore[Domain] = Field((), description="domains to look names up in (24)")
    sntp: OneOrMore[Address6] = Field((), description="SNTP servers (31, RFC 4075)")
    refresh: Annotated[int, Field(strict=True, ge=600, le=0xFFFFFFFF)] | None = Field(
        None, description="seconds until clients without addresses ask again (32)"
    )
    posix_timezone: Text | None = Field(None, description="time zone as TZ has it (41)")
    timezone: Text | None = Field(None, description="time zone, such as Europe/Paris (42)")
    ntp: OneOrMore[Address6] = Field((), description="NTP servers (56, RFC 5908)")
    boot_file: Text | None = Field(None, description="URL of the boot file (59, RFC 5970)")
    sol_max_rt: MaxRt | None = Field(None, description="seconds between two Solicits at most (82)")
    inf_max_rt: MaxRt | None = Field(
        None, description="seconds between two Information-requests at most (83)"
    )
    captive_portal: Text | None = Field(None, description="URI of its API (103, RFC 8910)")


def _ntp(values: Iterable[IPv6Address]) -> bytes:
    return build_options((_NTP_ADDRESS, one.packed) for one in values)


CODES: Codes = {
    "sip": (22, addresses),
    "dns": (23, addresses),
    "search": (24, domains),
    "sntp": (31, addresses),
    "refresh": (32, number(4)),
    "posix_timezone": (41, text),
    "timezone": (42, text),
    "ntp": (56, _ntp),
    "boot_file": (59, text),
    "sol_max_rt": (82, number(4)),
    "inf_max_rt": (83, number(4)),
    "captive_portal": (103, text),
}
"""Number of each named option, and how its value is sent."""
