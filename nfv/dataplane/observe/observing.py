"""Observed programs in the places of those that run, for a while.

Only the first program of each port is exchanged, in one step: on its device, and where other
programs jump to it. What it goes on in are observed programs too, by tables of tail calls of their
own. So no packet is lost, and while nothing is observed nothing of this is there.

Whoever observes may be killed at any moment: packets go on by the observed programs, whose tables
are pinned, and the next observation, or `nfvctl apply`, puts the others back.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from nfv.chain.hook import Slot
from nfv.chain.path import Attachment
from nfv.chain.sap import Hook
from nfv.closing import Closing
from nfv.dataplane import state
from nfv.dataplane.change import observers, proglink
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.mapstore import LINK
from nfv.dataplane.change.observers import PREFIX
from nfv.dataplane.change.programs import JUMPS, jump_target, program_name
from nfv.dataplane.kernel import bpf, headers
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.load.exclusive import exclusive
from nfv.dataplane.observe.observed import Observed, is_private
from nfv.dataplane.state import State
from nfv.dataplane.wiring import jump, wire
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.observed import compose_observed
from nfv.errors import InputError
from nfv.traffic.filter import Instruction

_MEMBARRIER = {"x86_64": 324}.get(platform.machine(), 283)
_MEMBARRIER_GLOBAL = 1


class Observer(Observed, Closing):
    """The observed programs of an applied topology, on its maps; as a context they run.

    `places` are the ports where packets are observed, from where they enter on: by default all.
    `waiting` is told who holds the topology if somebody else is changing it.
    """

    def __init__(
        self,
        applied: State,
        waiting: Callable[[str], None],
        places: Iterable[Attachment] | None = None,
        filter_: Sequence[Instruction] = (),
    ) -> None:
        self.applied = applied
        self._waiting = waiting
        self._open = ExitStack()
        with self._open:
            self._open.enter_context(_alone(applied.name))
            with state.locked(applied.name, waiting):
                restore(applied)
            wiring = wire(applied.topology(), applied.ports)
            self.path = FastPath(
                applied.topology(),
                wiring,
                Compiler(headers.find()),
                None,
                applied,
                composer=compose_observed,
            )
            self._open.callback(self.path.close)
            _open_maps(self.path)
            super().__init__(self.path, filter_)
            self._open.callback(self.ring.close)
            self._places = list(wiring.ports if places is None else places)
            self._open = self._open.pop_all()

    def __enter__(self) -> Observer:
        try:
            with state.locked(self.applied.name, self._waiting):
                self._pin()
                for place in self._places:
                    self._exchange(place)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Have the other programs run again."""
        with self._open, state.locked(self.applied.name, self._waiting):
            restore(self.applied)

    @property
    def running(self) -> bool:
        """Whether the programs still run: a change of the topology puts others in their places."""
        return all(_is_observed(_attached(self.applied.name, place)) for place in self._places)

    def _pin(self) -> None:
        """Tables of tail calls keep what they hold for as long as they are pinned."""
        directory = observers.directory(self.applied.name)
        directory.mkdir(mode=0o700)
        for name in JUMPS.values():
            if (found := self.path.maps.get(self.path.names.root / name)) is not None:
                found.pin(directory / name)

    def _exchange(self, place: Attachment) -> None:
        port = self.path.wiring.ports[place]
        for hook in Hook:
            if (slot := Slot(place, hook)) not in self.path.units:
                continue
            with _jumps(self.applied.name, hook) as jumps:
                ident = jump_target(jumps, jump(port.number))
                if ident is None:
                    raise InputError(
                        f"no program runs at {place}",
                        f"nfvctl apply mends what is missing of {self.applied.name}",
                    )
                plain = bpf.prog_open(ident)
                try:
                    bpf.obj_pin(plain, observers.replaced(self.applied.name, hook, port.number))
                finally:
                    os.close(plain)
                _put(jumps, port.number, self.program(slot))
            if hook is port.hook:
                proglink.update(self.path.names.link(place), self.program(slot))


def is_observed(name: str) -> bool:
    """Whether observed programs run in a topology, or a killed process has left some."""
    return observers.directory(name).exists()


def restore(applied: State) -> None:
    """Put the programs back that observed ones have the places of. Whoever calls holds the lock.

    Where an apply has put others there meanwhile, they stay.
    """
    directory = observers.directory(applied.name)
    if not directory.exists():
        return
    for place, number in applied.ports.items():
        for hook in Hook:
            if (pin := observers.replaced(applied.name, hook, number)).exists():
                _put_back(applied.name, Attachment.parse(place), hook, number, pin)
    _settle()
    shutil.rmtree(directory)


def _put_back(name: str, place: Attachment, hook: Hook, number: int, pin: Path) -> None:
    program = bpf.obj_get(pin)
    try:
        link = _link(name, place)
        if proglink.hook_of(link) is hook and _is_observed(_attached(name, place)):
            proglink.update(link, program)
        with _jumps(name, hook) as jumps:
            if _is_observed(jump_target(jumps, jump(number))):
                _put(jumps, number, program)
    finally:
        os.close(program)


def _put(jumps: Map, number: int, program: int) -> None:
    jumps[jump(number)] = struct.pack("=I", program)


def _link(name: str, place: Attachment) -> Path:
    return state.pins(name) / "port" / str(place) / LINK


def _attached(name: str, place: Attachment) -> int | None:
    """The kernel's number of the program on a port's device."""
    pin = _link(name, place)
    if not pin.exists():
        return None
    link = bpf.obj_get(pin)
    try:
        return bpf.link_info(link)[0]
    finally:
        os.close(link)


def _is_observed(ident: int | None) -> bool:
    return ident is not None and program_name(ident).startswith(PREFIX)


@contextmanager
def _jumps(name: str, hook: Hook) -> Iterator[Map]:
    """The table of tail calls that the topology's programs have."""
    found = Map.open(state.pins(name) / JUMPS[hook])
    try:
        yield found
    finally:
        found.close()


def _open_maps(path: FastPath) -> None:
    for pin, plan in path.plans.items():
        path.maps[pin] = plan.create() if is_private(pin) else Map.open(pin)


def _alone(name: str) -> AbstractContextManager[None]:
    """One process at a time observes a topology. Raises `InputError` if another does."""
    return exclusive(
        observers.lock(name),
        lambda process: InputError(
            f"topology {name} is being observed by process {process}",
            "end that trace or capture, or let it do both: capture takes several places",
        ),
    )


def _settle() -> None:
    """Wait until no CPU runs a program that was replaced (membarrier(2): a grace period)."""
    ctypes.CDLL(None).syscall(_MEMBARRIER, _MEMBARRIER_GLOBAL, 0, 0)
