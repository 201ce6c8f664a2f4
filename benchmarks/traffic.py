"""Kinds of traffic: frames, flows, how those are drawn, and where they lead to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.frames import Kind, Protocol
from benchmarks.live import Loader
from benchmarks.rates import Feed
from benchmarks.sequences import Addresses, Draw, drawn, flows4, flows6


@dataclass(frozen=True)
class Traffic:
    """What is sent: frames of a kind, of flows that are drawn, to addresses when they are wanted.

    `established` flows have been answered before they are measured. Frames that are `copied`
    arrive at every far host.
    """

    kind: Kind
    draw: Draw
    addresses: Callable[[], Addresses]
    established: bool = True
    label: str = ""
    copied: bool = False

    @property
    def name(self) -> str:
        """The label, or such as "UDP, IPv4"."""
        if self.label:
            return self.label
        kind = "TCP ACK" if self.kind.protocol is Protocol.TCP else "UDP"
        return f"{kind}, IPv{self.kind.version}"

    def feed(self, loader: Loader) -> Feed:
        """The flows where senders read them."""
        make = flows4 if self.kind.version == 4 else flows6
        flows = make(self.addresses(), self.draw.flows)
        once = loader.sequence(flows.tobytes())
        if self.draw.once:
            return Feed(self.kind, self.draw.flows, once, once, self.established, self.copied)
        sizes = list(dict.fromkeys(self.kind.sizes))
        templates = [sizes.index(size) for size in self.kind.sizes]
        sequence = loader.sequence(drawn(flows, self.draw, templates).tobytes())
        return Feed(self.kind, self.draw.flows, once, sequence, self.established, self.copied)
