"""Lines of a firewall's log: packets as struct self_logged of extras.h has them, in words."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

from nfv.chain.match import ICMP, ICMPV6, PROTOCOLS, TCP, TCP_FLAGS, WITH_PORTS
from nfv.chain.pattern import Direction, Fragment

_LOGGED = struct.Struct("=16s16sIII2s2s8B")
_ACTIONS = ("accept", "drop", "reject", "count")  # enum self_action of firewall.c
_NAMES = {number: name for name, number in PROTOCOLS.items()}


def document(entry: bytes, rules: Mapping[int, str]) -> dict[str, object]:
    """A line of the log; `rules` are names by the place of their counter."""
    src, dst, counter, sample, length, sport, dport, *rest = _LOGGED.unpack_from(entry)
    family, protocol, flags, fragment, has_l4, direction, action, _ = rest
    found: dict[str, object] = {
        "rule": rules.get(counter),
        "action": _ACTIONS[action],
        "sample": sample,
        "direction": Direction(direction).name.lower(),
        "src": _address(src, family),
        "dst": _address(dst, family),
        "proto": _NAMES.get(protocol, protocol),
        "length": length,
    }
    if fragment:
        found["fragment"] = Fragment(fragment).name.lower()
    if has_l4 and protocol in WITH_PORTS:
        found["sport"], found["dport"] = (int.from_bytes(port, "big") for port in (sport, dport))
    if has_l4 and protocol in (ICMP, ICMPV6):
        found["icmp_type"] = f"{dport[0]}/{dport[1]}"
    if has_l4 and protocol == TCP:
        found["tcp_flags"] = ",".join(name for name, bit in TCP_FLAGS.items() if flags & bit)
    return found


def _address(value: bytes, family: int) -> str:
    if family == 4:
        return socket.inet_ntop(socket.AF_INET, value[:4])
    return socket.inet_ntop(socket.AF_INET6, value)
