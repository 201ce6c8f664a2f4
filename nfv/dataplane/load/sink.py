"""Frames of the generator counted where they leave the chains (nfv/ebpf/tools/sink.c).

At a host, or what else is behind a veth pair, the programs of the sink are on the device there: one
at XDP, and one at TC for what a program of TC sends past XDP. A tap or a NIC hands over what it is
sent to a program or a cable; there the port leads to a veth pair of the sink's for as long as it is
open, and nothing is sent by the device. If the process is killed, `nfvctl apply` leads it back.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from nfv.chain import names
from nfv.dataplane import state
from nfv.dataplane.kernel import bpf, headers, netns
from nfv.dataplane.kernel.bpf import AttachType, Map, ProgramType
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.load import histogram
from nfv.dataplane.state import State
from nfv.dataplane.wiring import Device, Port
from nfv.ebpf import sources
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.object import Code, MapSpec
from nfv.errors import InputError

_SOURCE = "tools/sink.c"
_TC = "#define NFV_TC 1\n"
_TRIAL = struct.Struct("=3I")  # struct sink_trial
_TALLY = struct.Struct("=9Q")
_WORD = 64  # bits
_NEAR, _FAR = "bench-near", "bench-far"


class _Tally(NamedTuple):
    """struct sink_tally."""

    frames: int
    bytes: int
    duplicates: int
    reordered: int
    late: int
    timed: int
    total: int
    least: int
    most: int


@dataclass(frozen=True)
class Arrived:
    """What came of a trial; bytes with the Ethernet header and without FCS, times in nanoseconds.

    `times` are those of the frames that were timed, by the buckets of `histogram`.
    """

    frames: int  # each counted once
    bytes: int
    duplicates: int
    reordered: int
    late: int  # of the trial before
    timed: int
    mean: float
    least: int
    most: int
    times: Sequence[int]


class Sink:
    """The programs and their maps, for trials of so many frames and flows."""

    def __init__(self, frames: int, flows: int) -> None:
        self._open = ExitStack()
        compiler = Compiler(headers.find())
        text = sources.splice(_SOURCE, "", set())
        objects = compiler.compile([text, _TC + text])
        sizes = {
            "sink_trials": 1,
            "sink_tallies": 1,
            "sink_seen": -(-frames // _WORD),
            "sink_next": flows,
            "sink_times": histogram.BUCKETS,
        }
        specs = objects[text].maps
        self._maps = {name: self._map(name, spec, sizes[name]) for name, spec in specs.items()}
        (code,) = objects[text].programs.values()
        self._xdp = self._load(code, ProgramType.XDP)
        (code,) = objects[_TC + text].programs.values()
        self._tc = self._load(code, ProgramType.SCHED_CLS)

    def close(self) -> None:
        """Forget the programs."""
        self._open.close()

    def _map(self, name: str, spec: MapSpec, size: int) -> Map:
        made = Map.create(
            spec.type, spec.key_size, spec.value_size, size, flags=spec.flags, name=name
        )
        self._open.callback(made.close)
        return made

    def _load(self, code: Code, type_: ProgramType) -> int:
        bound = code.bind({name: found.fd for name, found in self._maps.items()}, ())
        program = bpf.prog_load(bound, "nfv_sink", type_=type_)
        self._open.callback(os.close, program)
        return program

    def begin(self, trial: int, frames: int, flows: int) -> None:
        """Count from zero: a trial of at most so many frames, of so many flows."""
        self._maps["sink_tallies"][0] = bytes(self._maps["sink_tallies"].entry_size)
        for name in ("sink_seen", "sink_next", "sink_times"):
            with self._maps[name].memory() as memory:
                memory[:] = bytes(len(memory))
        self._maps["sink_trials"][0] = _TRIAL.pack(trial, frames, flows)

    @property
    def frames(self) -> int:
        """How many have arrived so far, each counted once."""
        return sum(tally.frames for tally in self._tallies())

    def _tallies(self) -> list[_Tally]:
        """What each CPU has counted."""
        return [_Tally(*found) for found in _TALLY.iter_unpack(self._maps["sink_tallies"][0])]

    @property
    def arrived(self) -> Arrived:
        """All that has been counted since `begin`."""
        tallies = self._tallies()
        total = _Tally(*(sum(members) for members in zip(*tallies, strict=True)))
        with self._maps["sink_times"].memory() as memory:
            times = list(memoryview(bytes(memory)).cast("Q"))[: histogram.BUCKETS]
        return Arrived(
            frames=total.frames,
            bytes=total.bytes,
            duplicates=total.duplicates,
            reordered=total.reordered,
            late=total.late,
            timed=total.timed,
            mean=total.total / total.timed if total.timed else 0.0,
            least=min((tally.least for tally in tallies if tally.timed), default=0),
            most=max(tally.most for tally in tallies),
            times=times,
        )

    @contextmanager
    def at(self, applied: State, port: Port) -> Iterator[None]:
        """Count what leaves by a port."""
        with ExitStack() as stack:
            if port.inner is None:
                device = stack.enter_context(_diverted(applied, port))
            else:
                device = port.inner
                _check_free(port, device)
            for program, type_ in ((self._xdp, AttachType.XDP), (self._tc, AttachType.TCX_INGRESS)):
                if type_ is AttachType.XDP or bpf.has_tcx():
                    stack.callback(os.close, _attach(program, device, type_))
            yield


def _check_free(port: Port, device: Device) -> None:
    """A device of somebody else's namespace may be in use."""
    with Netlink(device.netns) as netlink:
        if netlink.link(device.name).xdp_prog_id is not None:
            raise InputError(
                f"device {device.name} of {port.attachment} runs another XDP program",
                f"remove it first: ip -n {device.netns} link set dev {device.name} xdp off",
            )


def _attach(program: int, device: Device, type_: AttachType) -> int:
    with netns.entered(device.netns):
        return bpf.link_create(program, socket.if_nametoindex(device.name), type_)


@contextmanager
def _diverted(applied: State, port: Port) -> Iterator[Device]:
    """Have a port lead to a veth pair; yields its far end, where the frames arrive."""
    fabric = names.fabric_netns(applied.name)
    ports = Map.open(state.pins(applied.name) / "ports")
    key = struct.pack("=I", port.number)
    with ExitStack() as stack:
        stack.callback(ports.close)
        with Netlink(fabric) as netlink:
            if _NEAR in netlink.links():  # left by a bench that was killed
                netlink.del_link(_NEAR)
            netlink.add_veth(_NEAR, _FAR, mtu=port.mtu)
            stack.callback(_remove, fabric)
            for name in (_NEAR, _FAR):
                netlink.set_link(name, up=True)
        stack.callback(_lead, ports, key, port.outer)
        _lead(ports, key, Device(fabric, _NEAR))
        yield Device(fabric, _FAR)


def _lead(ports: Map, key: bytes, device: Device) -> None:
    """Have a number of a port lead to a device, which is looked up where it is."""
    with netns.entered(device.netns):
        ports.update(key, struct.pack("=I", socket.if_nametoindex(device.name)))


def _remove(fabric: str) -> None:
    with Netlink(fabric) as netlink:
        netlink.del_link(_NEAR)
