"""Link layers of captures (tcpdump.org/linktypes.html), and packets of each as Ethernet frames."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

ETHERNET_HEADER = 14
MAX_TAGS = 2  # of 802.1Q and 802.1ad, one in the other
VLAN_TAG = 4
VLAN_TYPES = frozenset({0x8100, 0x88A8})
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806

_FAMILY = 4  # bytes in front of packets of LINKTYPE_NULL and LINKTYPE_LOOP
_LINUX_HEADER, _LINUX_HEADER2 = 16, 20  # bytes of LINKTYPE_LINUX_SLL and _SLL2


@dataclass(frozen=True)
class Macs:
    """Destination and source of frames that have none of their own."""

    destination: bytes
    source: bytes


def _by_version(data: bytes) -> tuple[int, int] | None:
    version = data[0] >> 4 if data else 0
    return {4: (IPV4, 0), 6: (IPV6, 0)}.get(version)


def _loopback(data: bytes) -> tuple[int, int] | None:
    """A protocol family in front, in any byte order: of IPv6 each system has its own number."""
    found = _by_version(data[_FAMILY:])
    return found and (found[0], _FAMILY)


def _linux(data: bytes) -> tuple[int, int] | None:
    if len(data) < _LINUX_HEADER:
        return None
    return int(struct.unpack_from("!H", data, 14)[0]), _LINUX_HEADER


def _linux2(data: bytes) -> tuple[int, int] | None:
    if len(data) < _LINUX_HEADER2:
        return None
    return int(struct.unpack_from("!H", data)[0]), _LINUX_HEADER2


ETHERNET = 1
_WITHOUT_MACS: dict[int, Callable[[bytes], tuple[int, int] | None]] = {
    0: _loopback,  # LINKTYPE_NULL: the loopback interface of BSD and macOS
    108: _loopback,  # LINKTYPE_LOOP: that of OpenBSD
    12: _by_version,  # LINKTYPE_RAW as BSD numbers it
    101: _by_version,  # LINKTYPE_RAW
    228: _by_version,  # LINKTYPE_IPV4
    229: _by_version,  # LINKTYPE_IPV6
    113: _linux,  # LINKTYPE_LINUX_SLL: tcpdump -i any
    276: _linux2,  # LINKTYPE_LINUX_SLL2
}
"""How to find ethertype and place of a packet behind headers that are not Ethernet's."""

KNOWN = frozenset({ETHERNET, *_WITHOUT_MACS})


def frame(link: int, data: bytes, macs: Macs) -> bytes | None:
    """The packet as an Ethernet frame without check sequence; None if it cannot be one.

    `macs` are for packets that were captured without.
    """
    if link == ETHERNET:
        return data if len(data) >= ETHERNET_HEADER else None
    found = _WITHOUT_MACS[link](data)
    if found is None:
        return None
    ethertype, place = found
    return macs.destination + macs.source + ethertype.to_bytes(2, "big") + data[place:]


def payload(data: bytes | bytearray) -> tuple[int, int]:
    """Ethertype and place of what an Ethernet frame carries, behind VLAN tags."""
    place = ETHERNET_HEADER
    ethertype = int.from_bytes(data[place - 2 : place], "big")
    for _ in range(MAX_TAGS):
        if ethertype not in VLAN_TYPES:
            break
        place += VLAN_TAG
        ethertype = int.from_bytes(data[place - 2 : place], "big")
    return ethertype, place
