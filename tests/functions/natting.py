"""A NAT as a bump in the wire between two hosts: its topology, and what packets become in it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from nfv.dataplane.kernel.jiffies import Jiffies
from nfv.services.packets import checksum
from tests.functions.bench import Bench, Outcome
from tests.functions.frames import ether

INSIDE, OTHER = "10.0.1.10", "10.0.1.11"
OUTSIDE = "192.0.2.1"
REMOTE, STRANGER = "198.51.100.7", "198.51.100.8"

_SITE_MASQUERADE, _SITE_INSIDE = 4, 8  # in struct self_site


def nat(*keys: str) -> str:
    """A topology whose NAT has these keys, lines as in the file."""
    return "\n".join(
        [
            "name: bench-nat",
            "saps:",
            "  lan: {kind: host, ip: 10.0.1.10/24}",
            "  wan: {kind: host, ip: 198.51.100.7/24}",
            "vnfs:",
            "  nat:",
            "    type: nat",
            *(f"    {key}" for key in keys),
            "chains:",
            "  wire: {path: [lan, nat, wan]}",
        ]
    )


def pool(outside: str = OUTSIDE, **keys: object) -> str:
    """The key `pools` with one pool, of whose addresses everybody may use all."""
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return f"pools: [{{outside: {outside}{more}}}]"


def locate(bench: Bench, vnf: str = "nat", masquerade: str = "0.0.0.0", inside: str = "") -> None:
    """Say what the agent would: the masquerade address, and the MAC address inside."""
    memory = bench.map_of(vnf, "site").memory()
    struct.pack_into("=I", memory, _SITE_MASQUERADE, int(IPv4Address(masquerade)))
    raw = bytes.fromhex(inside.replace(":", "")) or bytes(6)
    memory[_SITE_INSIDE : _SITE_INSIDE + 6] = raw


def send(bench: Bench, packet: Packet, side: str = "lan") -> Outcome:
    """Let a packet come in from a side."""
    other = "wan" if side == "lan" else "lan"
    return bench.run(side, ether(bench, side, other) / packet)


def out(bench: Bench, packet: Packet, side: str = "lan") -> Any:
    """The IP packet that comes out at the other side; the reason, if none does.

    Its checksums are those that Scapy would write, and the Ethernet header is as it was.
    """
    outcome = send(bench, packet, side)
    if outcome.egress is None:
        return outcome.reason
    frame: Any = Ether(outcome.frame)
    assert outcome.egress == ("wan" if side == "lan" else "lan")
    assert bytes(frame)[:14] == bytes(ether(bench, side, outcome.egress) / IP())[:14]
    assert bytes(frame[IP]) == renewed(frame[IP]), "checksums"
    return frame[IP]


def renewed(packet: Any) -> bytes:
    """The bytes of an IP packet with checksums worked out anew, but those of UDP that are 0."""
    again = packet.copy()
    for layer in (IP, TCP, UDP, ICMP):
        found = again.getlayer(layer)
        if found is not None and (layer is not UDP or found.chksum != 0):
            found.chksum = None
    return bytes(again)


def sources(bench: Bench, packets: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The source endpoints that datagrams from inside ones get, in their order.

    Nothing else is looked at, so thousands are quick.
    """
    packet = IP(src=INSIDE, dst=REMOTE) / UDP(sport=5000, dport=53, chksum=0) / Raw(b"datagram")
    frame, found = bytearray(bytes(ether(bench, "lan", "wan") / packet)), []
    for address, port in packets:
        frame[26:30], frame[34:36] = IPv4Address(address).packed, port.to_bytes(2, "big")
        frame[24:26] = bytes(2)
        frame[24:26] = checksum(bytes(frame[14:34])).to_bytes(2, "big")
        _verdict, went = bench.execute("lan", bytes(frame))
        found.append((str(IPv4Address(went[26:30])), int.from_bytes(went[34:36], "big")))
    return found


def ends(packet: Any) -> tuple[str, int, str, int]:
    """Source and destination, with ports; of an ICMP query the identifier as both."""
    if ICMP in packet:
        return packet.src, packet[ICMP].id, packet.dst, packet[ICMP].id
    return packet.src, packet.sport, packet.dst, packet.dport


def udp(sport: int = 5000, dport: int = 53, src: str = INSIDE, dst: str = REMOTE) -> Any:
    """A datagram from inside."""
    return IP(src=src, dst=dst) / UDP(sport=sport, dport=dport) / Raw(b"datagram")


def tcp(flags: str = "S", sport: int = 5000, dport: int = 80, src: str = INSIDE, **ip: Any) -> Any:
    """A segment from inside."""
    header = IP(**{"src": src, "dst": REMOTE, **ip})
    return header / TCP(sport=sport, dport=dport, flags=flags, seq=7)


def answer(packet: Any, flags: str = "SA") -> Any:
    """The remote host's answer to a packet that it has got."""
    header = IP(src=packet.dst, dst=packet.src)
    if ICMP in packet:
        return header / ICMP(type=0, id=packet[ICMP].id, seq=packet[ICMP].seq) / Raw(b"data")
    if UDP in packet:
        return header / UDP(sport=packet.dport, dport=packet.sport) / Raw(b"an answer")
    return header / TCP(sport=packet.dport, dport=packet.sport, flags=flags)


def arp(bench: Bench, side: str, target: str, sender: str) -> Outcome:
    """Have a host ask for an address."""
    mac = bench.mac(side)
    frame = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
    return bench.run(side, frame / ARP(op=1, hwsrc=mac, psrc=sender, pdst=target))


def mapped(bench: Bench, vnf: str = "nat") -> int:
    """How many mappings there are, which both tables agree on."""
    outward = len(list(bench.map_of(vnf, "outward").items()))
    assert outward == len(list(bench.map_of(vnf, "inward").items()))
    return outward


def age(bench: Bench, seconds: float, vnf: str = "nat") -> None:
    """A pass of the agent, as if so much time had gone by since the last packet."""
    clock = Jiffies()
    function: Any = bench.topology.vnfs[vnf]
    steps = function.maintain(maps_of(bench, vnf), lambda seen: clock.age(seen) + seconds)
    for _ in steps:
        pass
    clock.close()


def events(
    bench: Bench, seconds: float, is_written: bool = True, vnf: str = "nat"
) -> list[dict[str, Any]]:
    """A pass of the agent at such a time, and what it logs, if it can write that."""
    age(bench, seconds, vnf)
    clock, found, answer = Jiffies(), [], None
    function: Any = bench.topology.vnfs[vnf]
    steps = function.events(maps_of(bench, vnf), lambda seen: clock.age(seen) + seconds)
    while True:
        try:
            record = steps.send(answer)
        except StopIteration:
            break
        answer = is_written if record else None
        found += [dict(record)] if record else []
    clock.close()
    return found


def maps_of(bench: Bench, vnf: str) -> dict[str, Any]:
    """The maps of a function by name, as the agent opens them."""
    path = bench._fastpath
    directory = path.names.vnf(vnf)
    return {pin.name: found for pin, found in path.maps.items() if pin.parent == directory}
