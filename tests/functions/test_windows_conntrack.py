"""Random segments of both sides beside Linux's conntrack: it drops what `windows: strict` drops.

What Linux lets pass as it does not heed it has to lie outside the windows as reckoned here.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nfv.dataplane.kernel import bpf, netns
from tests.functions import nftables
from tests.functions.bench import Bench
from tests.functions.firewalling import firewall
from tests.functions.frames import HOSTS, ether

pytestmark = pytest.mark.root

CONVERSATIONS, SEGMENTS = 60, 25
LATE = 66000
SIDES = ("left", "right")

_ROUTER = """
ip address add 10.0.0.1/8 dev in
ip neighbour add 10.0.1.10 lladdr 02:00:00:00:07:01 dev in
ip neighbour add 10.0.2.10 lladdr 02:00:00:00:07:02 dev in
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.ipv4.conf.in.send_redirects=0
"""

_RULES = """
table inet t {
set bad { typeof ip id; size 65535; flags dynamic; }
chain c {
type filter hook prerouting priority -150; policy accept;
ether saddr != %s accept
ct state invalid add @bad { ip id } counter drop
counter accept
}
}
"""


@dataclass
class Side:
    """What a side has sent and offered, as what passes says; numbers do not wrap."""

    next: int
    scale: int
    end: int = 0
    most: int = 0
    width: int = 0


@dataclass
class Shown:
    """One segment, what became of it here, and whether it is outside as reckoned below."""

    frame: bytes
    flags: str
    text: str
    passed: bool
    excused: bool


@dataclass
class Conversation:
    """A connection with proper beginning and what follows by chance."""

    bench: Bench
    port: int
    chance: random.Random
    shown: list[Shown] = field(default_factory=list)

    def __post_init__(self) -> None:
        scale = self.chance.choice([0, 0, 1, 4])
        first, second = (self.chance.randrange(1 << 30, 1 << 31) for _ in SIDES)
        self.sides = (Side(first, scale), Side(second, scale))
        options: list[Any] = [("WScale", scale)] if scale else []
        for flags, who in (("S", 0), ("SA", 1)):
            side = self.sides[who]
            self.show(who, flags, side.next, self.sides[0].next, 2000, b"", options)
            side.next += 1
            side.end = side.most = side.next
            side.width = 2000
        self.sides[0].most += 2000
        self.random_segment(1, "A", 0, 0, b"", who=0)

    def random_segment(
        self, _number: int, flags: str, ahead: int, back: int, data: bytes, who: int
    ) -> None:
        me, peer = self.sides[who], self.sides[1 - who]
        window = self.chance.choice([2000, 2000, 1500, 0])
        seq, ack = me.next + ahead, peer.next + back
        length = len(data) + ("F" in flags)
        excused = self._is_outside(me, peer, seq, seq + length, ack, flags)
        excused |= "R" in flags and self._takes_any_reset()
        passed = self.show(who, flags, seq, ack, window, data, [], excused)
        if passed and not set("RS") & set(flags):
            self._follow(me, peer, seq + length, ack, window << me.scale)
            if ahead == 0:
                me.next = seq + length

    def _takes_any_reset(self) -> bool:
        """Linux does not look at a RST's number after a FIN, nor behind a SYN that it let pass."""
        passed = [one.flags for one in self.shown if one.passed]
        return "S" in passed[-1] or any("F" in flags for flags in passed)

    @staticmethod
    def _is_outside(me: Side, peer: Side, seq: int, end: int, ack: int, flags: str) -> bool:
        """Left or right of the window, or of long ago."""
        old = "A" in flags and ack < peer.end - max(me.width, LATE)
        return seq > me.most or end < me.end - peer.width or old

    @staticmethod
    def _follow(me: Side, peer: Side, end: int, ack: int, window: int) -> None:
        me.width = max(me.width, window)
        peer.width += max(0, end - me.most)
        me.end = max(me.end, end)
        peer.most = max(peer.most, ack + max(window, 1))

    def show(
        self,
        who: int,
        flags: str,
        seq: int,
        ack: int,
        window: int,
        data: bytes,
        options: list[Any],
        excused: bool = False,
    ) -> bool:
        """Let our firewall have a segment; keep it for Linux."""
        ports = (self.port, 80) if who == 0 else (80, self.port)
        src, dst = HOSTS[4] if who == 0 else HOSTS[4][::-1]
        tcp = TCP(
            sport=ports[0],
            dport=ports[1],
            flags=flags,
            seq=seq % (1 << 32),
            ack=ack % (1 << 32) if "A" in flags else 0,
            window=window,
            options=options,
        )
        packet = IP(src=src, dst=dst, id=len(FRAMES) + 1) / tcp / Raw(data)
        FRAMES.append(None)
        near, far = SIDES[who], SIDES[1 - who]
        verdict, _ = self.bench.execute(near, bytes(ether(self.bench, near, far) / packet))
        frame = bytes(Ether(src=nftables.SENDER, dst=nftables.RECEIVER) / packet)
        text = f"{near} {flags} seq {seq} ack {ack} +{len(data)} window {window} of {self.sides}"
        passed = verdict == bpf.XDP_REDIRECT
        self.shown.append(Shown(frame, flags, text, passed, excused))
        return passed


