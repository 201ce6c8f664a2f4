"""Filters inside programs: what the kernel lets pass is what libpcap matches."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfv.chain.sap import Hook
from nfv.dataplane.change import proglink
from nfv.dataplane.kernel import bpf
from nfv.dataplane.observe import classic
from nfv.dataplane.observe.classic import UnknownInstructionError
from nfv.traffic.filter import Filter, Instruction
from tests.unit.test_filter import FRAMES

pytestmark = pytest.mark.root

WHOLE = [bytes(frame).ljust(60, b"\0") for frame in FRAMES]
TEXTS = [
    "udp port 53",
    "tcp[tcpflags] & tcp-syn != 0",
    "ip6 or arp",
    "vlan 7 and udp",
    "greater 500",
    "host 10.0.0.2 and not tcp port 443",
    "net 2001:db8::/32 or not src net 10.0.0.0/8",
    "tcp portrange 20-500",
    "ip[6:2] & 0x1fff = 0 and -ip[9] != 3",
    "ip[8] << 3 > ip[9]",
    "ip[8] << ip[9] > 7",
    "ip[8] / ip[1] > 0",
    "ip[9] % 5 = 1 or len - 20 > 100",
    "ip[(ip[0] & 0xf) * 4 : 2] = 53",
    "tcp[4:4] ^ 3 = 7 or tcp[12] | 1 = 0x51",
]


@pytest.mark.parametrize("hook", list(Hook))
@pytest.mark.parametrize("text", TEXTS)
def test_the_kernel_matches_what_libpcap_matches(text: str, hook: Hook) -> None:
    chosen = Filter(text)
    code = classic.translate(chosen.program, hook)
    program = bpf.prog_load(code, "filter", type_=proglink.PROGRAM_TYPES[hook])

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.sampled_from(WHOLE), st.dictionaries(st.integers(12, 59), st.integers(0, 255)))
    def agree(frame: bytes, changed: dict[int, int]) -> None:
        made = bytearray(frame)
        for place, value in changed.items():
            made[place] = value
        verdict, _, _ = bpf.prog_run(program, bytes(made), room=1 << 16)
        assert bool(verdict) == chosen.matches(bytes(made), len(made)), made.hex()

    try:
        agree()
    finally:
        os.close(program)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param([Instruction(0x05, 0, 0, 0xFFFFFFFF)], id="loop"),
        pytest.param([Instruction(0x60, 0, 0, 16)], id="memory"),
        pytest.param([Instruction(0x34, 0, 0, 0)], id="division"),
        pytest.param([Instruction(0x06, 0, 0, 1)] * 2000, id="length"),
    ],
)
def test_what_cannot_be_translated_is_refused(program: list[Instruction]) -> None:
    with pytest.raises(UnknownInstructionError):
        classic.translate(program, Hook.XDP)


def test_a_filter_that_follows_headers_has_a_loop() -> None:
    with pytest.raises(UnknownInstructionError):
        classic.translate(Filter("ip6 protochain 17").program, Hook.XDP)
