"""Functions put together: order, directions, router behind router, answers on their way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from nfv.dataplane.kernel import bpf
from tests.functions.bench import Bench
from tests.functions.firewalling import firewall
from tests.functions.frames import back, ether, ip, routed

pytestmark = pytest.mark.root

TOPOLOGY = """
name: bench-chains
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  wan: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64]}
  dmz: {kind: host, ip: [10.0.3.10/24, 2001:db8:3::10/64]}
vnfs:
  inner: {type: firewall, rules: [{name: out, action: accept, direction: forward}]}
  outer:
    type: firewall
    default: reject
    rules:
      - {name: web, action: accept, direction: forward, proto: tcp, dport: 80}
  both: {type: firewall, rules: [{name: any, action: accept, proto: udp}]}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: [10.0.2.1/24, 2001:db8:2::1/64]}
      dmz: {ip: [10.0.3.1/24, 2001:db8:3::1/64]}
      spare: {ip: 10.0.4.1/24}
chains:
  inside: {path: [lan, inner, both, "gw:lan"]}
  outside: {path: ["gw:wan", outer, wan]}
  servers: {path: ["gw:dmz", both, dmz]}
"""

DMZ = {4: "10.0.3.10", 6: "2001:db8:3::10"}


def from_lan(bench: Bench, packet: Any) -> Any:
    return ether(bench, "lan", "gw:lan") / packet


@pytest.fixture
def open_both(bench: Bench) -> Iterator[None]:
    """Let everything through the function that stands on both sides."""
    bench.configure(
        "both", TOPOLOGY.replace("name: any, action: accept, proto: udp", "action: accept")
    )
    yield
    bench.configure("both", TOPOLOGY)


@pytest.mark.usefixtures("open_both")
@pytest.mark.parametrize("version", [4, 6])
def test_functions_before_and_behind_a_router(bench: Bench, version: int) -> None:
    syn = from_lan(bench, ip(version) / TCP(sport=40000, dport=80, flags="S"))
    outcome = bench.run("lan", syn)
    assert outcome.egress == "wan"
    assert outcome.frame == routed(syn, bench.mac("gw:wan"), bench.mac("wan"))
    once = (1, len(syn))
    assert {key: value for key, value in outcome.counted.items() if key[1] != "both"} == {
        ("received", "lan", "forwarded"): once,
        ("rule", "inner", "out"): once,
        ("reason", "gw", "forwarded"): once,
        ("received", "gw:wan", "forwarded"): once,  # another program goes on there
        ("rule", "outer", "web"): once,
        ("sent", "wan"): once,
    }
    reply = ether(bench, "wan", "gw:wan") / back(version) / TCP(sport=80, dport=40000, flags="SA")
    outcome = bench.run("wan", reply)
    assert outcome.egress == "lan"
    assert outcome.frame == routed(reply, bench.mac("gw:lan"), bench.mac("lan"))
    assert ("rule", "inner", "out") in outcome.counted
    assert ("rule", "outer", "web") in outcome.counted


@pytest.mark.parametrize("version", [4, 6])
def test_a_function_on_both_sides_sees_the_packet_twice(bench: Bench, version: int) -> None:
    query = from_lan(bench, ip(version, dst=DMZ[version]) / UDP(sport=40000, dport=53))
    outcome = bench.run("lan", query)
    assert outcome.egress == "dmz"
    assert outcome.frame == routed(query, bench.mac("gw:dmz"), bench.mac("dmz"))
    assert outcome.counted["rule", "both", "any"] == (2, 2 * len(query))
    assert len(list(bench.map_of("both", f"connections{version}").items())) == 1


@pytest.mark.usefixtures("open_both")
@pytest.mark.parametrize("version", [4, 6])
def test_the_answer_to_what_is_rejected_behind_a_router_goes_through_its_kernel(
    bench: Bench, version: int
) -> None:
    query = from_lan(bench, ip(version) / UDP(sport=40000, dport=53))
    outcome = bench.run("lan", query)
    assert outcome.egress == "gw:wan"
    answer: Any = Ether(outcome.frame)
    assert (answer.src, answer.dst) == (bench.mac("wan"), bench.mac("gw:wan"))
    assert outcome.frame.endswith(routed(query, "", "")[14:])  # the quote, one hop less
    # The kernel routes it back: it enters again on its way to the lan, as part of the connection.
    answer.src, answer.dst = bench.mac("gw:lan"), bench.mac("lan")
    outcome = bench.run("gw:lan", answer)
    assert outcome.egress == "lan"
    assert outcome.frame == bytes(answer)
    assert ("rule", "inner", "out") in outcome.counted


def test_what_the_kernel_sends_passes_the_chain(bench: Bench) -> None:
    """No router in this direction: the frame is as Linux made it."""
    frame = ether(bench, "gw:wan", "wan") / ip(4) / TCP(dport=80, flags="S")
    outcome = bench.run("gw:wan", frame)
    assert (outcome.egress, outcome.frame) == ("wan", bytes(frame))
    assert bench.run("gw:lan", ether(bench, "gw:lan", "lan") / ARP()).egress == "lan"


def test_an_interface_in_no_chain_leads_nowhere(bench: Bench) -> None:
    frame = ether(bench, "gw:spare", "lan") / ip(4) / UDP()
    outcome = bench.run("gw:spare", frame)
    assert outcome.egress is None
    assert outcome.counted == {("received", "gw:spare", "no_chain"): (1, len(frame))}


LINE = """
name: bench-line
saps:
  a: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  b: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64]}
