"""Case files: `test.nfv.yaml`, or several `NAME.test.nfv.yaml` in one directory."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from nfv.chain import source, topology
from nfv.chain.fields import Many, Model, Name, Network, OneOrMore, quoted, refusal
from nfv.chain.report import Report, did_you_mean, listed
from nfv.chain.source import KeyPath, Source
from nfv.chain.topology import Topology
from nfv.chain.validate import read, read_mapping
from nfv.errors import InputError, Problem, TopologyError
from nfv.testing.fields import FieldName
from nfv.testing.values import (
    Duration,
    Expression,
    FieldKey,
    FieldValue,
    FileName,
    Quantity,
    Timing,
)
from nfv.traffic import capture
from nfv.traffic.pace import Original

SUFFIX = "test.nfv.yaml"

MAX_BYTES = 64 << 20
"""Of a capture that a case sends or expects: it is held in memory, several times."""


def _topology(value: object) -> object:
    if not isinstance(value, (str, dict)):
        raise refusal(f"{quoted(value)} is neither the path of a topology file nor a topology")
    return value


def _mac(value: object) -> object:
    from nfv.chain.fields import parse_mac

    return value if value == "auto" else parse_mac(value)


BenchMac = Annotated[
    str,
    PlainValidator(_mac),
    WithJsonSchema({"type": "string", "description": "a MAC address, or auto: that of the bench"}),
]


class Replayed(Model):
    """What is sent into one SAP."""

    at: Name = Field(description="SAP where the frames enter")
    pcap: FileName | None = Field(None, description="capture that is sent (pcap or pcapng)")
    frames: OneOrMore[Expression] = Field(
        (), description="frames that are sent; without Ether, MAC addresses are the bench's"
    )
    timing: Timing = Field(
        Original(), description="original: as captured, and frames one after the other at once"
    )
    start: Duration = Field(0, description="when the first frame is due, after the case began")
    src_mac: BenchMac | None = Field(None, description="source of all frames, or auto")
    dst_mac: BenchMac | None = Field(None, description="destination of unicast frames, or auto")
    map: dict[Network, Network] = Field(
        {}, description="networks whose addresses become those of another one of the same size"
    )
    rewrite: dict[FieldKey, FieldValue] = Field({}, description="fields that get other values")

    def check(self, report: Report) -> None:
        if (self.pcap is None) == (not self.frames):
            report.error((), "needs either pcap or frames", "a capture, or Scapy expressions")
        for old, new in self.map.items():
            if (old.version, old.prefixlen) != (new.version, new.prefixlen):
                report.error(("map",), f"{old} and {new} are networks of different sizes")
        check_rewrite(self.rewrite, report)


class Latency(Model):
    """Bounds of the time from where a frame enters to where it leaves."""

    p50: Duration | None = Field(None, description="of half of the frames")
    p99: Duration | None = Field(None, description="of 99 % of the frames")
    max: Duration | None = Field(None, description="of all frames")

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Share of the frames, and their bound in seconds, by name."""
        given = {"p50": (0.5, self.p50), "p99": (0.99, self.p99), "max": (1.0, self.max)}
        return {name: (share, bound) for name, (share, bound) in given.items() if bound is not None}


class Expected(Model):
    """What arrives at one SAP."""

    at: Name = Field(description="SAP where frames leave")
    pcap: FileName | None = Field(None, description="capture of what arrives; --update records it")
    frames: OneOrMore[Expression] = Field(
        (), description="frames that arrive; without Ether, MAC addresses are not compared"
    )
    from_: Name | None = Field(None, alias="from", description="what was sent at this SAP arrives")
    none: Annotated[bool, Field(strict=True)] = Field(False, description="true: nothing arrives")
    ignore: OneOrMore[FieldKey] = Field((), description="fields that are not compared")
    rewrite: dict[FieldKey, FieldValue] = Field(
        {}, description="fields of the expected frames that get other values"
    )
    order: Literal["strict", "per-flow", "any"] = Field(
        "per-flow", description="how frames follow each other; a flow has one 5-tuple"
    )
    extra: Literal["fail", "ignore"] = Field("fail", description="frames that are not expected")
    neighbours: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: compare ARP, neighbour discovery, IGMP and MLD, too"
    )
    within: Duration = Field(2.0, description="longest time from the last frame sent")
    latency: Latency | None = Field(None, description="bounds; frames are known by their payload")

    def check(self, report: Report) -> None:
        given = [bool(one) for one in (self.pcap, self.frames, self.from_, self.none)]
        if sum(given) != 1:
            report.error((), "needs one of pcap, frames, from and none")
        if self.none and (self.latency or self.rewrite):
            report.error(("none",), "excludes latency and rewrite: there is no frame")
        check_rewrite(self.rewrite, report)


