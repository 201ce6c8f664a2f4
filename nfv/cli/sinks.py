"""Where `nfvctl capture` puts packets: a pcapng file, lines for people, or lines of JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol

import click

from nfv import __version__
from nfv.cli import output
from nfv.cli.output import Format
from nfv.errors import InputError

if TYPE_CHECKING:
    from nfv.chain.point import Point
    from nfv.dataplane.observe.capture import Captured, Count, Wanted
    from nfv.traffic.describe import Describer
    from nfv.traffic.pcapngwriter import Writer

_NANOSECONDS = 1_000_000_000


class Sink(Protocol):
    """Takes packets as they are captured."""

    def begin(self, points: Sequence[Point]) -> None:
        """Before the first packet."""

    def put(self, packets: Sequence[Captured]) -> None:
        """Some packets."""

    def end(self, counts: Sequence[Count]) -> None:
        """After the last one: what was counted at each point."""


class FileSink:
    """Writes a pcapng file."""

    def __init__(self, file: BinaryIO, wanted: Wanted) -> None:
        self._file = file
        self._wanted = wanted
        self._writer: Writer
        self._began = 0

    def begin(self, points: Sequence[Point]) -> None:
        from nfv.traffic.pcapngwriter import Interface, Writer

        longest, words = self._wanted.longest, self._wanted.filter.text
        interfaces = [Interface(one.text, one.description, longest, words) for one in points]
        self._began = time.time_ns()
        self._writer = Writer(self._file, interfaces, f"nfvctl {__version__}")

    def put(self, packets: Sequence[Captured]) -> None:
        for one in packets:
            self._writer.packet(
                one.point,
                one.moment,
                one.data,
                one.whole,
                one.flow,
                comment=remark(one),
                verdict=one.action,
            )
        self._writer.flush()

    def end(self, counts: Sequence[Count]) -> None:
        from nfv.traffic.pcapngwriter import Counts

        ended = time.time_ns()
        for number, count in enumerate(counts):
            told = Counts(self._began, ended, count.lost, count.captured)
            self._writer.statistics(number, told)
        self._writer.flush()


class LineSink:
    """Prints a line for each packet: when, where, which way, what it is, what became of it."""

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
        self._names: Sequence[str] = ()

    def begin(self, points: Sequence[Point]) -> None:
        self._names = [one.text for one in points] if len(points) > 1 else [""]

    def put(self, packets: Sequence[Captured]) -> None:
        words = self._describer.describe([(one.data, one.whole) for one in packets])
        for one, text in zip(packets, words, strict=True):
            moment = time.strftime("%H:%M:%S", time.localtime(one.moment // _NANOSECONDS))
            head = f"{moment}.{one.moment % _NANOSECONDS:09}"
            way = f"{one.flow.name.lower():3}"
            name = self._names[one.point]
            remarked = remark(one)
            tail = click.style(f" [{remarked}]", fg="yellow") if remarked else ""
            click.echo(" ".join(filter(None, (head, name, way, text))) + tail)

    def end(self, counts: Sequence[Count]) -> None:
        """Nothing is left to print."""


class ItemSink:
    """Prints packets as items of a stream."""

    def __init__(self, format_: Format) -> None:
        self._format = format_
        self._names: Sequence[str] = ()

    def begin(self, points: Sequence[Point]) -> None:
        self._names = [one.text for one in points]

    def put(self, packets: Sequence[Captured]) -> None:
        for one in packets:
            item = {
                "time": output.iso(one.moment),
                "point": self._names[one.point],
                "direction": one.flow.name.lower(),
                "length": one.whole,
                "segments": one.segments,
                **one.outcome.plain(),
                "data": one.data.hex(),
            }
            output.item(item, self._format)

    def end(self, counts: Sequence[Count]) -> None:
        """The stream has packets only."""


@contextmanager
def sink(wanted: Wanted, file: str | None, format_: Format) -> Iterator[Sink]:
    """Where packets go. Raises `InputError` if the file cannot be written."""
    if file is not None:
        with _opened(file) as opened:
            yield FileSink(opened, wanted)
    elif format_ == "table":
        from nfv.traffic.describe import Describer

        with Describer() as describer:
            yield LineSink(describer)
    else:
        yield ItemSink(format_)


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        if sys.stdout.isatty():
            raise InputError("a terminal cannot show a pcapng file", "pipe it: | wireshark -k -i -")
        yield sys.stdout.buffer
        return
    try:
        opened = open(path, "wb")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    with opened:
        yield opened


def remark(one: Captured) -> str:
    """What the frame of a packet does not tell."""
    parts = [str(one.outcome)]
    if one.segments > 1:
        parts.append(f"stands for {one.segments} frames on the wire")
    return "; ".join(filter(None, parts))