vnfs:
  between: {type: firewall, rules: [{name: udp, action: accept, proto: udp}]}
  r1:
    type: router
    interfaces:
      a: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      x: {ip: [10.0.9.1/24, 2001:db8:9::1/64]}
    routes:
      - {to: 0.0.0.0/0, via: 10.0.9.2}
      - {to: "::/0", via: 2001:db8:9::2}
  r2:
    type: router
    interfaces:
      x: {ip: [10.0.9.2/24, 2001:db8:9::2/64]}
      b: {ip: [10.0.2.1/24, 2001:db8:2::1/64]}
    routes:
      - {to: 0.0.0.0/0, via: 10.0.9.1}
      - {to: "::/0", via: 2001:db8:9::1}
chains:
  first: {path: [a, "r1:a"]}
  middle: {path: ["r1:x", between, "r2:x"]}
  last: {path: ["r2:b", b]}
"""


@pytest.fixture(scope="module", params=["a firewall between", "nothing between"])
def line(request: pytest.FixtureRequest) -> Iterator[Bench]:
    text = LINE if request.param.startswith("a ") else LINE.replace("between, ", "")
    with closing(Bench(text)) as bench:
        yield bench


@pytest.mark.parametrize("version", [4, 6])
def test_router_behind_router(line: Bench, version: int) -> None:
    frame = ether(line, "a", "r1:a") / ip(version) / UDP(sport=1, dport=2)
    outcome = line.run("a", frame)
    assert outcome.egress == "b"
    once_routed = Ether(routed(frame, line.mac("r1:x"), line.mac("r2:x")))
    assert outcome.frame == routed(once_routed, line.mac("r2:b"), line.mac("b"))
    for key in (("reason", "r1", "forwarded"), ("reason", "r2", "forwarded"), ("sent", "b")):
        assert outcome.counted[key] == (1, len(frame))
    reply = ether(line, "b", "r2:b") / back(version) / UDP(sport=2, dport=1)
    assert line.run("b", reply).egress == "a"


@pytest.mark.parametrize("version", [4, 6])
def test_the_second_router_leaves_to_its_own_kernel(line: Bench, version: int) -> None:
    hops: dict[str, Any] = {"ttl": 2} if version == 4 else {"hlim": 2}
    frame = ether(line, "a", "r1:a") / ip(version, **hops) / UDP()
    outcome = line.run("a", frame)
    assert outcome.egress == "r2:x"
    assert outcome.frame == routed(frame, line.mac("r1:x"), line.mac("r2:x"))
    assert outcome.counted["reason", "r2", "ttl"] == (1, len(frame))


@pytest.mark.parametrize("version", [4, 6])
def test_a_routing_loop_ends(line: Bench, version: int) -> None:
    """The routers send each other what neither knows: the kernel follows 33 tail calls at most."""
    nowhere = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}[version]
    frame = ether(line, "a", "r1:a") / ip(version, dst=nowhere) / UDP(sport=1, dport=2)
    outcome = line.run("a", frame)
    assert outcome.egress is None
    loops = [key for key in outcome.counted if key[0] == "received" and key[2] == "loop"]
    assert [outcome.counted[key] for key in loops] == [(1, len(frame))]


WIRE = """
name: bench-wire
saps:
  a: {kind: host, ip: 10.0.0.1/24}
  b: {kind: host, ip: 10.0.0.2/24}
