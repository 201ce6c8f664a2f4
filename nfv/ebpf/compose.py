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

PATH_LENGTH = sources.constant("nf.h", "NF_PATH_LENGTH")

FUSED_FUNCTIONS = 16
"""Functions of other entries' walks that are inlined behind a router; beyond that, a tail call."""

_FIRST_LINK = 1  # ENTRY_LINKS in entry.h; 0 is the place of the reject program in nf_jumps


@dataclass(frozen=True)
class Link:
    """What a link constant stands for: a port number, or an interface's ordinal in its function."""

    kind: str  # "reject", "port", "interface" or "function"
    attachment: Attachment  # for a function: its name alone


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
    places: list[tuple[int, list[str]]] = field(default_factory=list)  # of rejection: way back

    @property
    def cached(self) -> bool:
        """Whether flows are remembered: it pays where a function stands in the way.

        A router alone is nearly as quick as the cache, and does not depend on the number of flows.
        """
        walks = list(self.entry.walks)
        for walk in self.entry.walks:
            walks += self.beyond(walk.end).values()
        return any(walk.functions for walk in walks)

    def link(self, kind: str, attachment: Attachment) -> str:
        wanted = Link(kind, attachment)
        if wanted not in self.links:
            self.links.append(wanted)
        return f"NF_LINK({self.links.index(wanted)})"

    def prefix(self, vnf: str) -> str:
        return self.prefixes.setdefault(vnf, f"f{len(self.prefixes)}")

    # One walk ------------------------------------------------------------------------------------

    def walk(self, walk: Walk, start: Attachment, passed: int = 0) -> list[str]:
        """The statements of a walk; they end at a label or by returning.

        `passed` functions came before, when the walk goes on behind a router.
        """
        lines: list[str] = []
        back: list[str] = []
        for number, name in enumerate(walk.functions, passed):
            lines += self.bump(name, walk.direction, _back(back, self.deliver(start, "out")))
            lines += self.counted(name, number)
            back = [*self.step(name, Direction(1 - walk.direction)), *back]
        if walk.end.interface is None:
            return lines + self.deliver(walk.end, self.end())
        return lines + self.enter(walk.end, passed + len(walk.functions), fuse=not passed)

    def end(self) -> str:
        """The label at which a packet that is sent on ends its walk."""
        return "keep" if self.cached else "out"

    def counted(self, name: str, number: int) -> list[str]:
        """Note where a function has counted the packet, for the flow's next ones."""
        if not self.cached:
            return []
        if number >= PATH_LENGTH or not self.topology.vnfs[name].cacheable:
            return ["pkt->fleeting = 1;"]
        owner = self.link("function", Attachment(name))
        return [f"pkt->counted[{number}] = {owner} << 16 | pkt->counter;"]

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

    def deliver(self, end: Attachment, label: str) -> list[str]:
        """Leave by a port: of a SAP, or to the kernel of a function."""
        return [
            f"pkt->egress = {self.link('port', end)};",
            "pkt->reason = NF_REASON_FORWARDED;",
            f"goto {label};",
        ]

    def enter(self, end: Attachment, passed: int, fuse: bool) -> list[str]:
        """Go through a function with interfaces, and on behind the one it chooses."""
        port = self.link("port", end)
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
        lines += self.counted(end.node, passed)
        if fuse:
            lines += self.fused(end, passed + 1)
        return [
            *lines,
            "if (pkt->tx & ENTRY_JUMP)",
            "\treturn entry_jump(ctx, pkt);",
            "pkt->egress = pkt->tx;",
            f"goto {self.end()};",
        ]

    def fused(self, arrived: Attachment, passed: int) -> list[str]:
        """The walks behind a function's other interfaces, as many as may be inlined."""
        lines: list[str] = []
        budget = FUSED_FUNCTIONS
        for leaving, walk in self.beyond(arrived).items():
            budget -= len(walk.functions)
            if budget < 0:
                break
            inner = self.walk(walk, leaving, passed)
            port = self.link("port", leaving)
            lines += [f"if (pkt->egress == {port}) {{", *_indent(["pkt->reason = 0;", *inner]), "}"]
        return lines

    def beyond(self, arrived: Attachment) -> dict[Attachment, Walk]:
        """Lone chains with functions from a function's other interfaces to a SAP."""
        if arrived.interface is None:
            return {}
        places = [
            Attachment(arrived.node, name)
            for name in self.topology.vnfs[arrived.node].interfaces
            if name != arrived.interface
        ]
        return {
            place: self.graph[place].walks[0]
            for place in places
            if is_lone(self.graph[place]) and self.graph[place].walks[0].functions
        }

    # The whole text ------------------------------------------------------------------------------

    def body(self) -> list[str]:
        walks = self.entry.walks
        start = self.entry.attachment
        if not walks:
            return ["verdict = nf_drop(pkt, NF_REASON_NO_CHAIN);", "goto out;"]
        if len(walks) == 1 and walks[0].match is None:
            return self.walk(walks[0], start)
        lines = ["switch (c0_classify(pkt)) {"]
        for number, walk in enumerate(walks, 1):
            label = f"case {number}:" if walk.match is not None else "default:"
            lines += [label, *_indent(self.walk(walk, start))]
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
        if self.cached:
            parts.append(sources.splice("flow.h", "", seen))
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
        parts.append(_program(MAIN, self.begin(), body, self.keep()))
        if self.places:
            parts.append(_program(REJECT, _ANSWER, back, []))
        return Unit("".join(parts), tuple(programs), tuple(self.links), instances, self.entry.walks)

    def begin(self) -> list[str]:
        """What comes before the walk."""
        if self.is_wire():
            return ["parse_begin(ctx, pkt);"]
        if not self.cached:
            return _PARSE
        port = self.link("port", self.entry.attachment)
        return [
            f"cached = flow_forward(ctx, {port});",
            "if (cached >= 0)",
            "\treturn cached;",
            *_PARSE,
            "flow_begin(ctx, pkt);",
        ]

    def keep(self) -> list[str]:
        """What comes after the walk of a packet that is sent on."""
        if not self.cached:
            return []
        port = self.link("port", self.entry.attachment)
        return ["goto out;", "keep:", f"flow_keep(ctx, pkt, {port});"]

    def is_wire(self) -> bool:
        """A chain with nothing in it carries every frame, unread."""
        return is_lone(self.entry) and not self.entry.walks[0].functions

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


def is_lone(entry: Entry) -> bool:
    """Whether every packet that enters there takes one chain, and that ends at a SAP."""
    walks = entry.walks
    return len(walks) == 1 and walks[0].match is None and walks[0].end.interface is None


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


def _program(name: str, prologue: list[str], body: list[str], epilogue: list[str]) -> str:
    lines = [
        f"int {name}(struct xdp_md *ctx)",
        "{",
        "\tstruct nf_packet *pkt;",
        "\tint verdict = NF_NEXT;",
        *(["\tint cached;"] if epilogue else []),
        "\tu32 index = 0;",
        "",
        "\tpkt = nf_packets.lookup(&index);",
        "\tif (!pkt)",
        "\t\treturn XDP_DROP;",
        *_indent([*prologue, *body]),
        *(line if line.endswith(":") else f"\t{line}" for line in epilogue),
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
