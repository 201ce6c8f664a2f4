"""A station that says by DHCPv6 whatever a test wants, built and read by Scapy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scapy.layers import dhcp6
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.integration.helpers.dhcpwire import LAST, Station, mac, opened
from tests.integration.helpers.lab import Lab

ALL_SERVERS = "ff02::1:2"

_ANSWERS = (dhcp6.DHCP6_Advertise, dhcp6.DHCP6_Reply)


def duid(number: int) -> Any:
    """The identifier of client `number`."""
    return dhcp6.DUID_LL(lladdr=mac(number))


def client(number: int) -> Any:
    """The option that says who a message is from."""
    return dhcp6.DHCP6OptClientId(duid=duid(number))


def association(*addresses: str, iaid: int = 1) -> Any:
    """An association that asks for addresses, or for any."""
    held = [dhcp6.DHCP6OptIAAddress(addr=address) for address in addresses]
    return dhcp6.DHCP6OptIA_NA(iaid=iaid, ianaopts=held)


def message(
    content: Any, number: int, dst: str = ALL_SERVERS, src: str = "", sport: int = 546
) -> Any:
    """A client's message in its frame."""
    frame = Ether(src=mac(number), dst="33:33:00:01:00:02")
    frame /= IPv6(src=src or f"fe80::{number:x}", dst=dst)
    return frame / UDP(sport=sport, dport=547) / content


def relayed(content: Any, link: str, peer: str, hops: int = 0, port: bytes = b"") -> Any:
    """What a relay agent makes of a message."""
    around = dhcp6.DHCP6_RelayForward(linkaddr=link, peeraddr=peer, hopcount=hops)
    if port:
        around /= dhcp6.DHCP6OptIfaceId(ifaceid=port)
    return around / dhcp6.DHCP6OptRelayMsg(message=content)


def code(answer: Any) -> int:
    """The status of an answer, or of its association; 0 if there is none."""
    kind = dhcp6.DHCP6OptIA_NA if dhcp6.DHCP6OptIA_NA in answer else dhcp6.DHCP6OptIA_PD
    inner = []
    if kind in answer:
        found = answer[kind]
        inner = found.ianaopts if kind is dhcp6.DHCP6OptIA_NA else found.iapdopt
    for option in inner:
        if isinstance(option, dhcp6.DHCP6OptStatusCode):
            return int(option.statuscode)
    has_status = dhcp6.DHCP6OptStatusCode in answer
    return int(answer[dhcp6.DHCP6OptStatusCode].statuscode) if has_status else 0


def given(answer: Any) -> dict[str, tuple[int, int]]:
    """The addresses of an answer's association, and their lifetimes."""
    return {
        option.addr: (option.preflft, option.validlft)
        for option in answer[dhcp6.DHCP6OptIA_NA].ianaopts
        if isinstance(option, dhcp6.DHCP6OptIAAddress)
    }


@contextmanager
def station6(lab: Lab, host: str) -> Iterator[Station]:
    """The interface of a host."""
    with opened(lab, host) as sock:
        last = message(dhcp6.DHCP6_InfoRequest(trid=LAST), 0xFFF)
        yield Station(sock, last, _transaction)


def _transaction(frame: Any) -> int | None:
    for kind in _ANSWERS:
        if kind in frame:
            return int(frame[kind].trid)
    return 0 if dhcp6.DHCP6_RelayReply in frame else None
