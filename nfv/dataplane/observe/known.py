"""Which connections a firewall knew before a packet came, by what its C names them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

_IP = 14
_ICMP, _ICMP6 = 1, 58
_REQUESTS, _REPLIES = frozenset({8, 128}), frozenset({0, 129})


class Flows:
    """The connections of each firewall, as packets make them one after the other."""

    def __init__(self, known: Mapping[tuple[str, int], Iterable[bytes]]) -> None:
        """`known` are keys at the beginning, of each function that tracks any and IP version."""
        self._known = {name: set(keys) for name, keys in known.items()}

    def meet(self, vnf: str, frame: bytes) -> bool:
        """A function has let a packet pass; whether its connection was known before."""
        found = connection(frame)
        if found is None or (vnf, found[0]) not in self._known:
            return False
        version, key = found
        is_known = key in self._known[vnf, version]
        self._known[vnf, version].add(key)
        return is_known


def connection(frame: bytes) -> tuple[int, bytes] | None:
    """IP version and key (struct self_key4, self_key6 of connections.h) of a plain packet."""
    if frame[12:14] == b"\x08\x00" and len(frame) >= _IP + 20:
        header = (frame[_IP] & 15) * 4
        src, dst, protocol = frame[26:30], frame[30:34], frame[23]
        return _key(4, frame[_IP + header :], src, dst, protocol)
    if frame[12:14] == b"\x86\xdd" and len(frame) >= _IP + 40:
        return _key(6, frame[_IP + 40 :], frame[22:38], frame[38:54], frame[20])
    return None


def _key(
    version: int, transport: bytes, src: bytes, dst: bytes, protocol: int
) -> tuple[int, bytes] | None:
    if len(transport) < 8:
        return None
    sport, dport = transport[:2], transport[2:4]
    if protocol in (_ICMP, _ICMP6):
        is_request, is_reply = transport[0] in _REQUESTS, transport[0] in _REPLIES
        if not is_request and not is_reply:
            return None
        sport = transport[4:6] if is_request else bytes(2)
        dport = transport[4:6] if is_reply else bytes(2)
    ends = sorted([(src, sport), (dst, dport)], key=lambda end: _order(*end))
    (low, low_port), (high, high_port) = ends
    return version, low + high + low_port + high_port + struct.pack("=I", protocol)


def _order(address: bytes, port: bytes) -> tuple[int, ...]:
    """As self_tuple4 and self_above compare words; of IPv6 those of the lower half first."""
    words = struct.unpack(f"={len(address) // 4}I", address)
    return *words[2:], *words[:2], *struct.unpack("=H", port)
