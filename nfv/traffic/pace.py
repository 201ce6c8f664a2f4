"""When each frame of a replay is due."""

from __future__ import annotations

from dataclasses import dataclass

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Original:
    """As the capture has it, or `speed` times as fast."""

    speed: float = 1.0

    def due(self, number: int, bits: int, moment: int) -> int:
        """Nanoseconds after the first frame; before it there were `number` frames of `bits`."""
        return round(moment / self.speed)

    def period(self, frames: int, bits: int, span: int) -> int:
        """Nanoseconds from one pass to the next: the last gap is the mean of the others."""
        return round(span / self.speed * frames / (frames - 1)) if frames > 1 else 0


@dataclass(frozen=True)
class PacketRate:
    """The same gap after each frame, at a rate in packets per second."""

    rate: float

    def due(self, number: int, bits: int, moment: int) -> int:
        return round(number * NANOSECONDS / self.rate)

    def period(self, frames: int, bits: int, span: int) -> int:
        return self.due(frames, bits, span)


@dataclass(frozen=True)
class BitRate:
    """Gaps by the length of frames, at a rate in bits of Ethernet frames without FCS per second."""

    rate: float

    def due(self, number: int, bits: int, moment: int) -> int:
        return round(bits * NANOSECONDS / self.rate)

    def period(self, frames: int, bits: int, span: int) -> int:
        return self.due(frames, bits, span)


@dataclass(frozen=True)
class TopSpeed:
    """Everything at once."""

    def due(self, number: int, bits: int, moment: int) -> int:
        return 0

    def period(self, frames: int, bits: int, span: int) -> int:
        return 0


Pace = Original | PacketRate | BitRate | TopSpeed
