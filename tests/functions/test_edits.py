"""What functions edit of a packet is written once, with its checksums: walked or known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from tests.functions.bench import Bench
from tests.functions.frames import ether, ip, padded
from tests.vnfs import installed

pytestmark = pytest.mark.root

PORTS = 0x4321
CHAINS = {
    "behind the router": """
  inside: {path: [lan, fw, "gw:lan"]}
  outside: {path: ["gw:wan", nat, wan]}""",
    "with a firewall on either side": """
  inside: {path: [lan, "gw:lan"]}
  outside: {path: ["gw:wan", fw, nat, after, wan]}""",
}
TOPOLOGY = """
name: bench-edits
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  wan: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64]}
vnfs:
  fw: {type: firewall, rules: [{name: all, action: accept}]}
  after: {type: firewall, rules: [{name: all, action: accept}]}
  nat: {type: snat, inside: 10.0.1.0/24, outside: 192.0.2.0/24, ports: %d}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: [10.0.2.1/24, 2001:db8:2::1/64]}
chains:%s
"""


@pytest.fixture(scope="module", params=CHAINS)
def loaded(request: pytest.FixtureRequest) -> Iterator[Bench]:
    text = TOPOLOGY % (PORTS, CHAINS[request.param])
    if "after" not in CHAINS[request.param]:
        text = text.replace("  after: {type: firewall, rules: [{name: all, action: accept}]}\n", "")
    with installed(), closing(Bench(text)) as bench:
        yield bench


def renewed(packet: Any) -> bytes:
    """The bytes of a packet with all checksums worked out anew, but those of UDP that are 0."""
    for layer in (IP, TCP, UDP, ICMP):
        if layer in packet:
            found = packet[layer]
            if layer is not UDP or found.chksum != 0:
                found.chksum = None
    return bytes(packet)


def hop(bench: Bench, packet: Any, way: str) -> Any:
    """The packet behind the router."""
    out = packet.copy()
    out.src, out.dst = (bench.mac(f"gw:{way}"), bench.mac(way))
    out[IP].ttl -= 1
    return out


def translated(bench: Bench, packet: Any) -> bytes:
    """What must arrive at wan of a packet that lan sent, by Scapy's checksums."""
    out = hop(bench, packet, "wan")
    out[IP].src = out[IP].src.replace("10.0.1.", "192.0.2.")
    for layer, field in ((TCP, "sport"), (UDP, "sport"), (ICMP, "id")):
        if layer in out:
            setattr(out[layer], field, out[layer].getfieldval(field) ^ PORTS)
    return renewed(out)


def restored(bench: Bench, packet: Any) -> bytes:
    """What must arrive at lan of a packet that wan sent."""
    out = hop(bench, packet, "lan")
    out[IP].dst = out[IP].dst.replace("192.0.2.", "10.0.1.")
    for layer, field in ((TCP, "dport"), (UDP, "dport"), (ICMP, "id")):
        if layer in out:
            setattr(out[layer], field, out[layer].getfieldval(field) ^ PORTS)
    return renewed(out)


def built(packet: Packet) -> Any:
    """A packet whose fields are all set, as from a wire."""
    return Ether(bytes(packet))


def remembered(bench: Bench) -> int:
    return sum(packets for packets, _ in bench.known().received.values())


PAYLOADS = [b"", b"x", bytes(range(64)), bytes(1000)]


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
@pytest.mark.parametrize("ports", [(1024, 53), (0, 0), (0xFFFF, 1), (PORTS, PORTS), (7, 0xFFFF)])
@pytest.mark.parametrize("layer", [UDP, TCP])
def test_walk_and_known_flow_translate_to_the_same_bytes(
    bench: Bench, layer: Any, ports: tuple[int, int], payload: bytes
) -> None:
    more = {"flags": "A"} if layer is TCP else {}
    near = ether(bench, "lan", "gw:lan")
    sent = built(near / ip(4, ttl=9) / layer(sport=ports[0], dport=ports[1], **more) / Raw(payload))
    walked, before = bench.run("lan", sent), remembered(bench)
    known = bench.run("lan", sent)
    assert walked.egress == known.egress == "wan"
    assert walked.frame == known.frame == translated(bench, sent)
    assert walked.counted == known.counted
    assert remembered(bench) == before + 1

    far = ether(bench, "wan", "gw:wan") / IP(src="10.0.2.10", dst="192.0.2.10", ttl=3)
    reply = built(far / layer(sport=ports[1], dport=ports[0] ^ PORTS, **more) / Raw(payload))
    walked, before = bench.run("wan", reply), remembered(bench)
    known = bench.run("wan", reply)
    assert walked.egress == known.egress == "lan"
    assert walked.frame == known.frame == restored(bench, reply)
    assert walked.counted == known.counted
    assert remembered(bench) == before + 1


