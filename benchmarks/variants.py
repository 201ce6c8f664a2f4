"""Other ways to cut a chain into programs, to compare the fused one with; same functions.

`UNCACHED` is the fused program without its flow cache, so that every packet walks. The others do
without it too: `TAIL_CALLS` has a program for each function, reached by a tail call whose place is
a constant. `POLYCUBE` is cut in the manner of Polycube (Miano et al., "A Framework for eBPF-Based
Network Functions in an Era of Microservices", IEEE TNSM 2021): each program parses the frame again,
and reads from the packet's metadata, which is in a map, which program comes next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from nfv.chain.graph import Walk
from nfv.chain.path import Attachment
from nfv.ebpf.compose import Composer, compose
from nfv.ebpf.walks import Walks, indent


class _Uncached(Walks):
    """Every packet walks."""

    @property
    def cached(self) -> bool:
        return False

    @property
    def hopped(self) -> bool:
        return False


class _TailCalls(_Uncached):
    """A program for each function, and for each router as well."""

    stages: ClassVar[int] = 1

    def _enter(self, end: Attachment, passed: int, fuse: bool) -> list[str]:
        if self._room:
            self._room -= 1
            return super()._enter(end, passed, fuse)
        return self._go_on(partial(self._enter, end, passed, fuse))

    def _fused(self, arrived: Attachment, passed: int) -> list[str]:
        lines: list[str] = []
        for leaving, walk in self._beyond(arrived).items():
            port = self.link("port", leaving)
            rest = ["pkt->reason = 0;", *self._go_on(partial(self._walk, walk, leaving, passed))]
            lines += [f"if (pkt->egress == {port}) {{", *indent(rest), "}"]
        return lines

    def _go_on(self, body: Callable[[], list[str]]) -> list[str]:
        return self._jump(self._write(self._part(), body))


class _Polycube(_TailCalls):
    """Each program parses, and does not know which one comes after it."""

    def _begin(self) -> list[str]:
        first = self.entry.walks[0]
        if self.entry.resumes or self.classified or not (first.functions or first.end.interface):
            return super()._begin()
        return []

    def _enter(self, end: Attachment, passed: int, fuse: bool) -> list[str]:
        if self._room:
            return [*_PARSE, *super()._enter(end, passed, fuse)]
        return super()._enter(end, passed, fuse)

    def _step(self, name: str, walk: Walk, place: int | None = None) -> list[str]:
        return [*_PARSE, *super()._step(name, walk, place)]

    def _jump(self, name: str) -> list[str]:
        place = self.link("program", self.entry.attachment, name)
        return [
            "commit_packet(ctx, pkt);",
            f"pkt->fragment_id = {place};",
            "NF_BARRIER(pkt);",
            "hook_jump(ctx, pkt->fragment_id);",
            "verdict = nf_drop(pkt, NF_REASON_LOOP);",
            "goto out;",
        ]


_PARSE = [
    "index = pkt->place;",
    "verdict = parse_packet(ctx, pkt);",
    "if (verdict != NF_NEXT)",
    "\tgoto out;",
    "pkt->place = index;",
]

FUSED: Composer = compose
UNCACHED: Composer = partial(compose, kind=_Uncached)
TAIL_CALLS: Composer = partial(compose, kind=_TailCalls)
POLYCUBE: Composer = partial(compose, kind=_Polycube)