class CaseConfig(Model):
    """The keys of a case file."""

    title: Annotated[str, Field(strict=True)] = Field("", description="what the case shows")
    topology: Annotated[Any, PlainValidator(_topology)] = Field(
        description="path of a topology file from the directory of the case, or a topology"
    )
    mode: Literal["live", "offline"] = Field(
        "live",
        description="live: applied in namespaces of its own; offline: the programs alone, frame by "
        "frame, without Linux, services and times",
    )
    hosts: Literal["silent", "answering"] = Field(
        "silent",
        description="silent: Linux on hosts neither receives nor sends, and the bench answers ARP "
        "and neighbour discovery in its place",
    )
    replay: Many[Replayed] = Field(description="what is sent where")
    expect: Many[Expected] = Field((), description="what arrives where")
    counters: dict[str, Quantity] = Field(
        {},
        description="counters by their path in `nfvctl stats --format json`, from the beginning",
        examples=[{"ports.lan.in.packets": 3, "vnfs.fw.rules.telnet.packets": ">= 1"}],
    )
    drops: dict[Name, dict[str, Quantity]] = Field(
        {},
        description="packets dropped in a function or at a SAP, by reason; all others are 0",
        examples=[{"fw": {"rule": 3}}],
    )
    settle: Duration = Field(
        0.2, description="how long nothing more must arrive until the case has ended"
    )

    def check(self, report: Report) -> None:
        if self.mode == "live":
            return
        if self.hosts == "answering":
            report.error(("hosts",), "offline there are no hosts", "`mode: live` has some")
        for number, entry in enumerate(self.expect):
            if entry.latency is not None:
                hint = "`mode: live` has some"
                report.error(("expect", number, "latency"), "offline there are no times", hint)


@dataclass(frozen=True)
class Case:
    """A case that can be run."""

    path: Path
    name: str  # as reports have it
    config: CaseConfig
    topology: Topology
    source: Source = field(repr=False, compare=False)

    def file(self, name: str) -> Path:
        """A file that the case names."""
        return self.path.parent / name

    def actual(self, entry: Expected) -> Path:
        """Where what arrived is kept, if it is not what an entry expects."""
        stem = self.path.name.removesuffix(SUFFIX)
        name = entry.pcap.removesuffix(".pcap") if entry.pcap else f"{stem}{entry.at}"
        return self.file(f"{name}.actual.pcap")


def find(places: Iterable[Path]) -> Iterator[Path]:
    """The case files in directories and below them, sorted; files are taken as they are.

    Raises `InputError` for what is not there.
    """
    for place in places:
        if place.is_dir():
            yield from sorted(path for path in place.rglob(f"*{SUFFIX}") if is_case(path))
        elif place.exists():
            yield place
        else:
            raise InputError(f"there is no {place}", "give a directory of cases, or case files")


def is_case(path: Path) -> bool:
    """Whether a file is one by its name."""
    return path.name == SUFFIX or path.name.endswith("." + SUFFIX)


def name_of(path: Path) -> str:
    """A case by its directory, and its name where it has one."""
    stem = path.name.removesuffix(SUFFIX).rstrip(".")
    return "/".join(part for part in (path.parent.as_posix(), stem) if part not in ("", "."))


