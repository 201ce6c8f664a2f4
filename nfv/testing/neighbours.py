"""Answers to ARP (RFC 826) and neighbour solicitations (RFC 4861) for whoever is not there.

Who probes whether an address is free (RFC 5227, RFC 4862 section 5.4) gets no answer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from nfv.services.packets import checksum
from nfv.traffic.link import ARP, ETHERNET_HEADER, IPV4, IPV6, payload

Address = IPv4Address | IPv6Address

_ARP_REQUEST = bytes.fromhex("0001080006040001")
_ARP_REPLY = bytes.fromhex("0001080006040002")
_ARP_LENGTH = 28
_IPV6_LENGTH = 40
_IGMP, _ICMPV6, _HOP_BY_HOP = 2, 58, 0
_SOLICITATION, _ADVERTISEMENT = 135, 136
_LISTENERS_AND_NEIGHBOURS = {130, 131, 132, 133, 134, 135, 136, 137, 143}  # ICMPv6 types
_SOLICITED_OVERRIDE = 0x60000000
_TARGET_LINK_ADDRESS = 2  # option: type 2, one unit of 8 bytes


def sender(frame: bytes) -> Address | None:
    """The source address of an IP packet."""
    ethertype, place = payload(frame)
    if ethertype == IPV4 and len(frame) >= place + 20:
        return IPv4Address(frame[place + 12 : place + 16])
    if ethertype == IPV6 and len(frame) >= place + _IPV6_LENGTH:
        return IPv6Address(frame[place + 8 : place + 24])
    return None


def is_background(frame: bytes) -> bool:
    """Whether Linux sends such a frame by itself: ARP, neighbour discovery, IGMP, MLD."""
    ethertype, place = payload(frame)
    if ethertype == IPV4 and len(frame) > place + 9:
        return frame[place + 9] == _IGMP
    if ethertype != IPV6 or len(frame) <= place + _IPV6_LENGTH:
        return ethertype == ARP
    protocol, at = frame[place + 6], place + _IPV6_LENGTH
    if protocol == _HOP_BY_HOP and len(frame) > at + 8:
        protocol, at = frame[at], at + (frame[at + 1] + 1) * 8
    return protocol == _ICMPV6 and len(frame) > at and frame[at] in _LISTENERS_AND_NEIGHBOURS


def answer(frame: bytes, mac: bytes, has: Callable[[Address], bool]) -> bytes | None:
    """What the station `mac`, which has some addresses, answers to a frame; None if nothing."""
    if frame[12:14] == ARP.to_bytes(2, "big"):
        return _arp(frame, mac, has)
    if frame[12:14] == IPV6.to_bytes(2, "big"):
        return _neighbour(frame, mac, has)
    return None


def _arp(frame: bytes, mac: bytes, has: Callable[[Address], bool]) -> bytes | None:
    body = frame[ETHERNET_HEADER : ETHERNET_HEADER + _ARP_LENGTH]
    asked, asker = body[24:28], body[8:18]  # the asker's MAC address and IP address
    if len(body) < _ARP_LENGTH or body[:8] != _ARP_REQUEST or not any(asker[6:]):
        return None
    if asked == asker[6:] or not has(ip_address(asked)):
        return None
    return asker[:6] + mac + frame[12:14] + _ARP_REPLY + mac + asked + asker


def _neighbour(frame: bytes, mac: bytes, has: Callable[[Address], bool]) -> bytes | None:
    at = ETHERNET_HEADER + _IPV6_LENGTH
    asker, asked = frame[22:38], frame[at + 8 : at + 24]
    if len(frame) < at + 24 or frame[20:22] != bytes([_ICMPV6, 255]):
        return None
    if frame[at] != _SOLICITATION or not any(asker) or not has(ip_address(asked)):
        return None
    option = bytes([_TARGET_LINK_ADDRESS, 1]) + mac
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _SOLICITED_OVERRIDE) + asked + option
    check = checksum(asked + asker + struct.pack("!II", len(body), _ICMPV6) + body)
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255) + asked + asker
    return (frame[6:12] + mac + frame[12:14] + header + body[:2] + check.to_bytes(2, "big")) + body[
        4:
    ]