chains:
  wire: {path: [a, b]}
"""


def test_a_chain_of_nothing_carries_everything() -> None:
    with closing(Bench(WIRE)) as bench:
        for length in (14, 15, 33, 60, 1514):
            frame = bytes(i * 3 & 0xFF for i in range(length))
            for here, there in (("a", "b"), ("b", "a")):
                outcome = bench.run(here, frame)
                assert (outcome.egress, outcome.frame) == (there, frame)
                assert outcome.counted["sent", there] == (1, length)


JUMBO = """
name: bench-jumbo
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64], mtu: 9000}
  wan: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64], mtu: 9000}
vnfs:
  fw: {type: firewall, default: reject, rules: [{name: udp, action: accept, proto: udp}]}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64], mtu: 9000}
      wan: {ip: [10.0.2.1/24, 2001:db8:2::1/64], mtu: 9000}
chains:
  inside: {path: [lan, fw, "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
"""


@pytest.fixture(scope="module")
def jumbo() -> Iterator[Bench]:
    with closing(Bench(JUMBO)) as bench:
        yield bench


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [100, 3400, 3500, 4096, 8900])
def test_frames_of_several_pages(jumbo: Bench, version: int, size: int) -> None:
    frame = from_lan(jumbo, ip(version) / UDP() / Raw(b"j" * size))
    outcome = jumbo.run("lan", frame)
    assert outcome.egress == "wan"
    assert outcome.frame == routed(frame, jumbo.mac("gw:wan"), jumbo.mac("wan"))
    assert outcome.counted["rule", "fw", "udp"] == (1, len(frame))


@pytest.mark.parametrize("size", [100, 3500, 8900])
def test_answers_to_frames_of_several_pages(jumbo: Bench, size: int) -> None:
    jumbo.clear()
    packet = ip(4, proto=99) / Raw(b"j" * size)
    outcome = jumbo.run("lan", from_lan(jumbo, packet))
    quote = bytes(packet)[:548]
    error = back(4, id=0, flags="DF", ttl=64) / ICMP(type=3, code=13) / Raw(quote)
    assert outcome.egress == "lan"
    assert outcome.frame == bytes(ether(jumbo, "gw:lan", "lan") / error)


def chain_of(count: int) -> str:
    """That many firewalls one after the other."""
    names = [f"f{number}" for number in range(count)]
    functions = "\n".join(
        f"  {name}: {{type: firewall, stateless: true, rules: [{{action: accept, proto: udp}}]}}"
        for name in names
    )
    return (
        firewall()
        .replace("  fw:\n    type: firewall", functions)
        .replace("[left, fw, right]", f"[left, {', '.join(names)}, right]")
    )


def test_function_behind_function() -> None:
    with closing(Bench(chain_of(3))) as bench:
        frame = bytes(ether(bench, "left", "right") / ip(4) / UDP())
        verdict, out = bench.execute("left", frame)
        assert (verdict, out) == (bpf.XDP_REDIRECT, frame)
        refused = bench.run("left", ether(bench, "left", "right") / ip(4) / TCP())
        assert refused.egress is None
        assert ("reason", "f0", "rule") in refused.counted
