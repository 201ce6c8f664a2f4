"""Frames made wrong, or merely rare: bits flipped, lengths that lie, tags, trailers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.property.model.packets import ETHERNET, IPV4, internet_checksum

MAX_FRAME = 3000
"""What one page holds, with room for an answer's headers."""

Mutation = Callable[[Random, bytearray], None]

BROADCAST, GROUP, STRANGER = b"\xff" * 6, b"\x33\x33\0\0\0\1", b"\x02\x99\0\0\0\x01"


def mutated(random: Random, frame: bytes) -> bytes:
    """The frame after one to three mutations."""
    changed = bytearray(frame)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        random.choice(MUTATIONS)(random, changed)
    return bytes(changed[:MAX_FRAME]).ljust(ETHERNET, b"\0")


def mend(frame: bytearray) -> None:
    """Set the IPv4 header's checksum right."""
    size = (frame[ETHERNET] & 15) * 4 if len(frame) > ETHERNET else 0
    if frame[12:14] == IPV4.to_bytes(2, "big") and 20 <= size <= len(frame) - ETHERNET:
        frame[24:26] = b"\0\0"
        frame[24:26] = internet_checksum(bytes(frame[14 : 14 + size])).to_bytes(2, "big")


def _flip_bit(random: Random, frame: bytearray) -> None:
    place = random.randrange(min(len(frame), 100))
    frame[place] ^= 1 << random.randrange(8)
    if random.random() < 0.7:
        mend(frame)


def _set_byte(random: Random, frame: bytearray) -> None:
    frame[random.randrange(min(len(frame), 80))] = random.choice((0, 1, 2, 5, 44, 60, 127, 255))
    if random.random() < 0.7:
        mend(frame)


def _cut(random: Random, frame: bytearray) -> None:
    del frame[random.randrange(ETHERNET, len(frame) + 1) :]


def _cut_packet(random: Random, frame: bytearray) -> None:
    """Shorten the packet, its length set right."""
    del frame[random.randrange(34, 90) :]
    if len(frame) >= 34 and frame[12:14] == IPV4.to_bytes(2, "big"):
        frame[16:18] = (len(frame) - ETHERNET).to_bytes(2, "big")
        mend(frame)
    elif len(frame) >= 54:
        frame[18:20] = (len(frame) - ETHERNET - 40).to_bytes(2, "big")


def _lie_about_length(random: Random, frame: bytearray) -> None:
    place = 16 if frame[12:14] == IPV4.to_bytes(2, "big") else 18
    if len(frame) > place + 1:
        length = int.from_bytes(frame[place : place + 2], "big") + random.choice((-40, -9, -1, 1))
        frame[place : place + 2] = (length & 0xFFFF).to_bytes(2, "big")
        mend(frame)


def _pad(random: Random, frame: bytearray) -> None:
    fill = bytes([random.choice((0, 0xEE))])
    frame += fill * max(0, random.choice((60, 60, 64, len(frame) + 1)) - len(frame))


def _spoil_checksum(random: Random, frame: bytearray) -> None:
    if len(frame) > 25:
        frame[24 + random.randrange(2)] ^= 1 << random.randrange(8)


def _tag(random: Random, frame: bytearray) -> None:
    """A VLAN tag (IEEE 802.1Q)."""
    frame[12:12] = b"\x81\x00" + random.randrange(4096).to_bytes(2, "big")


def _change_type(random: Random, frame: bytearray) -> None:
    frame[12:14] = random.choice((b"\x08\x06", b"\x88\xcc", b"\x86\xdd", b"\x08\x00", b"\0\x40"))


def _change_mac(random: Random, frame: bytearray) -> None:
    frame[:6] = random.choice((BROADCAST, GROUP, STRANGER))


def _change_hops(random: Random, frame: bytearray) -> None:
    place = 22 if frame[12:14] == IPV4.to_bytes(2, "big") else 21
    if len(frame) > place:
        frame[place] = random.choice((0, 1, 2, 3, 255))
        mend(frame)


def _lengthen(random: Random, frame: bytearray) -> None:
    """Longer than most MTUs, or just about as long."""
    wanted = random.choice((614, 615, 1294, 1295, 1514, 1515, 2000))
    extra = wanted - len(frame)
    ipv4 = frame[12:14] == IPV4.to_bytes(2, "big")
    if extra <= 0 or len(frame) < 54:
        return
    frame += bytes(number & 0xFF for number in range(extra))
    place, header = (16, 0) if ipv4 else (18, 40)
    frame[place : place + 2] = (wanted - ETHERNET - header).to_bytes(2, "big")
    mend(frame)


MUTATIONS: tuple[Mutation, ...] = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _cut,
    _cut_packet,
    _lie_about_length,
    _pad,
    _spoil_checksum,
    _tag,
    _change_type,
    _change_mac,
    _change_hops,
    _lengthen,
)
