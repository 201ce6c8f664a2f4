"""The compiled parser against a plain one, for frames that are cut, damaged or random."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from nfv.dataplane.kernel import bpf, headers
from nfv.ebpf import sources
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.object import Layout
from nfv.ebpf.vectors import PORT_PROTOCOLS
from tests.functions.bench import Bench, number
from tests.functions.firewalling import firewall
from tests.functions.frames import ip

pytestmark = pytest.mark.root

TOPOLOGY = firewall(default="accept", stateless="true")

ETHER, IPV4, IPV6 = 14, 0x0800, 0x86DD
TCP_PROTOCOL, ECHOES = 6, (1, 58)
HOP_BY_HOP, ROUTING, FRAGMENT, OPTIONS = 0, 43, 44, 60
WALKED = 6  # extension headers
DEEPEST = 1023  # offset of a transport header that is still looked for
NONE, FIRST, LATER = 0, 1, 2  # enum nf_fragment


@dataclass(frozen=True)
class Parsed:
    """What there is to know of a frame; for frames that are not IP all but the first are 0."""

    ethertype: int
    family: int = 0
    protocol: int = 0
    l4_offset: int = 0
    fragment: int = NONE
    options: bool = False
    ttl: int = 0
    packet_length: int = 0
    has_l4: bool = False
    sport: int = 0
    dport: int = 0
    tcp_flags: int = 0
    echo_id: int = 0


def parse(frame: bytes) -> Parsed | None:
    """Read a frame; None if its IP headers are cut short or contradictory."""
    (ethertype,) = struct.unpack_from("!H", frame, 12)
    reader = {IPV4: parse_ipv4, IPV6: parse_ipv6}.get(ethertype)
    if reader is None:
        return Parsed(ethertype)
    network = reader(frame)
    if network is None or network.fragment == LATER:
        return network
    packet = frame[: ETHER + network.packet_length]
    return parse_transport(network, packet[network.l4_offset :])


def parse_ipv4(frame: bytes) -> Parsed | None:
    if len(frame) < ETHER + 20:
        return None
    first, length = frame[ETHER], int.from_bytes(frame[ETHER + 2 : ETHER + 4], "big")
    header = (first & 0xF) * 4
    if first >> 4 != 4 or not 20 <= header <= length <= len(frame) - ETHER:
        return None
    place = int.from_bytes(frame[ETHER + 6 : ETHER + 8], "big") & 0x3FFF
    return Parsed(
        IPV4,
        family=4,
        protocol=frame[ETHER + 9],
        l4_offset=ETHER + header,
        fragment=LATER if place & 0x1FFF else FIRST if place else NONE,
        options=header > 20,
        ttl=frame[ETHER + 8],
        packet_length=length,
    )


def parse_ipv6(frame: bytes) -> Parsed | None:
    if len(frame) < ETHER + 40:
        return None
    length = 40 + int.from_bytes(frame[ETHER + 4 : ETHER + 6], "big")
    if frame[ETHER] >> 4 != 6 or length > len(frame) - ETHER:
        return None
    found = Parsed(
        IPV6,
        family=6,
        protocol=frame[ETHER + 6],
        l4_offset=ETHER + 40,
        ttl=frame[ETHER + 7],
        packet_length=length,
    )
    for _ in range(WALKED):
        if found.protocol not in (HOP_BY_HOP, ROUTING, FRAGMENT, OPTIONS):
            break
        extension = frame[found.l4_offset : ETHER + length][:8]
        if len(extension) < 8 or found.l4_offset > DEEPEST:
            return None
        found = behind(found, extension)
        if found.fragment == LATER:
            break
    return None if found.l4_offset > min(DEEPEST, ETHER + length) else found


def behind(found: Parsed, extension: bytes) -> Parsed:
    """What is known after one extension header, of which the first 8 bytes are given."""
    if found.protocol == FRAGMENT:
        place = int.from_bytes(extension[2:4], "big")
        fragment = LATER if place & 0xFFF8 else FIRST if place & 1 else found.fragment
        return replace(
            found, protocol=extension[0], l4_offset=found.l4_offset + 8, fragment=fragment
        )
    return replace(
        found,
        protocol=extension[0],
        l4_offset=found.l4_offset + (extension[1] + 1) * 8,
        options=found.options or found.protocol == HOP_BY_HOP,
    )


def parse_transport(found: Parsed, content: bytes) -> Parsed:
    wanted = 20 if found.protocol == TCP_PROTOCOL else 8
    if found.protocol not in PORT_PROTOCOLS or len(content) < wanted:
        return found
    first, second, third = struct.unpack_from("!HHH", content)
    if found.protocol in ECHOES:
        return replace(found, has_l4=True, dport=first, echo_id=third)
    flags = content[13] if found.protocol == TCP_PROTOCOL else 0
    return replace(found, has_l4=True, sport=first, dport=second, tcp_flags=flags)


@pytest.fixture(scope="module")
def layout() -> Layout:
    """Of struct nf_packet, as the compiler lays it out."""
    text = sources.splice("nf.h", "", set())
    text += 'BPF_TABLE("array", u32, struct nf_packet, probe, 1);\n'
    found = Compiler(headers.find()).compile([text])[text].maps["probe"].value
    assert found is not None
    return found


@pytest.fixture(scope="module")
def cpu() -> Iterator[int]:
    """The CPU that frames are parsed on: the packet's context is per CPU."""
    before = os.sched_getaffinity(0)
    chosen = min(before)
    os.sched_setaffinity(0, {chosen})
    yield chosen
    os.sched_setaffinity(0, before)


