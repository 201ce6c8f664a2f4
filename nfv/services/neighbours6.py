"""Answers for the IPv6 addresses of a service's own: solicitations (RFC 4861), echo (RFC 4443)."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv6Address

from nfv.services.packets import checksum
from nfv.services.packets6 import (
    IPPROTO_ICMPV6,
    Packet6,
    build_packet,
    parse_packet,
    pseudo_header,
)

_ECHO_REQUEST, _ECHO_REPLY = 128, 129
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOLICITATION_SIZE = 24  # without options
_SOLICITED, _OVERRIDE = 0x40, 0x20
_TARGET_ADDRESS = b"\2\1"  # option: type, length in units of 8 bytes
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_NEAR = 255  # hop limit of what no router has passed on


def answer(frame: bytes, own: Collection[IPv6Address], mac: bytes) -> bytes | None:
    """The frame that answers one for an address of `own`; None if it asks for none of them."""
    packet = parse_packet(frame)
    if packet is None or packet.protocol != IPPROTO_ICMPV6 or packet.src_mac[0] & 1:
        return None
    message = packet.payload
    pseudo = pseudo_header(packet.src, packet.dst, IPPROTO_ICMPV6, len(message))
    if len(message) < 8 or packet.src.is_multicast or checksum(pseudo + message):
        return None
    if message[0] == _SOLICITATION:
        return _advertisement(packet, own, mac)
    if message[0] == _ECHO_REQUEST and packet.dst in own and not packet.src.is_unspecified:
        reply = bytes((_ECHO_REPLY, 0, 0, 0)) + message[4:]
        return _framed(Packet6(mac, packet.src_mac, packet.dst, packet.src, IPPROTO_ICMPV6, reply))
    return None


def _advertisement(packet: Packet6, own: Collection[IPv6Address], mac: bytes) -> bytes | None:
    message = packet.payload
    if len(message) < _SOLICITATION_SIZE or message[1] or packet.hop_limit != _NEAR:
        return None
    target = IPv6Address(message[8:_SOLICITATION_SIZE])
    if target not in own:
        return None
    flags, to, to_mac = _SOLICITED | _OVERRIDE, packet.src, packet.src_mac
    if packet.src.is_unspecified:  # somebody is about to take the address
        flags, to, to_mac = _OVERRIDE, _ALL_NODES, _ALL_NODES_MAC
    head = bytes((_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0))
    reply = head + target.packed + _TARGET_ADDRESS + mac
    return _framed(Packet6(mac, to_mac, target, to, IPPROTO_ICMPV6, reply, _NEAR))


def _framed(packet: Packet6) -> bytes:
    """The frame of an ICMPv6 message whose checksum is not there yet."""
    message = packet.payload
    pseudo = pseudo_header(packet.src, packet.dst, IPPROTO_ICMPV6, len(message))
    check = checksum(pseudo + message).to_bytes(2, "big")
    summed = message[:2] + check + message[4:]
    macs = packet.src_mac, packet.dst_mac
    ends = packet.src, packet.dst
    return build_packet(Packet6(*macs, *ends, IPPROTO_ICMPV6, summed, packet.hop_limit))
