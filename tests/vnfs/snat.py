"""Source NAT of one prefix to another, for tests and benchmarks of what a program does with edits.

It keeps nothing: a host's number stays, and a port is exchanged bit by bit, so that the way back is
found by the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from nfv.functions.base import Function, FunctionConfig


class SnatConfig(FunctionConfig):
    """The keys of a source NAT: prefixes of one length, and the bits of ports that change."""

    inside: str
    outside: str
    ports: int = 0


class Snat(Function[SnatConfig]):
    """Source NAT without state."""

    Config = SnatConfig
    cacheable = True

    def defines(self) -> Mapping[str, int]:
        inside, outside = IPv4Network(self.config.inside), IPv4Network(self.config.outside)
        return {
            "INSIDE": int(inside.network_address),
            "OUTSIDE": int(outside.network_address),
            "HOSTS": int(inside.hostmask),
            "PORTS": self.config.ports,
        }

    def map_sizes(self) -> Mapping[str, int]:
        return {"counters": 1}

    def counters(self, before: Mapping[str, int]) -> Mapping[str, int]:
        return {"translated": 0}

    def fill(self, maps: Any, counters: Mapping[str, int], before: Mapping[str, int]) -> None:
        """There are no tables."""