FRAMES: list[None] = []


def talk(bench: Bench, port: int, chance: random.Random) -> Conversation:
    found = Conversation(bench, port, chance)
    for number in range(SEGMENTS):
        flags = chance.choices(["A", "PA", "FA", "R", "RA", "S", "SA"], [30, 30, 2, 1, 1, 1, 1])[0]
        data = b"d" * chance.choice([0, 1, 700, 1400]) if flags == "PA" else b""
        ahead = chance.choice([0] * 9 + [-1, 1, -2000, -2001, 2000, 2001, -700, 1 << 28])
        back = chance.choice([0] * 9 + [-1, 1, -65000, -70000, 500, 1 << 28])
        found.random_segment(number, flags, ahead, back, data, chance.randrange(2))
    return found


@pytest.fixture
def place() -> Iterator[str]:
    with nftables.beside() as name:
        with netns.entered(name):
            for line in _ROUTER.strip().splitlines():
                subprocess.run(line.split(), check=True)
        nftables.load(name, _RULES % nftables.SENDER)
        yield name


def invalid(place: str) -> set[int]:
    """The identifications of the packets that Linux drops."""
    listed: Any = json.loads(nftables.listed(place, "set", "inet", "t", "bad"))["nftables"]
    return {element for one in listed if "set" in one for element in one["set"].get("elem", [])}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_segments_are_dropped(place: str, seed: int) -> None:
    FRAMES.clear()
    chance = random.Random(seed)
    with closing(Bench(firewall("action: accept", windows="strict"))) as bench:
        talks = [talk(bench, 20000 + index, chance) for index in range(CONVERSATIONS)]
    frames = [one.frame for conversation in talks for one in conversation.shown]
    nftables.send(place, frames, "c")
    bad = invalid(place)
    compared = dropped = number = 0
    for conversation in talks:
        differs = False
        for index, one in enumerate(conversation.shown):
            number += 1
            if differs:
                continue
            linux = number not in bad
            compared += 1
            dropped += not linux
            if one.passed == linux:
                # It takes a RST that it lets pass for all that was sent; here it changes nothing.
                differs = "R" in one.flags and linux
                continue
            differs = True  # it heeds what it lets pass a little too far right
            before = conversation.shown[: index + 1]
            history = "\n".join(f"{earlier.passed} {earlier.text}" for earlier in before)
            assert linux, f"Linux drops it\n{history}"
            assert one.excused, f"Linux does not drop it\n{history}"
    assert compared > len(frames) / 4
    assert dropped > 20
