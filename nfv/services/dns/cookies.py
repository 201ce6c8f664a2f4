"""DNS cookies (RFC 7873), the server's part as RFC 9018 has it."""

from __future__ import annotations

import struct
import time
from ipaddress import ip_address

_VERSION = b"\1\0\0\0"
_MASK = (1 << 64) - 1
_INITIAL = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
_WORD = struct.Struct("<Q")

Secret = tuple[int, int]
"""128 bits that nobody else knows, as two little-endian words."""


def now() -> bytes:
    """The time as cookies have it: seconds since the epoch, 32 bits (RFC 9018, section 4.3)."""
    return struct.pack("!I", int(time.time()) & 0xFFFFFFFF)


def answer(client: bytes, address: str, secret: Secret, moment: bytes) -> bytes:
    """The cookie for the client at an address that has sent its part, made at a moment."""
    head = client + _VERSION + moment
    source = ip_address(address.partition("%")[0]).packed
    return head + _WORD.pack(siphash(secret, head + source))


def siphash(secret: Secret, data: bytes) -> int:
    """SipHash-2-4."""
    state = [secret[number % 2] ^ word for number, word in enumerate(_INITIAL)]
    whole = len(data) // 8 * 8
    last = data[whole:].ljust(7, b"\0") + bytes([len(data) & 0xFF])
    for (word,) in _WORD.iter_unpack(data[:whole] + last):
        state[3] ^= word
        _round(_round(state))
        state[0] ^= word
    state[2] ^= 0xFF
    for _ in range(4):
        _round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _round(v: list[int]) -> list[int]:
    v[0] = v[0] + v[1] & _MASK
    v[1] = _rotate(v[1], 13) ^ v[0]
    v[0] = _rotate(v[0], 32)
    v[2] = v[2] + v[3] & _MASK
    v[3] = _rotate(v[3], 16) ^ v[2]
    v[0] = v[0] + v[3] & _MASK
    v[3] = _rotate(v[3], 21) ^ v[0]
    v[2] = v[2] + v[1] & _MASK
    v[1] = _rotate(v[1], 17) ^ v[2]
    v[2] = _rotate(v[2], 32)
    return v


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK
