"""The kernel's clock of the fast path: jiffies, which cost a program next to nothing to read."""

from __future__ import annotations

import os
import struct

from nfv.dataplane.kernel import bpf
from nfv.ebpf.ticks import hz

_CALL, _EXIT = 0x85, 0x95
_JIFFIES64 = 118  # BPF_FUNC_jiffies64
_FRAME = bytes(64)


class Jiffies:
    """Reads jiffies, the low 32 bits of them, as programs store them. Raises `KernelError`."""

    def __init__(self) -> None:
        code = struct.pack("<BBhiBBhi", _CALL, 0, 0, _JIFFIES64, _EXIT, 0, 0, 0)
        self._program = bpf.prog_load(code, "nfv_jiffies")
        self._hz = hz()
        self._now = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the clock; `age` counts from here."""
        self._now, _frame, _duration = bpf.prog_run(self._program, _FRAME)

    def age(self, seen: int) -> float:
        """Seconds from `seen` to the last `refresh`, up to 2^31 jiffies; 0 for what is later."""
        passed = (self._now - seen) & 0xFFFFFFFF
        return passed / self._hz if passed < 1 << 31 else 0.0

    def after(self, seconds: int) -> int:
        """What the jiffies will be so much later than now."""
        self.refresh()
        return (self._now + seconds * self._hz) & 0xFFFFFFFF

    def close(self) -> None:
        os.close(self._program)