def test_udp_without_checksum_stays_without(bench: Bench) -> None:
    frame = ether(bench, "lan", "gw:lan") / ip(4) / UDP(sport=5, dport=6, chksum=0) / Raw(b"abc")
    for _ in range(2):
        out = bench.run("lan", frame).frame
        assert out == translated(bench, built(frame))
        assert Ether(out)[UDP].chksum == 0


def test_udp_checksum_that_comes_out_as_0_is_written_as_ffff(bench: Bench) -> None:
    """RFC 768: 0 would say that there is none."""
    base = ether(bench, "lan", "gw:lan") / ip(4) / UDP(sport=5, dport=6)
    found = Ether(translated(bench, built(base / Raw(b"\0\0"))))[UDP].chksum
    frame = base / Raw(found.to_bytes(2, "big"))
    for _ in range(2):
        out = bench.run("lan", frame).frame
        assert out == translated(bench, built(frame))
        assert Ether(out)[UDP].chksum == 0xFFFF


def test_padding_stays(bench: Bench) -> None:
    frame = ether(bench, "lan", "gw:lan") / ip(4) / UDP(sport=5, dport=6) / Raw(b"abc")
    for _ in range(2):
        assert bench.run("lan", padded(frame)).frame == padded(translated(bench, built(frame)))


def test_echo(bench: Bench) -> None:
    request = ether(bench, "lan", "gw:lan") / ip(4) / ICMP(id=77, seq=1) / Raw(b"ping")
    assert bench.run("lan", request).frame == translated(bench, built(request))
    far = ether(bench, "wan", "gw:wan") / IP(src="10.0.2.10", dst="192.0.2.10")
    reply = far / ICMP(type=0, id=77 ^ PORTS, seq=1) / Raw(b"ping")
    assert bench.run("wan", reply).frame == restored(bench, built(reply))


def test_fragments_are_edited_where_they_have_what_is_edited(bench: Bench) -> None:
    whole: Any = ip(4, id=9) / UDP(sport=5, dport=6) / Raw(bytes(range(256)) * 8)
    expected = IP(translated(bench, built(ether(bench, "lan", "gw:lan") / whole))[14:])
    out = []
    parts: Any = IP(bytes(whole))
    for part in parts.fragment(800):
        outcome = bench.run("lan", ether(bench, "lan", "gw:lan") / part)
        assert outcome.egress == "wan"
        out.append(IP(outcome.frame[14:]))
        assert checksum(bytes(out[-1])[:20]) == 0
    assert b"".join(bytes(part.payload) for part in out) == bytes(expected.payload)
    assert {part.src for part in out} == {"192.0.2.10"}


def test_ipv6_passes_unedited(bench: Bench) -> None:
    frame = ether(bench, "lan", "gw:lan") / ip(6) / UDP(sport=5, dport=6) / Raw(b"abc")
    for _ in range(2):
        out = Ether(bench.run("lan", frame).frame)
        assert bytes(out[IPv6].payload) == bytes(built(frame)[IPv6].payload)
        assert (out[IPv6].src, out[IPv6].dst) == (frame[IPv6].src, frame[IPv6].dst)


def test_what_goes_to_the_kernel_is_edited_as_far_as_it_came(bench: Bench) -> None:
    """The router edits nothing that it does not route; what was edited before stays so."""
    frame = ether(bench, "wan", "gw:wan") / IP(src="10.0.2.10", dst="192.0.2.10", ttl=1)
    reply = built(frame / UDP(sport=6, dport=5 ^ PORTS) / Raw(b"abc"))
    outcome = bench.run("wan", reply)
    expected = reply.copy()
    expected[IP].dst = "10.0.1.10"
    expected[UDP].dport = 5
    assert outcome.egress == "gw:wan"
    assert outcome.frame == renewed(expected)
