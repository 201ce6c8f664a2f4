"""The epoch of a topology's tables: a flow remembered in a former one is forgotten."""

from __future__ import annotations

import struct
from pathlib import Path

from nfv.dataplane.kernel.bpf import Map

_EPOCH = struct.Struct("=I")
_STEP = 1 << 13  # the lower bits of a flow's name are not the epoch's (PLAIN_NAME in plain.h)


def advance(epoch: Map) -> None:
    """Call it after every change that could send a known flow another way."""
    memory = epoch.memory()
    _EPOCH.pack_into(memory, 0, (_EPOCH.unpack_from(memory, 0)[0] + _STEP) & 0xFFFFFFFF)
    memory.close()


def advance_at(pin: Path) -> None:
    """The same for the epoch pinned there; nothing if the topology has no flow cache."""
    if pin.exists():
        found = Map.open(pin)
        advance(found)
        found.close()
