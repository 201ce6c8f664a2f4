"""A service's IPv4 addresses on its links: ARP (RFC 826) and echo requests (RFC 792)."""

from __future__ import annotations

import struct
from collections.abc import Collection
from ipaddress import IPv4Address

from nfv.services.packets import (
    BROADCAST_MAC,
    ETH_P_ARP,
    ETH_P_IP,
    ETHERNET,
    FRAGMENT,
    IPPROTO_ICMP,
    IPV4,
    build_ip,
    checksum,
)

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_IPV4 = (1, ETH_P_IP, 6, 4)  # hardware, protocol, and their lengths
_ARP_REQUEST, _ARP_REPLY = 1, 2

_ICMP = struct.Struct("!BBHI")
_ECHO_REPLY, _ECHO_REQUEST = 0, 8


def answer(frame: bytes, own: Collection[IPv4Address], mac: bytes) -> bytes | None:
    """The frame that answers one for an address of `own`; None if it asks for none of them."""
    if len(frame) < ETHERNET.size:
        return None
    _, asker, ethertype = ETHERNET.unpack_from(frame)
    packet = frame[ETHERNET.size :]
    if asker[0] & 1:
        return None
    if ethertype == ETH_P_ARP:
        return _arp_reply(packet, own, mac)
    if ethertype == ETH_P_IP:
        return _echo_reply(packet, asker, own, mac)
    return None


def request(own: IPv4Address, mac: bytes, address: IPv4Address) -> bytes:
    """The frame that asks a link who has an address."""
    asked = _ARP.pack(*_ARP_IPV4, _ARP_REQUEST, mac, own.packed, bytes(6), address.packed)
    return ETHERNET.pack(BROADCAST_MAC, mac, ETH_P_ARP) + asked


def holder(frame: bytes) -> tuple[IPv4Address, bytes] | None:
    """The address, and its station, that an ARP reply is about; None for any other frame."""
    if len(frame) < ETHERNET.size + _ARP.size:
        return None
    if ETHERNET.unpack_from(frame)[2] != ETH_P_ARP:
        return None
    *kind, code, station, address, _, _ = _ARP.unpack_from(frame, ETHERNET.size)
    if tuple(kind) != _ARP_IPV4 or code != _ARP_REPLY:
        return None
    return IPv4Address(address), station


def _arp_reply(packet: bytes, own: Collection[IPv4Address], mac: bytes) -> bytes | None:
    if len(packet) < _ARP.size:
        return None
    *kind, code, asker, address, _, target = _ARP.unpack_from(packet)
    if tuple(kind) != _ARP_IPV4 or code != _ARP_REQUEST or IPv4Address(target) not in own:
        return None
    reply = _ARP.pack(*_ARP_IPV4, _ARP_REPLY, mac, target, asker, address)
    return ETHERNET.pack(asker, mac, ETH_P_ARP) + reply


def _echo_reply(
    packet: bytes, asker: bytes, own: Collection[IPv4Address], mac: bytes
) -> bytes | None:
    if len(packet) < IPV4.size:
        return None
    head, _, length, _, fragment, _, protocol, _, src, dst = IPV4.unpack_from(packet)
    header = (head & 15) * 4
    message = packet[header:length]
    if protocol != IPPROTO_ICMP or fragment & FRAGMENT or IPv4Address(dst) not in own:
        return None
    if len(message) < _ICMP.size or message[0] != _ECHO_REQUEST or checksum(message):
        return None
    reply = bytes([_ECHO_REPLY, 0, 0, 0]) + message[4:]
    reply = reply[:2] + checksum(reply).to_bytes(2, "big") + reply[4:]
    return build_ip(asker, mac, IPv4Address(dst), IPv4Address(src), IPPROTO_ICMP, reply)