def load(path: Path) -> Case:
    """Read a case, with its topology. Raises `TopologyError` with all problems, `InputError`."""
    found = source.read(path)
    report = Report(found)
    content = read_mapping(found.data, report)
    config = read(CaseConfig, content or {}, report)
    declared = None if config is None else _declared(config, found, path, report)
    if config is not None and declared is not None:
        _check(config, declared, path.parent, report)
    raise_if_any(report)
    assert config is not None
    assert declared is not None
    return Case(path, name_of(path), config, declared, found)


def raise_if_any(report: Report) -> None:
    """Raise what there is, as problems of a case."""
    try:
        report.raise_if_any()
    except TopologyError as error:
        raise CaseError(error.problems) from None


class CaseError(TopologyError):
    """The case file is wrong; carries every problem found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__(tuple(problems))
        self.message = self.message.replace("topology", "case")


def _declared(config: CaseConfig, found: Source, path: Path, report: Report) -> Topology | None:
    if isinstance(config.topology, str):
        try:
            return topology.load(path.parent / config.topology)
        except InputError as error:
            report.error(("topology",), error.message, error.hint)
            return None
    node = found.root.children["topology"]
    topology.build(Source(found.file, found.text, node, (), found.files))
    return topology.build(source.parse(json.dumps(config.topology), found.file, found.files))


def _check(config: CaseConfig, declared: Topology, home: Path, report: Report) -> None:
    for kind in ("replay", "expect"):
        seen: set[str] = set()
        for number, one in enumerate(getattr(config, kind)):
            _check_sap((kind, number, "at"), one.at, declared.saps, report)
            if kind == "expect" and one.at in seen:
                report.error((kind, number, "at"), f"{one.at} is expected twice", "put it into one")
            seen.add(one.at)
    replayed = {one.at for one in config.replay}
    for number, one in enumerate(config.expect):
        if one.from_ is not None:
            _check_sap(("expect", number, "from"), one.from_, replayed, report)
    for number, sent in enumerate(config.replay):
        if sent.pcap is not None:
            _check_capture(("replay", number, "pcap"), home / sent.pcap, report)
    for number, one in enumerate(config.expect):
        if one.pcap is not None and (home / one.pcap).exists():  # --update makes it
            _check_capture(("expect", number, "pcap"), home / one.pcap, report)
    places = [*declared.saps, *declared.vnfs]
    for place in config.drops:
        _check_sap(("drops", place), place, places, report)
        _check_reasons(place, config, report)


def _check_sap(path: KeyPath, name: str, known: Iterable[str], report: Report) -> None:
    names = list(known)
    if name not in names:
        hint = did_you_mean(name, names, f"it is one of {listed(names)}")
        report.error(path, f"there is no '{name}' for this", hint)


def _check_capture(place: KeyPath, path: Path, report: Report) -> None:
    """Read it once, so that nothing is begun with a capture that is damaged."""
    try:
        if path.stat().st_size > MAX_BYTES:
            hint = "`nfvctl replay` sends captures of any size"
            report.error(place, f"{path} is larger than {MAX_BYTES >> 20} MiB", hint)
            return
        deque(capture.read(path), maxlen=0)
    except FileNotFoundError:
        report.error(place, f"there is no {path}", "a path from the directory of the case")
    except InputError as error:
        report.error(place, error.message, error.hint)


def _check_reasons(place: str, config: CaseConfig, report: Report) -> None:
    from nfv.ebpf.sources import reasons

    known = [name for name, _ in reasons().values()]
    for reason in config.drops[place]:
        if reason not in known:
            hint = did_you_mean(reason, known, "`nfvctl stats --format json` names them")
            report.error(("drops", place, reason), f"there is no reason '{reason}'", hint, key=True)


def check_rewrite(rewrite: dict[FieldName, int | str], report: Report) -> None:
    """Only fields have values."""
    for name in rewrite:
        if name.field is None:
            report.error(("rewrite",), f"{name} is a layer; name a field of it")
