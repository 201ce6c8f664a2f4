"""From the chain graph to C: one text an entry, the same text for entries of the same structure.

A text holds the walks of one entry, fused: parsed once, the functions inlined in order, one exit.
What tells two entries of one structure apart is not in the text: which function's maps stand behind
a prefix, and the numbers behind NF_LINK, are bound when the program is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nfv.chain.graph import Entry, Walk
from nfv.chain.path import Attachment
from nfv.chain.pattern import Direction, Pattern
from nfv.chain.sap import Hook
from nfv.chain.topology import Topology
from nfv.ebpf import sources
from nfv.ebpf.tables import asks_for_flags, matcher_defines, turned
from nfv.ebpf.walks import MAIN, REJECT, Link, Walks
from nfv.functions.base import Function

MAX_LINEAR_MTU = 3400
"""A larger frame does not lie in one page, and programs must say that they know."""

_FRAGS = "#define NFV_FRAGS 1\n"
_TC = "#define NFV_TC 1\n"


@dataclass(frozen=True)
class Unit:
    """One C text, and what it is to be bound to for one entry."""

    text: str
    programs: tuple[str, ...]  # the main one first
    links: tuple[Link, ...]  # by the number in NF_LINK
    instances: Mapping[str, str]  # prefix -> VNF name; "c0" -> "" is the entry's own classifier
    walks: tuple[Walk, ...]
    hook: Hook

    @property
    def digest(self) -> str:
        """Names the structure: equal texts have equal digests."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


Composer: TypeAlias = Callable[[Topology, Mapping[Attachment, Entry], Entry, Hook], Unit]
"""Writes the C text of one entry of a topology, for one hook."""


def compose(
    topology: Topology,
    graph: Mapping[Attachment, Entry],
    entry: Entry,
    hook: Hook,
    kind: type[Walks] = Walks,
) -> Unit:
    """The C text of one entry, for one hook. Pure and deterministic.

    Another `kind` of walks cuts them otherwise, which the benchmarks compare.
    """
    return write(kind(topology, graph, entry), hook)


def write(walks: Walks, hook: Hook) -> Unit:
    """The C text of walks, for one hook."""
    topology = walks.topology
    instances = {prefix: name for name, prefix in walks.prefixes.items()}
    if walks.classified:
        instances = {"c0": "", **instances}
    programs = tuple(walks.bodies)
    text = _TC if hook is Hook.TC else _FRAGS if has_frags(topology) else ""
    text += _sources(topology, walks) + '#line 1 "chain"\n'
    for name, body in walks.bodies.items():
        is_quick = walks.quick and name == MAIN
        text += _function(name, body if is_quick else _walking(body, walks.keep, walks.finish))
    return Unit(text, programs, tuple(walks.links), instances, walks.entry.walks, hook)


def _sources(topology: Topology, walks: Walks) -> str:
    """The files that the programs are made of, each instance's with its prefix."""
    seen: set[str] = set()
    parts = [sources.splice(name, "", seen) for name in walks.headers]
    if walks.cached:
        parts.append(sources.splice("flow.h", "", seen))
    if walks.served:
        parts.append(sources.splice("service.h", "", seen))
    if walks.classified:
        patterns = classifier_patterns(walks.entry.walks)
        values = {
            **matcher_defines(patterns),
            "OTHERS": int(walks.entry.walks[-1].match is not None),
            "FLEETING": int(any(asks_for_flags(pattern) for pattern in patterns)),
        }
        parts.append(_define("c0", values))
        parts.append(sources.splice("classifier.h", "c0", seen))
    for name, prefix in walks.prefixes.items():
        function = topology.vnfs[name]
        parts += [
            _define(prefix, {**function.defines(), **_constants(walks, function)}),
            sources.splice("report.h", prefix, seen),
            sources.splice(f"functions/{function.type}.c", prefix, seen),
        ]
    if REJECT in walks.bodies and walks.rejected:
        parts.append(sources.splice("reject.h", "", seen))
    return "".join(parts)


def _walking(body: list[str], keep: list[str], finish: list[str]) -> list[str]:
    """A program that walks: it ends at `out`, or at `keep` if the flow is to be remembered."""
    ends = {line.strip() for line in body}
    return [
        "struct nf_packet *pkt;",
        "int verdict = NF_NEXT;",
        "u32 index = 0;",
        "",
        "pkt = nf_packets.lookup(&index);",
        "if (!pkt)",
        "\treturn HOOK_DROP;",
        *body,
        *(["goto out;", "keep:", *keep] if "goto keep;" in ends else []),
        "out:",
        *finish,
    ]


def _function(name: str, body: list[str]) -> str:
    """A program of these statements; labels stand at the margin."""
    labels = {"keep:", "out:"}
    lines = [line if line in labels else f"\t{line}" if line else "" for line in body]
    return "\n".join([f"int {name}(nf_ctx *ctx)", "{", *lines, "}", ""]) + "\n"


def _constants(walks: Walks, function: Function[Any]) -> dict[str, str]:
    """The link constants that a function's C text names."""
    attachment = Attachment(function.name)
    return {
        name: walks.link("constant", attachment, name)
        for name in function.constants(function.map_sizes())
    }


def _define(prefix: str, values: Mapping[str, int | str]) -> str:
    return "".join(f"#define {prefix.upper()}_{key} {value}\n" for key, value in values.items())


def has_frags(topology: Topology) -> bool:
    """Whether frames may be longer than one page."""
    mtus = [sap.mtu for sap in topology.saps.values()]
    for function in topology.vnfs.values():
        mtus += [interface.mtu for interface in function.interfaces.values()]
    return max(mtus, default=0) > MAX_LINEAR_MTU


def classifier_patterns(walks: Sequence[Walk]) -> list[Pattern]:
    """Patterns of the walks that have a classifier, in their order, as packets of the walk look."""
    patterns = [(walk.match.pattern(), walk.direction) for walk in walks if walk.match]
    return [
        pattern if direction is Direction.FORWARD else turned(pattern)
        for pattern, direction in patterns
    ]
