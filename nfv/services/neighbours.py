"""Answers for the addresses of a service's own: ARP (RFC 826), neighbour solicitations (RFC 4861,
section 7.2.4) and echo requests (RFC 792, RFC 4443, section 4.2).
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address

from nfv.services.packets import (
    BROADCAST_MAC,
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    ETHERNET,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPV4,
    IPV6,
    IPAddress,
    build_ip,
    checksum,
    pseudo_header,
)

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_IPV4 = (1, ETH_P_IP, 6, 4)  # hardware, protocol, and their lengths
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ICMP = struct.Struct("!BBHI")
_ECHO_REPLY, _ECHO_REQUEST = 0, 8
_ECHO_REQUEST6, _ECHO_REPLY6 = 128, 129
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOLICITED, _OVERRIDE = 1 << 30, 1 << 29
_OPTION_TARGET_MAC = b"\x02\x01"
_NEIGHBOUR_TTL = 255
_ALL_NODES = IPv6Address("ff02::1")


def answer(frame: bytes, own: Collection[IPAddress], mac: bytes) -> bytes | None:
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
        return _echo_reply4(packet, asker, own, mac)
    if ethertype == ETH_P_IPV6:
        return _answer6(packet, asker, own, mac)
    return None


def arp_probe(target: IPv4Address, mac: bytes) -> bytes:
    """A frame that asks whether an address is in use, without claiming one (RFC 5227, 2.1.1)."""
    request = _ARP.pack(*_ARP_IPV4, _ARP_REQUEST, mac, bytes(4), bytes(6), target.packed)
    return ETHERNET.pack(BROADCAST_MAC, mac, ETH_P_ARP) + request


def arp_source(frame: bytes) -> IPv4Address | None:
    """The address that the sender of an ARP message has; None for other frames."""
    if len(frame) < ETHERNET.size + _ARP.size:
        return None
    if ETHERNET.unpack_from(frame)[2] != ETH_P_ARP:
        return None
    return IPv4Address(_ARP.unpack_from(frame, ETHERNET.size)[6])


def _arp_reply(packet: bytes, own: Collection[IPAddress], mac: bytes) -> bytes | None:
    if len(packet) < _ARP.size:
        return None
    *kind, code, asker, address, _, target = _ARP.unpack_from(packet)
    if tuple(kind) != _ARP_IPV4 or code != _ARP_REQUEST or IPv4Address(target) not in own:
        return None
    reply = _ARP.pack(*_ARP_IPV4, _ARP_REPLY, mac, target, asker, address)
    return ETHERNET.pack(asker, mac, ETH_P_ARP) + reply


def _echo_reply4(
    packet: bytes, asker: bytes, own: Collection[IPAddress], mac: bytes
) -> bytes | None:
    if len(packet) < IPV4.size:
        return None
    head, _, length, _, fragment, _, protocol, _, src, dst = IPV4.unpack_from(packet)
    header = (head & 15) * 4
    message = packet[header:length]
    if protocol != IPPROTO_ICMP or fragment & 0x3FFF or IPv4Address(dst) not in own:
        return None
    if len(message) < _ICMP.size or message[0] != _ECHO_REQUEST or checksum(message):
        return None
    reply = bytes([_ECHO_REPLY, 0, 0, 0]) + message[4:]
    reply = reply[:2] + checksum(reply).to_bytes(2, "big") + reply[4:]
    return build_ip(asker, mac, IPv4Address(dst), IPv4Address(src), IPPROTO_ICMP, reply)


def _answer6(packet: bytes, asker: bytes, own: Collection[IPAddress], mac: bytes) -> bytes | None:
    if len(packet) < IPV6.size:
        return None
    _, length, protocol, ttl, source, destination = IPV6.unpack_from(packet)
    src, dst = IPv6Address(source), IPv6Address(destination)
    message = packet[IPV6.size : IPV6.size + length]
    if protocol != IPPROTO_ICMPV6 or len(message) < _ICMP.size or len(message) != length:
        return None
    if checksum(pseudo_header(src, dst, length, IPPROTO_ICMPV6) + message):
        return None
    if message[0] == _ECHO_REQUEST6 and dst in own:
        return _icmp6(asker, mac, dst, src, bytes([_ECHO_REPLY6, 0, 0, 0]) + message[4:])
    if message[0] != _SOLICITATION or ttl != _NEIGHBOUR_TTL or len(message) < _ICMP.size + 16:
        return None
    target = IPv6Address(message[8:24])
    if target not in own:
        return None
    flags = _OVERRIDE if src.is_unspecified else _SOLICITED | _OVERRIDE
    advertisement = _ICMP.pack(_ADVERTISEMENT, 0, 0, flags) + target.packed
    advertisement += _OPTION_TARGET_MAC + mac
    if src.is_unspecified:  # somebody probes for duplicates: all are told
        return _icmp6(b"\x33\x33\0\0\0\x01", mac, target, _ALL_NODES, advertisement)
    return _icmp6(asker, mac, target, src, advertisement)


def _icmp6(
    dst_mac: bytes, src_mac: bytes, src: IPv6Address, dst: IPv6Address, message: bytes
) -> bytes:
    covered = pseudo_header(src, dst, len(message), IPPROTO_ICMPV6) + message
    message = message[:2] + checksum(covered).to_bytes(2, "big") + message[4:]
    return build_ip(dst_mac, src_mac, src, dst, IPPROTO_ICMPV6, message, _NEIGHBOUR_TTL)
