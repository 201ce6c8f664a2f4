"""Frames described in a word or two: `tcp,src=10.0.1.5,dst=192.0.2.9,dport=23`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeAlias

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6Unknown, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from nfv.chain.report import did_you_mean, listed
from nfv.errors import InputError
from nfv.traffic import link

Address: TypeAlias = IPv4Address | IPv6Address

_COMMON = ("src", "dst", "smac", "dmac", "ttl", "tos", "length")
_KEYS = {
    "tcp": (*_COMMON, "sport", "dport", "flags", "seq", "ack"),
    "udp": (*_COMMON, "sport", "dport"),
    "icmp": (*_COMMON, "type", "code", "id", "seq"),
    "arp": ("src", "dst", "smac", "dmac"),
    "ip": (*_COMMON, "proto"),
}
_WORDS = frozenset({"src", "dst", "smac", "dmac", "flags"})  # what is no number
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_ECHO = {8: ICMPv6EchoRequest, 128: ICMPv6EchoRequest, 129: ICMPv6EchoReply}
_FLAGS = frozenset("FSRPAUECN")


@dataclass(frozen=True)
class Ends:
    """What a packet has that is not described: from the place where it is to enter."""

    source: Callable[[int], Address | None]  # by IP version
    source_mac: str
    destination_mac: Callable[[Address | None], str]  # by where the packet goes


def frame(text: str, ends: Ends) -> bytes:
    """The frame that a text describes. Raises `InputError` that says what cannot be understood."""
    kind, values = _parse(text)
    try:
        return bytes(_arp(values, ends) if kind == "arp" else _packet(kind, values, ends))
    except InputError:
        raise
    except Exception as error:  # what Scapy raises depends on the field
        raise InputError(f"'{text}' cannot be built: {error}") from error


def complete(packet: Packet, ends: Ends) -> bytes:
    """A packet as a frame: one that begins with IP gets the Ethernet header of its sender."""
    if not isinstance(packet, (IP, IPv6)):
        return bytes(packet)
    version = 4 if isinstance(packet, IP) else 6
    if "src" not in packet.fields and (source := ends.source(version)):
        packet.src = str(source)
    destination = ends.destination_mac(ip_address(packet.dst))
    return bytes(Ether(src=ends.source_mac, dst=destination) / packet)


def framed(link_type: int, data: bytes, ends: Ends) -> bytes | None:
    """A captured packet as a frame: one without Ethernet header gets that of its sender.

    None for one of which it is not known what it is.
    """
    if link_type == link.ETHERNET:
        return data
    bare = link.frame(link_type, data, link.Macs(bytes(6), bytes(6)))
    if bare is None:
        return None
    kind = {link.IPV4: IP, link.IPV6: IPv6}.get(link.payload(bare)[0])
    destination = ip_address(kind(bare[link.ETHERNET_HEADER :]).dst) if kind else None
    macs = (ends.destination_mac(destination), ends.source_mac)
    return b"".join(bytes.fromhex(mac.replace(":", "")) for mac in macs) + bare[12:]


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    kind, *parts = (part.strip() for part in text.split(","))
    if kind not in _KEYS:
        raise InputError(f"'{kind}' is no kind of packet", did_you_mean(kind, _KEYS, _example()))
    values: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or key not in _KEYS[kind]:
            message = f"'{part}' is not KEY=VALUE with a key of {kind}"
            raise InputError(message, f"keys are {listed(_KEYS[kind])}")
        values[key] = _value(key, value)
    return kind, values


def _example() -> str:
    return f"write one of {listed(_KEYS)}, as in tcp,dst=192.0.2.9,dport=80"


def _value(key: str, text: str) -> Any:
    if key in ("src", "dst"):
        try:
            return ip_address(text)
        except ValueError as error:
            raise InputError(f"{key}={text}: this is no IP address") from error
    if key == "flags" and not _FLAGS.issuperset(text):
        raise InputError(f"flags={text}: TCP flags are letters of FSRPAUEC, as in SA")
    if key in _WORDS:
        return text
    try:
        return int(text, 0)
    except ValueError as error:
        raise InputError(f"{key}={text}: this is no number") from error


def _addresses(values: Mapping[str, Any], ends: Ends) -> tuple[Address, Address]:
    given = [values[key] for key in ("dst", "src") if key in values]
    if "dst" not in values:
        raise InputError("a packet needs a destination", "add dst=ADDRESS")
    version = given[0].version
    source = values.get("src") or ends.source(version)
    if source is None:
        raise InputError(f"the SAP has no IPv{version} address of its own", "add src=ADDRESS")
    if source.version != version:
        raise InputError("src and dst are of different IP versions")
    return source, values["dst"]


def _packet(kind: str, values: Mapping[str, Any], ends: Ends) -> Packet:
    source, destination = _addresses(values, ends)
    names = {4: ("ttl", "tos", "proto"), 6: ("hlim", "tc", "nh")}[source.version]
    fields = {
        name: values[key]
        for key, name in zip(("ttl", "tos", "proto"), names, strict=True)
        if key in values
    }
    layer = IP if source.version == 4 else IPv6
    packet = (
        _ether(values, ends, destination)
        / layer(src=str(source), dst=str(destination), **fields)
        / _transport(kind, values, source.version)
    )
    missing = values.get("length", 0) - len(packet)
    return packet / Raw(bytes(missing)) if missing > 0 else packet


def _ether(values: Mapping[str, Any], ends: Ends, destination: Address | None) -> Packet:
    to = values.get("dmac") or ends.destination_mac(destination)
    return Ether(src=values.get("smac") or ends.source_mac, dst=to)


def _transport(kind: str, values: Mapping[str, Any], version: int) -> Packet:
    own = {key: values[key] for key in _KEYS[kind] if key in values and key not in _COMMON}
    if kind == "tcp":
        return TCP(**{"sport": 40000, "dport": 80, "flags": "S", **own})
    if kind == "udp":
        return UDP(**{"sport": 40000, "dport": 53, **own})
    if kind == "ip":
        return Raw(b"")
    if version == 4:
        return ICMP(**own)
    echo = _ECHO.get(own.get("type", 8))
    if echo is None:
        return ICMPv6Unknown(type=own["type"], code=own.get("code", 0), msgbody=bytes(4))
    return echo(**{key: value for key, value in own.items() if key != "type"})


def _arp(values: Mapping[str, Any], ends: Ends) -> Packet:
    """Who has an address (RFC 826)."""
    source, destination = _addresses(values, ends)
    mac = values.get("smac") or ends.source_mac
    asked = ARP(hwsrc=mac, psrc=str(source), pdst=str(destination))
    return Ether(src=mac, dst=values.get("dmac") or _BROADCAST) / asked
