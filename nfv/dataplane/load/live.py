"""Programs that send frames into the chains of a topology: BPF_PROG_TEST_RUN on live frames.

A frame enters at the program of its port, so it is to the chains as if it had come by the device:
whatever the device is, and without a queue in front of the program that could lose it. Ports with
XDP programs are reached by a tail call; for TC programs the kernel takes the frame as received.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nfv.dataplane import state
from nfv.dataplane.kernel import bpf, headers, netns
from nfv.dataplane.kernel.bpf import Map, MapType
from nfv.dataplane.state import State
from nfv.dataplane.wiring import Port, jump
from nfv.ebpf import sources
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.compose import has_frags
from nfv.ebpf.object import Layout, MapSpec

MAX_FRAME = 3400
"""Bytes of the longest frame; a live frame is in one page, with the kernel's own data
around it (BPF_PROG_TEST_RUN)."""


class Cursor:
    """A struct of 64-bit members, which a program goes on writing; times in nanoseconds."""

    def __init__(self, memory: memoryview, layout: Layout) -> None:
        self._words = memory.cast("Q")  # so that each access is one load or store
        self._places = {member.name: member.offset // 8 for member in layout.fields}

    def __getitem__(self, name: str) -> int:
        return self._words[self._places[name]]

    def __setitem__(self, name: str, value: int) -> None:
        self._words[self._places[name]] = value

    def clear(self) -> None:
        """Make all members 0."""
        for place in self._places.values():
            self._words[place] = 0


class LiveProgram:
    """A program of nfv/ebpf/tools, with maps of the sizes given.

    It is for all ports that have XDP programs, or for one that has a TC program.
    """

    def __init__(
        self, applied: State, ports: Mapping[int, Port], source: str, sizes: Mapping[str, int]
    ) -> None:
        self._open = ExitStack()
        text = sources.splice(source, "", set())
        compiled = Compiler(headers.find()).compile([text])[text]
        (code,) = compiled.programs.values()
        (self._device,) = {
            None if has_xdp(applied, port) else port.outer for port in ports.values()
        }
        self.maps = {"nf_jumps": self._jumps(applied)}
        self._layouts = {name: spec.value for name, spec in compiled.maps.items()}
        for name, spec in compiled.maps.items():
            if name not in self.maps:
                self.maps[name] = self._map(name, spec, sizes[name])
        flags = bpf.F_XDP_HAS_FRAGS if has_frags(applied.topology()) else 0
        bound = code.bind({name: found.fd for name, found in self.maps.items()}, ())
        self._program = bpf.prog_load(bound, "nfv_live", flags=flags)
        self._open.callback(os.close, self._program)

    @property
    def verdict(self) -> int:
        """What is to become of frames of ports without XDP program."""
        return bpf.XDP_PASS if self._device else bpf.XDP_DROP

    def close(self) -> None:
        """Forget the program and its maps."""
        self._open.close()

    def layout(self, name: str) -> Layout:
        """The struct that a map holds."""
        layout = self._layouts[name]
        assert layout is not None
        return layout

    def cursor(self, name: str) -> Cursor:
        """The only element of a map."""
        return Cursor(self.memory(name), self.layout(name))

    def memory(self, name: str) -> memoryview:
        """The elements of a map."""
        return memoryview(self.maps[name].memory())

    def _jumps(self, applied: State) -> Map:
        """The topology's table of tail calls between XDP programs; an empty one without such."""
        if self._device is None:
            jumps = Map.open(_jumps_pin(applied))
        else:
            jumps = Map.create(MapType.PROG_ARRAY, 4, 4, 1, name="nf_jumps")
        self._open.callback(jumps.close)
        return jumps

    def _map(self, name: str, spec: MapSpec, size: int) -> Map:
        made = Map.create(
            spec.type, spec.key_size, spec.value_size, size, flags=spec.flags, name=name
        )
        self._open.callback(made.close)
        return made

    @contextmanager
    def sending(self) -> Iterator[Callable[[int, int], None]]:
        """A function that runs the program so many times, and so many at once.

        It waits for the next frame about 0.3 ms each time.
        """
        device = self._device
        with netns.entered(device.netns if device else None):
            index = socket.if_nametoindex(device.name) if device else 0
            room = bytes(MAX_FRAME)
            yield lambda times, batch: bpf.prog_run_live(
                self._program, room, times, ingress=index, batch=batch
            )


def has_xdp(applied: State, port: Port) -> bool:
    """Whether an XDP program runs where packets enter at a port; else it is one for TC."""
    pin = _jumps_pin(applied)
    if not pin.exists():
        return False
    jumps = Map.open(pin)
    try:
        return jumps.lookup(struct.pack("=I", jump(port.number))) is not None
    finally:
        jumps.close()


def _jumps_pin(applied: State) -> Path:
    return state.pins(applied.name) / "jumps"
