"""Observing a topology as long as it is applied.

The programs follow a change of the topology: they give way to those of the change, and are put on
these in turn.
"""

from __future__ import annotations

import select
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

from nfv.chain.graph import entries
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.closing import Closing
from nfv.dataplane import state
from nfv.dataplane.observe.notes import Record
from nfv.dataplane.observe.observing import Observer
from nfv.dataplane.state import State
from nfv.errors import KernelError
from nfv.traffic.filter import Instruction

_LOOK = 0.5  # seconds between two looks at whether the topology has changed
_AT_ONCE = 4096  # notes, until what they say is told
_CLOCK_TRIES = 5

Waiting = Callable[[str], None]


class Session:
    """The observed programs of one state of a topology."""

    def __init__(
        self,
        applied: State,
        topology: Topology,
        waiting: Waiting,
        places: Iterable[Attachment] | None,
        filter_: Sequence[Instruction] = (),
    ) -> None:
        """`topology` is that of `applied`; the others are as `Observer` has them."""
        self.applied = applied
        self.topology = topology
        self.graph = entries(topology)
        self.epoch = _epoch()
        self.observed = Observer(applied, waiting, places, filter_)

    def learn(self) -> None:
        """`applied` says something else that programs do not depend on."""

    def is_current(self) -> bool:
        """Whether packets still go this way; learns what else a change of the topology has done."""
        if not self.observed.running:
            return False
        found = state.load(self.applied.name)
        if found is None or found.changing or found == self.applied:
            return True
        if found.ports != self.applied.ports or entries(found.topology()) != self.graph:
            return False
        self.applied = found
        self.learn()
        return True

    def notes(self) -> Iterator[Record]:
        """Some notes; waits half a second for one."""
        select.select([self.observed.ring], [], [], _LOOK)
        return islice(self.observed.ring.records(), _AT_ONCE)

    def last_notes(self) -> Iterator[Record]:
        """All that are left, once no note is taken any more."""
        self.observed.want(range(len(self.observed.notes)), 0)
        return self.observed.ring.records()


S = TypeVar("S", bound=Session)
F = TypeVar("F", bound="Following[Any]")


class Following(Closing, Generic[S]):
    """A topology observed; as a context, observed programs run meanwhile."""

    def __init__(self, applied: State, waiting: Waiting) -> None:
        self.renewed = False  # by the last `renew`, as the topology had changed
        self._looked = time.monotonic()
        self._ended = False  # the programs that ran
        self._waiting = waiting
        self.session = self.observe(applied, waiting)

    @abstractmethod
    def observe(self, applied: State, waiting: Waiting) -> S:
        """Load observed programs for a state of the topology."""

    @abstractmethod
    def leave(self, session: S) -> None:
        """Its programs are about to be given up: count what they have lost."""

    def __enter__(self: F) -> F:
        self.session.observed.__enter__()
        return self

    def close(self) -> None:
        self.session.observed.close()

    def renew(self) -> None:
        """Observe the topology as it is, if it has changed.

        Raises `KernelError` if it was destroyed, `InputError` if a place has gone.
        """
        self.renewed = self._is_out_of_date()
        if self.renewed:
            self._change()

    def _is_out_of_date(self) -> bool:
        """Whether the topology has changed, and all was read that was noted before."""
        if self._ended:
            return True
        if time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            self._ended = not self.session.is_current()
        return False

    def _change(self) -> None:
        name = self.session.applied.name
        self.leave(self.session)
        self.session.observed.close()
        with state.locked(name, self._waiting):
            applied = state.load(name)
        if applied is None:
            raise KernelError(f"topology {name} was destroyed while it was observed")
        self.session = self.observe(applied, self._waiting)
        self.session.observed.__enter__()
        self._ended = False


def _epoch() -> int:
    """What is to be added to the monotonic clock for nanoseconds since the epoch."""
    found = []
    for _ in range(_CLOCK_TRIES):
        before, now, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        found.append((after - before, now - (before + after) // 2))
    return min(found)[1]
