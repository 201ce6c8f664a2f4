"""The function's link-local address in its map of own addresses (struct self_own of own.h).

The function writes those that are declared; this one follows from the MAC address, which may follow
from the topology's name.
"""

from __future__ import annotations

from pathlib import Path

from nfv.dataplane.kernel.bpf import Map
from nfv.ebpf import sources
from nfv.services.packets6 import link_local

_OWN = sources.constant("own.h", "SELF_OWN")
_PLACE = 4 * _OWN + 16 * (_OWN - 1)  # the last one's


def show_link_local(maps: Path, mac: bytes) -> None:
    """Have the fast path know it, if a program has the map."""
    if not (maps / "own").exists():
        return
    opened = Map.open(maps / "own")
    memory = opened.memory()
    memory[_PLACE : _PLACE + 16] = link_local(mac).packed
    memory.close()
    opened.close()
