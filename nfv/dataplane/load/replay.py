"""Captures replayed into the SAPs of an applied topology."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nfv.chain.path import Attachment
from nfv.dataplane import state
from nfv.dataplane.load.histogram import percentile
from nfv.dataplane.load.injector import FOREVER, Injector, chunks, record_size
from nfv.dataplane.load.live import MAX_FRAME, has_xdp
from nfv.dataplane.load.nexthop import mac_bytes, next_hop
from nfv.dataplane.load.sender import DENSE, Sender
from nfv.dataplane.state import State
from nfv.dataplane.wiring import Port, wire
from nfv.errors import InputError, KernelError
from nfv.traffic.feed import Feed, Source, Survey, survey
from nfv.traffic.link import ETHERNET_HEADER, VLAN_TAG, Macs
from nfv.traffic.pace import NANOSECONDS, Pace, TopSpeed
from nfv.traffic.rewrite import AddressMap, Rewriting

_MEMORY_SHARE = 4  # the part of the memory that is available which frames may take
_MOST_CHUNKS = 1024
_RING = 64  # chunks, for captures that do not fit
_LOOK = 0.05  # seconds between two looks at how far it has come
_REFILL = 0.005  # seconds between two looks at whether there is room to write
_LEAD = 5_000_000  # nanoseconds until the first frame is due
_SHARES = {"p50": 0.5, "p99": 0.99}  # of gaps whose error is told
_ANY = bytes(6)

Progress = Callable[[int, "int | None"], None]
"""Told how many packets have been sent, and of how many."""


@dataclass(frozen=True)
class Fit:
    """What is asked for to fit the bench. "auto" as a MAC address is that of the bench."""

    source: str | None = None
    destination: str | None = None
    maps: Sequence[AddressMap] = ()


@dataclass(frozen=True)
class SapReport:
    """What has been sent of one capture; `skipped` are packets of one pass, by reason."""

    sap: str
    file: str
    packets: int
    bytes: int
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """How a replay went. Errors are of the gaps between packets; None where none were asked for."""

    saps: Sequence[SapReport]
    packets: int
    bytes: int
    seconds: float  # from the first packet to the last
    requested_seconds: float | None
    complete: bool
    gap_error: Mapping[str, float] | None  # seconds, by "p50", "p99" and "max"


def source(applied: State, sap: str, path: Path, fit: Fit) -> Source:
    """A capture for a SAP. Raises `InputError` if an "auto" address cannot be known."""
    wiring = wire(applied.topology(), applied.ports)
    port = wiring.ports[Attachment(sap, None)]
    own = mac_bytes(port.mac) if port.mac else None
    source_mac = _mac(fit.source, own, f"{sap} has no MAC address of its own: give --src-mac")
    hop = next_hop(applied.topology(), wiring, port)
    destination = _mac(
        fit.destination,
        hop,
        f"the chains of {sap} lead to several places: give --dst-mac",
    )
    longest = min(port.mtu + ETHERNET_HEADER + VLAN_TAG, MAX_FRAME)
    macs = Macs(
        destination or next_hop(applied.topology(), wiring, port) or _ANY, source_mac or own or _ANY
    )
    return Source(sap, path, longest, macs, Rewriting(source_mac, destination, fit.maps))


def _mac(wanted: str | None, auto: bytes | None, hint: str) -> bytes | None:
    if wanted != "auto":
        return mac_bytes(wanted) if wanted else None
    if auto is None:
        raise InputError("the MAC address cannot be chosen automatically", hint)
    return auto


def prepare(
    sources: Sequence[Source], pace: Pace, align: bool, told: Callable[[Path], None]
) -> Feed:
    """Read all captures once, before anything is sent; `told` which is being read.

    Raises `InputError` if one is damaged or has nothing to send.
    """
    surveys: list[Survey] = []
    for one in sources:
        told(one.path)
        surveys.append(survey(one, record_size))
    return Feed(sources, surveys, pace, align)


class _Lane:
    """What one program sends: the frames of all ports with XDP programs, or of one without."""

    def __init__(
        self, applied: State, feed: Feed, loops: int | None, ports: Mapping[int, Port]
    ) -> None:
        self._feed = feed
        self.ports = ports
        surveys = [feed.surveys[number] for number in ports]
        self._frames = sum(found.frames for found in surveys)
        stored = sum(found.stored for found in surveys)
        self.fits = chunks(stored) <= _most_chunks()
        self.injector = Injector(applied, ports, chunks(stored) if self.fits else _RING)
        cursor = self.injector.cursor
        cursor["timed"] = not isinstance(feed.pace, TopSpeed)
        cursor["limit"] = FOREVER if loops is None else self._frames * loops
        frames = feed.once() if self.fits else feed.passes(loops)
        self._source = (frame for frame in frames if frame.source in ports)

    def fill(self) -> bool:
        """Write what there is room for; at first everything, if it fits."""
        injector, cursor = self.injector, self.injector.cursor
        if cursor["filled"] == FOREVER:
            return False
        filled = injector.room and injector.fill(self._source)
        if self.fits and not filled:  # the same chunks again and again
            cursor["slots"] = cursor["filled"]
            cursor["filled"] = FOREVER
            cursor["period"] = self._feed.period
        return filled

    @property
    def rate(self) -> float | None:
        """Packets a second on average that are asked for; None at top speed."""
        if not self.injector.cursor["timed"]:
            return None
        return self._frames / self._feed.period * NANOSECONDS if self._feed.period else 0


class Replay:
    """One replay of a feed; `loops` passes, None for no end."""

    def __init__(self, applied: State, feed: Feed, loops: int | None) -> None:
        self._name = applied.name
        self._feed = feed
        self._total = None if loops is None else feed.frames * loops
        ports = wire(applied.topology(), applied.ports).ports
        grouped: dict[Attachment | None, dict[int, Port]] = {}
        for number, one in enumerate(feed.sources):
            port = ports[Attachment(one.sap, None)]
            key = None if has_xdp(applied, port) else port.attachment
            grouped.setdefault(key, {})[number] = port
        self._lanes = [_Lane(applied, feed, loops, group) for group in grouped.values()]
        self._begun = 0

    @property
    def begun(self) -> int:
        """When the first packet was due, in nanoseconds of the monotonic clock."""
        return self._begun

    def run(self, progress: Progress) -> Report:
        """Send until all is sent, or until interrupted: then the report says so.

        Raises `KernelError` if the topology is destroyed meanwhile.
        """
        with ExitStack() as stack:
            for lane in self._lanes:
                stack.enter_context(lane.injector)
                while lane.fill():
                    progress(0, self._total)
            complete = self._send(progress)
            progress(self._sent(), self._total)
            return self._report(complete)

    def _send(self, progress: Progress) -> bool:
        """Whether all has been sent."""
        with ExitStack() as stack:
            senders = []
            for number, lanes in enumerate(self._shared()):
                injectors, rates = zip(*((lane.injector, lane.rate) for lane in lanes), strict=True)
                rate = None if None in rates else sum(rates)
                senders.append(Sender(injectors, rate, number))
                stack.callback(senders[-1].stop)
            try:
                for sender in senders:
                    sender.ready()
                self._begun = time.monotonic_ns() + _LEAD
                for lane in self._lanes:
                    lane.injector.cursor["base"] = self._begun
                while not self._done(senders):
                    self._check()
                    progress(self._sent(), self._total)
                self._check()
            except KeyboardInterrupt:
                return False
        return True

    def _shared(self) -> list[list[_Lane]]:
        """The lanes of each process: one for all keeps the order of all, if it can keep up."""
        rates = [lane.rate for lane in self._lanes]
        if all(rate is not None for rate in rates) and sum(filter(None, rates)) < DENSE:
            return [self._lanes]
        return [[lane] for lane in self._lanes]

    def _check(self) -> None:
        """Raise `KernelError` if there is nothing any more that packets could enter."""
        if not state.directory(self._name).exists():
            raise KernelError(f"topology {self._name} was destroyed while packets were sent")

    def _done(self, senders: Sequence[Sender]) -> bool:
        """Whether all has been sent, after a while in which there was nothing to write."""
        wrote = [lane.fill() for lane in self._lanes]
        left = [sender for sender in senders if not sender.wait(0)]
        pause = _LOOK if all(lane.fits for lane in self._lanes) else _REFILL
        return not left or (not any(wrote) and left[0].wait(pause) and len(left) == 1)

    def _sent(self) -> int:
        return sum(lane.injector.cursor["sent"] for lane in self._lanes)

    def _report(self, complete: bool) -> Report:
        feed = self._feed
        cursors = [lane.injector.cursor for lane in self._lanes]
        sent = {number: lane.injector.sent(number) for lane in self._lanes for number in lane.ports}
        timed = not isinstance(feed.pace, TopSpeed)
        begun = min((cursor["first"] for cursor in cursors if cursor["first"]), default=0)
        ended = max(cursor["last"] for cursor in cursors)
        due = max(cursor["last_due"] for cursor in cursors)
        return Report(
            saps=[
                SapReport(one.sap, str(one.path), count.packets, count.bytes, dict(found.skipped))
                for one, found, (_, count) in zip(
                    feed.sources, feed.surveys, sorted(sent.items()), strict=True
                )
            ],
            packets=sum(count.packets for count in sent.values()),
            bytes=sum(count.bytes for count in sent.values()),
            seconds=(ended - begun) / NANOSECONDS,
            requested_seconds=max(0, due - self._begun) / NANOSECONDS if timed else None,
            complete=complete,
            gap_error=self._gap_error() if timed else None,
        )

    def _gap_error(self) -> dict[str, float]:
        injectors = [lane.injector for lane in self._lanes]
        counts = [sum(column) for column in zip(*(one.gaps() for one in injectors), strict=True)]
        worst = max(one.cursor["worst"] for one in injectors)
        errors = {name: min(percentile(counts, share), worst) for name, share in _SHARES.items()}
        return {name: error / NANOSECONDS for name, error in {**errors, "max": worst}.items()}


def _most_chunks() -> int:
    """Chunks that frames may take at most, of about a MiB."""
    fields = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    (kibibytes,) = (int(number) for name, number, *_ in fields if name == "MemAvailable:")
    return min(_MOST_CHUNKS, max(_RING, kibibytes // _MEMORY_SHARE >> 10))
