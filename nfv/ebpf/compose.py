"""From the chain graph to C: one text an entry, the same text for entries of the same structure.

A text holds the walks of one entry, fused: parsed once, the functions inlined in order, one exit.
What tells two entries of one structure apart is not in the text: which function's maps stand behind
a prefix, and the numbers behind NF_LINK, are bound when the program is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nfv.chain.graph import Entry, Walk
from nfv.chain.pattern import Direction, Pattern
from nfv.chain.topology import Attachment, Topology
from nfv.ebpf import sources
from nfv.ebpf.tables import turned, words

MAIN = "nfv_entry"
REJECT = "nfv_reject"

FUSED_FUNCTIONS = 16
"""Functions of other entries' walks that are inlined behind a router; beyond that, a tail call."""

_FIRST_LINK = 1  # ENTRY_LINKS in entry.h; 0 is the place of the reject program in nf_jumps


@dataclass(frozen=True)
class Link:
    """What a link constant stands for: a port number, or an interface's ordinal in its function."""

    kind: str  # "reject", "port" or "interface"
    attachment: Attachment


@dataclass(frozen=True)
class Unit:
    """One C text, and what it is to be bound to for one entry."""

    text: str
    programs: tuple[str, ...]
    links: tuple[Link, ...]  # by the number in NF_LINK
    instances: Mapping[str, str]  # prefix -> VNF name; "c0" -> "" is the entry's own classifier
    walks: tuple[Walk, ...]

    @property
    def digest(self) -> str:
        """Names the structure: equal texts have equal digests."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


@dataclass
class _Composer:
    topology: Topology
    graph: Mapping[Attachment, Entry]
    entry: Entry
    links: list[Link] = field(default_factory=list)
    prefixes: dict[str, str] = field(default_factory=dict)  # VNF name -> prefix
    places: list[tuple[int, list[str]]] = field(
        default_factory=list
    )  # rejecting stages: place, way back
    budget: int = FUSED_FUNCTIONS

    def link(self, kind: str, attachment: Attachment) -> str:
        wanted = Link(kind, attachment)
        if wanted not in self.links:
            self.links.append(wanted)
        return f"NF_LINK({self.links.index(wanted)})"

    def prefix(self, vnf: str) -> str:
        return self.prefixes.setdefault(vnf, f"f{len(self.prefixes)}")

    # One walk ------------------------------------------------------------------------------------

    def walk(self, walk: Walk, start: Attachment, depth: int) -> list[str]:
        """The statements of a walk; they end at `out` or by returning."""
        lines: list[str] = []
        back: list[str] = []
        for name in walk.functions:
            lines += self.bump(name, walk.direction, _back(back, self.arrive(start)))
            back = [*self.step(name, Direction(1 - walk.direction)), *back]
        return lines + self.arrive(walk.end, depth)

    def step(self, name: str, direction: Direction) -> list[str]:
        prefix = self.prefix(name)
        way = "NF_DIR_FORWARD" if direction is Direction.FORWARD else "NF_DIR_REVERSE"
        return [
            "NF_BARRIER(pkt);",
            f"verdict = {prefix}_process(ctx, pkt, {way});",
            "if (verdict != NF_NEXT) {",
            f"\t{prefix}_report(pkt);",
            "\tgoto out;",
            "}",
        ]

    def bump(self, name: str, direction: Direction, back: list[str]) -> list[str]:
        lines = self.step(name, direction)
        if not self.topology.vnfs[name].rejects:
            return lines
        place = len(self.places) + 1
        self.places.append((place, back))
        return [*lines[:4], f"\tpkt->place = {place};", *lines[4:]]

    def arrive(self, end: Attachment, depth: int | None = None) -> list[str]:
        """Leave by a SAP, or enter a function's interface.

        Without a depth the function's kernel takes the packet: answers need no fast path.
        """
        port = self.link("port", end)
        if end.interface is None or depth is None:
            return [
                f"pkt->egress = {port};",
                "pkt->reason = NF_REASON_FORWARDED;",
                "goto out;",
            ]
        prefix = self.prefix(end.node)
        lines = [
            "NF_BARRIER(pkt);",
            f"verdict = {prefix}_process(ctx, pkt, {self.link('interface', end)});",
            f"{prefix}_report(pkt);",
            "if (verdict != NF_FORWARD) {",
            f"\tpkt->egress = {port};",
            "\tgoto out;",
            "}",
        ]
        if depth == 0:
            lines += self.fused(end.node, end.interface)
        return [*lines, "return entry_leave(ctx, pkt);"]

    def fused(self, node: str, arrived: str) -> list[str]:
        """The walks behind the router's other interfaces, where they are a lone chain to a SAP."""
        lines: list[str] = []
        for interface in self.topology.vnfs[node].interfaces:
            leaving = Attachment(node, interface)
            walks = self.graph[leaving].walks
            if (
                interface == arrived
                or len(walks) != 1
                or walks[0].end.interface is not None
                or not walks[0].functions
            ):
                continue
            if len(walks[0].functions) > self.budget:
                continue
            self.budget -= len(walks[0].functions)
            inner = self.walk(walks[0], leaving, depth=1)
            port = self.link("port", leaving)
            lines += [f"if (pkt->egress == {port}) {{", *_indent(["pkt->reason = 0;", *inner]), "}"]
        return lines

    # The whole text ------------------------------------------------------------------------------

    def body(self) -> list[str]:
        walks = self.entry.walks
        start = self.entry.attachment
        if not walks:
            return ["verdict = nf_drop(pkt, NF_REASON_NO_CHAIN);", "goto out;"]
        if len(walks) == 1 and walks[0].match is None:
            return self.walk(walks[0], start, 0)
        lines = ["switch (c0_classify(pkt)) {"]
        for number, walk in enumerate(walks, 1):
            label = f"case {number}:" if walk.match is not None else "default:"
            lines += [label, *_indent(self.walk(walk, start, 0))]
        if walks[-1].match is not None:
            lines += ["default:", "\tverdict = nf_drop(pkt, NF_REASON_NO_CHAIN);", "\tgoto out;"]
        return [*lines, "}"]

    def unit(self) -> Unit:
        self.links.append(Link("reject", self.entry.attachment))
        body = self.body()
        back = self.way_back()
        seen: set[str] = set()
        parts = [_FRAGS] if has_frags(self.topology) else []
        parts += [sources.splice("entry.h", "", seen), sources.splice("parse.h", "", seen)]
        classified = len(self.entry.walks) > 1 or any(w.match for w in self.entry.walks)
        instances = {prefix: name for name, prefix in self.prefixes.items()}
        if classified:
            instances = {"c0": "", **instances}
            parts += [
                _define("c0", {"WORDS": words(len(classifier_patterns(self.entry.walks)))}),
                sources.splice("classifier.h", "c0", seen),
            ]
        for name, prefix in self.prefixes.items():
            function = self.topology.vnfs[name]
            parts += [
                _define(prefix, function.defines()),
                sources.splice("report.h", prefix, seen),
                sources.splice(f"functions/{function.type}.c", prefix, seen),
            ]
        programs = [MAIN]
        if self.places:
            programs.append(REJECT)
            parts.append(sources.splice("reject.h", "", seen))
        parts.append('#line 1 "chain"\n')
        parts.append(_program(MAIN, _parse(self.is_wire()), body))
        if self.places:
            parts.append(_program(REJECT, _ANSWER, back))
        return Unit("".join(parts), tuple(programs), tuple(self.links), instances, self.entry.walks)

    def is_wire(self) -> bool:
        """A chain with nothing in it carries every frame, unread."""
        walks = self.entry.walks
        return (
            len(walks) == 1
            and walks[0].match is None
            and not walks[0].functions
            and walks[0].end.interface is None
        )

    def way_back(self) -> list[str]:
        """For each place where a packet can be rejected, the functions on its way back."""
        lines = ["switch (pkt->place) {"]
        for place, back in self.places:
            lines += [f"case {place}:", *_indent(back)]
        return [*lines, "}", "verdict = nf_drop(pkt, NF_REASON_NONE);"]