def context(bench: Bench, layout: Layout, cpu: int) -> Parsed:
    """What the program has read of the last frame."""
    values = bench.shared("packets")[0]
    stride = len(values) // bpf.possible_cpus()
    packet = layout.unpack(values[cpu * stride : (cpu + 1) * stride])
    member = {name: number(packet[name]) for name in Parsed.__dataclass_fields__}
    if not member["family"]:
        return Parsed(member["ethertype"])
    for name in ("sport", "dport", "echo_id"):
        member[name] = struct.unpack("<H", struct.pack(">H", member[name]))[0]
    options, has_l4 = bool(member.pop("options")), bool(member.pop("has_l4"))
    return Parsed(**member, options=options, has_l4=has_l4)


def check(bench: Bench, layout: Layout, cpu: int, frame: bytes) -> None:
    if not bench.takes(frame):
        return
    verdict, out = bench.execute("left", frame)
    expected = parse(frame)
    if expected is None:
        assert verdict == bpf.XDP_DROP, frame.hex()
        return
    assert (verdict, out) == (bpf.XDP_REDIRECT, frame), frame.hex()
    found = context(bench, layout, cpu)
    if not expected.has_l4:  # what was read on the way there is of no consequence
        found = replace(found, tcp_flags=0)
    assert found == expected, frame.hex()


DATA = Raw(b"payload that is long enough for every header")
SEEDS = [
    bytes(Ether() / packet)
    for packet in (
        ip(4) / TCP(flags="SA") / DATA,
        ip(4, options=[b"\x01" * 40]) / UDP() / DATA,
        ip(4) / ICMP(id=0x1234) / DATA,
        ip(4, flags="MF") / UDP() / DATA,
        ip(4, frag=3, proto=6) / DATA,
        ip(4) / SCTP() / DATA,
        ip(4, proto=47) / DATA,
        ip(6) / TCP(flags="F") / DATA,
        ip(6) / ICMPv6EchoRequest(id=0x1234) / DATA,
        ip(6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP() / DATA,
        ip(6) / IPv6ExtHdrRouting(addresses=["::1"] * 2) / TCP() / DATA,
        ip(6) / IPv6ExtHdrFragment(m=1, id=7) / IPv6ExtHdrDestOpt() / UDP() / DATA,
        ip(6) / IPv6ExtHdrFragment(offset=4, id=7, nh=60) / DATA,
        ip(6, nh=60) / Raw(bytes((60, 0)) + bytes(6)) / Raw((bytes((60, 0)) + bytes(6)) * 6),
        ip(6, nh=60) / Raw(bytes((17, 120)) + bytes(966)) / UDP() / DATA,
        ip(6, nh=60) / Raw(bytes((17, 255)) + bytes(2046)) / UDP() / DATA,
        ip(6, nh=59),
        ARP(),
        Dot1Q(vlan=3) / ip(4) / UDP(),
    )
]


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_reads_whole_frames_and_all_their_beginnings(
    loaded: Bench, layout: Layout, cpu: int, seed: int
) -> None:
    frame = SEEDS[seed]
    for length in {len(frame), *range(ETHER, min(len(frame), 180))}:
        check(loaded, layout, cpu, frame[:length])
    check(loaded, layout, cpu, frame + b"\xff" * 30)


positions = st.integers(0, 120)
damages = st.lists(st.tuples(positions, st.integers(0, 255)), max_size=4)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good frame with some bytes changed, and shorter or longer than it was."""
    frame = bytearray(draw(st.sampled_from(SEEDS)))
    for position, value in draw(damages):
        frame[ETHER + position % (len(frame) - ETHER)] = value
    length = draw(st.one_of(st.just(len(frame)), st.integers(ETHER, len(frame) + 40)))
    return bytes(frame[:length]).ljust(length, draw(st.binary(min_size=1, max_size=1)))


anything = st.builds(
    lambda ethertype, first, rest: bytes(12) + ethertype + first + rest,
    st.sampled_from((b"\x08\x00", b"\x86\xdd", b"\x81\x00")),
    st.sampled_from((b"\x45", b"\x4f", b"\x60", b"\x41")),
    st.binary(max_size=120),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(damaged(), anything), min_size=1, max_size=10))
def test_reads_like_a_plain_parser(
    loaded: Bench, layout: Layout, cpu: int, frames: list[bytes]
) -> None:
    for frame in frames:
        check(loaded, layout, cpu, frame)
