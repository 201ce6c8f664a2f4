"""The time of day as services count it: evenly, whatever the system's clock is set to."""

from __future__ import annotations

import time


class Clock:
    """Seconds since the epoch by the system's clock when this was made; then as time passes.

    Time in which the machine slept has passed.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def __call__(self) -> float:
        return self._offset + time.clock_gettime(time.CLOCK_BOOTTIME)

    def moment(self, boot: int) -> float:
        """When the clock that programs read (bpf_ktime_get_boot_ns) showed so many nanoseconds."""
        return self._offset + boot / 1e9

    def boot(self, moment: float) -> int:
        """The reverse: nanoseconds, 0 for what was before."""
        return max(0, int((moment - self._offset) * 1e9))