_ANSWER = [
    "verdict = reject_answer(ctx, pkt);",
    "if (verdict != NF_NEXT)",
    "\tgoto out;",
]


def _back(functions: list[str], end: list[str]) -> list[str]:
    """The way back of an answer; it is parsed only if there is a function to read it."""
    return [*_PARSE, *functions, *end] if functions else end


_PARSE = ["verdict = parse_packet(ctx, pkt);", "if (verdict != NF_NEXT)", "\tgoto out;"]


MAX_LINEAR_MTU = 3400
"""A larger frame does not lie in one page, and programs must say that they know."""

_FRAGS = "#define NFV_FRAGS 1\n"


def has_frags(topology: Topology) -> bool:
    """Whether frames may be longer than one page."""
    mtus = [sap.mtu for sap in topology.saps.values()]
    for function in topology.vnfs.values():
        mtus += [interface.mtu for interface in function.interfaces.values()]
    return max(mtus, default=0) > MAX_LINEAR_MTU


def _parse(wire: bool) -> list[str]:
    if wire:
        return ["parse_begin(ctx, pkt);"]
    return _PARSE


def _program(name: str, prologue: list[str], body: list[str]) -> str:
    lines = [
        f"int {name}(struct xdp_md *ctx)",
        "{",
        "\tstruct nf_packet *pkt;",
        "\tint verdict = NF_NEXT;",
        "\tu32 index = 0;",
        "",
        "\tpkt = nf_packets.lookup(&index);",
        "\tif (!pkt)",
        "\t\treturn XDP_DROP;",
        *_indent([*prologue, *body]),
        "out:",
        "\treturn entry_finish(ctx, pkt, verdict);",
        "}",
        "",
    ]
    return "\n".join(lines) + "\n"


def _indent(lines: list[str]) -> list[str]:
    return [f"\t{line}" if line else line for line in lines]


def _define(prefix: str, values: Mapping[str, int]) -> str:
    return "".join(f"#define {prefix.upper()}_{key} {value}\n" for key, value in values.items())


def classifier_patterns(walks: Sequence[Walk]) -> list[Pattern]:
    """Patterns of the walks that have a classifier, in their order, as packets of the walk look."""
    patterns = [(walk.match.pattern(), walk.direction) for walk in walks if walk.match]
    return [
        pattern if direction is Direction.FORWARD else turned(pattern)
        for pattern, direction in patterns
    ]


def compose(topology: Topology, graph: Mapping[Attachment, Entry], entry: Entry) -> Unit:
    """The C text of one entry. Pure and deterministic."""
    return _Composer(topology, graph, entry).unit()
