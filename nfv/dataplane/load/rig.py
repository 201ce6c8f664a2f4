"""A generator at one SAP and a sink at another one: trials on an applied topology."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from nfv.bench.trial import Load, Trial
from nfv.chain.path import Attachment
from nfv.closing import Closing
from nfv.dataplane import state, statistics
from nfv.dataplane.load.fitting import Setup, addresses, fitted
from nfv.dataplane.load.generator import Generator, Renewal
from nfv.dataplane.load.judging import drops, latency
from nfv.dataplane.load.sender import Sender
from nfv.dataplane.load.sink import Sink
from nfv.dataplane.resident import agentctl
from nfv.dataplane.state import State
from nfv.dataplane.statistics import Statistics
from nfv.dataplane.wiring import wire
from nfv.errors import KernelError
from nfv.traffic import flows
from nfv.traffic.flows import Template
from nfv.traffic.link import Macs
from nfv.traffic.profile import IMIX_SIZES

FASTEST = 16_000_000
"""Frames a second that there is room for in trials without a rate."""

_LEAD = 5_000_000  # nanoseconds until the first frame is due
_LATE = 1.005  # times the duration of a trial, after which frames that are not sent are unsent
_LOOK = 0.02  # seconds between two looks at what arrives
_WARM_UP_SECONDS = 0.1
_WARM_UP_RATE = 20_000  # frames a second, which even the slow path takes
_WARM_UPS = 5


class Rig(Closing):
    """Trials between two SAPs, as long as the `with` block lasts."""

    def __init__(self, applied: State, setup: Setup) -> None:
        """Raises `InputError` if an address cannot be known or a size does not fit."""
        self.applied = applied
        self.setup = setup
        wiring = wire(applied.topology(), applied.ports)
        self._near = wiring.ports[Attachment(setup.near, None)]
        self._far = wiring.ports[Attachment(setup.far, None)]
        self.profile = fitted(applied.topology(), setup, self._near)
        self._macs = addresses(applied.topology(), wiring, self._near, setup.profile)
        self._trial = 0
        self._open = ExitStack()
        self._generator: Generator
        self._sink: Sink

    def __enter__(self) -> Rig:
        room = self.profile.flows + len(IMIX_SIZES)
        most = int(self.setup.seconds * FASTEST)
        with ExitStack() as stack:
            self._generator = Generator(self.applied, self._near, room)
            stack.callback(self._generator.close)
            self._sink = Sink(most, self.profile.flows)
            stack.callback(self._sink.close)
            stack.enter_context(self._sink.at(self.applied, self._far))
            self._open = stack.pop_all()
        return self

    def close(self) -> None:
        self._open.close()

    @property
    def kinds(self) -> dict[str, str]:
        """What the two SAPs are, and where their programs run."""
        return {
            "from_kind": f"{self._near.kind}, {self._near.hook.value}",
            "to_kind": f"{self._far.kind}, {self._far.hook.value}",
        }

    @property
    def macs(self) -> Macs:
        """The MAC addresses of the frames that are sent."""
        return self._macs

    def load(self, frames: Sequence[Template], count: int) -> None:
        """Send these frames, of so many flows, from here on."""
        self._generator.load(frames, count)

    def use(self, size: str) -> None:
        """Send the profile's frames of a size from here on, and see that they arrive.

        Raises `KernelError`, with what became of them, if none does.
        """
        self.load(flows.templates(self.profile, size, self._macs), self.profile.flows)
        seconds = max(_WARM_UP_SECONDS, self.profile.flows / _WARM_UP_RATE)
        load = Load(min(seconds, self.setup.seconds), rate=_WARM_UP_RATE)
        for _ in range(_WARM_UPS):
            trial = self.run(load)
            if not trial.lost:
                return
            agentctl.sync(self.applied.name)  # what was learnt from the first frames
        check_arrival(trial, self.setup)

    def run(self, load: Load) -> Trial:
        """One trial. Raises `KernelError` if the topology is destroyed meanwhile."""
        self._trial += 1
        generator, sink = self._generator, self._sink
        most = min(load.intended or int(load.seconds * FASTEST), int(self.setup.seconds * FASTEST))
        sink.begin(self._trial, most, self.profile.flows)
        generator.prepare(load, self._trial, self._renewal())
        generator.cursor["limit"] = most
        before = statistics.read(self.applied)
        self._send(load)
        self._settle()
        counted = statistics.read(self.applied).since(before)
        return self._judge(load, counted)

    def _renewal(self) -> Renewal | None:
        first, ports = self.profile.ports
        return Renewal(self.profile.churn, first, ports) if self.profile.churn else None

    def _send(self, load: Load) -> None:
        """Have a process send, until all is sent or the time is up."""
        sender = Sender([self._generator], load.rate, 0)
        try:
            sender.ready()
            grace = _LATE if load.rate else 1.0
            self._generator.begin(time.monotonic_ns() + _LEAD, load.seconds * grace)
            while not sender.wait(_LOOK):
                self._check()
        finally:
            sender.stop()
        self._check()

    def _check(self) -> None:
        if not state.directory(self.applied.name).exists():
            raise KernelError(f"topology {self.applied.name} was destroyed during a trial")

    def _settle(self) -> None:
        """Return when all has arrived, or nothing more does."""
        sent = self._generator.offered.frames
        known, since = -1, time.monotonic()
        while (found := self._sink.frames) < sent:
            if found != known:
                known, since = found, time.monotonic()
            if time.monotonic() - since >= self.setup.wait:
                return
            time.sleep(_LOOK)

    def _judge(self, load: Load, counted: Statistics) -> Trial:
        offered, arrived = self._generator.offered, self._sink.arrived
        return Trial(
            load=load,
            sent=offered.frames,
            sent_bytes=offered.bytes,
            seconds=offered.seconds,
            worst=offered.worst,
            received=arrived.frames,
            received_bytes=arrived.bytes,
            duplicates=arrived.duplicates,
            reordered=arrived.reordered,
            late=arrived.late,
            latency=latency(arrived),
            entered=counted.ports[self.setup.near].entered.packets,
            left=counted.ports[self.setup.far].sent.packets,
            hops=list(drops(counted, offered.frames - arrived.frames)),
        )


def check_arrival(trial: Trial, setup: Setup) -> None:
    """Raise `KernelError`, with what became of the frames, if none arrived."""
    if not trial.received:
        raise KernelError(
            f"none of {trial.sent:,} frames from {setup.near} arrived at {setup.far}",
            _where(trial),
        )


def _where(trial: Trial) -> str:
    """What became of lost frames, in words."""
    if not trial.hops:
        return "no function dropped them: do SAPs and addresses of the profile fit the routes?"
    return "; ".join(f"{hop.place}: {hop.reason} {hop.packets:,}" for hop in trial.hops)
