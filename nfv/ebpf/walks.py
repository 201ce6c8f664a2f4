"""The walks of one entry as C statements, split into programs that the kernel can take.

A packet's walk is a straight line of calls that are inlined: each function, the router at the end,
and the functions behind the router's other interfaces as long as there is room. A program may use
so many maps, and so much of the verifier's patience: what does not fit goes on in another program,
by a tail call that finds the packet's context as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from nfv.chain.graph import SERVICE, Entry, Walk, floods, stage
from nfv.chain.path import Attachment
from nfv.chain.pattern import Direction
from nfv.chain.topology import Topology
from nfv.ebpf import sources

MAIN = "nfv_entry"
WALK = "nfv_walk"
REJECT = "nfv_reject"

STAGES = 2
"""Functions inlined in one program.

A program may use 64 maps (MAX_USED_MAPS of the kernel), which six firewalls would fill. And the
verifier's work grows with every outcome of every function: for one, two, three and four firewalls
in a row it looks at 32,000, 51,000, 133,000 and 555,000 instructions.
"""

CONSTANTS = ("cpus", "flow_bits", "flow_shift", "actions", "flow_life")
"""Kinds of link constants that are the same at all entries: ENTRY_CPUS and those that follow it."""

PATH_LENGTH = sources.constant("nf.h", "NF_PATH_LENGTH")

_PARSE = ["verdict = parse_packet(ctx, pkt);", "if (verdict != NF_NEXT)", "\tgoto out;"]
_RESUME = [
    "index = service_pull(ctx, pkt);",
    "verdict = parse_packet(ctx, pkt);",
    "if (verdict != NF_NEXT)",
    "\tgoto out;",
]


@dataclass(frozen=True)
class Link:
    """What a link constant stands for: a number that is known when the program is loaded.

    Of a port; of an interface in its function; of a function in counted paths; of one of the
    entry's programs in the table of tail calls; of a place where a service's frames resume; of what
    a function wants its programs to be loaded with (`Function.constants`); or of all entries
    (CONSTANTS).
    """

    kind: str  # "port", "interface", "function", "program", "stage", "constant" or of CONSTANTS
    attachment: Attachment  # for a function: its name alone
    program: str = ""  # or the name of a constant
    stage: int = 0


@dataclass
class _WayBack:
    """The way of an answer to a packet that a function of a walk has rejected."""

    walk: Walk
    start: Attachment
    number: int
    places: dict[int, int] = field(default_factory=dict)  # place -> index of the function

    @property
    def depth(self) -> int:
        """How many functions there are before the last one that rejects."""
        return max(self.places.values())

    def beginning(self, low: int, high: int) -> dict[int, int]:
        """The places whose way back begins among some functions, or has none to pass."""
        return {
            place: index
            for place, index in self.places.items()
            if low <= index - 1 < high or (index == 0 and low == 0)
        }

    def label(self, index: int) -> str:
        """Where the answer passes a function, or is delivered at -1."""
        return f"back{self.number}_{index}" if index >= 0 else f"back{self.number}_end"


class Walks:
    """Writes the programs of one entry: `bodies` has their statements by name, the main first."""

    stages: ClassVar[int] = STAGES
    headers: ClassVar[tuple[str, ...]] = ("entry.h", "parse.h")
    """What every text is spliced from first."""

    def __init__(self, topology: Topology, graph: Mapping[Attachment, Entry], entry: Entry) -> None:
        self.topology = topology
        self.graph = graph
        self.entry = entry
        self.links: list[Link] = []
        self.prefixes: dict[str, str] = {}  # VNF name -> prefix
        self.bodies: dict[str, list[str]] = {}
        self._ways: list[_WayBack] = []
        self._places = 0
        self._room = self.stages
        self.link("program", entry.attachment, REJECT)  # ENTRY_REJECT_JUMP of entry.h
        for kind in CONSTANTS:
            self.link(kind, entry.attachment)
        if self.quick:
            self.bodies[MAIN] = self._quick()
        walk = WALK if self.quick else MAIN
        leave = [] if self.quick else _tried("verdict", self._leave)
        self._write(walk, lambda: [*leave, "hook_open(ctx);", *self._begin(), *self._walks()])
        self._ways = [way for way in self._ways if way.places]
        if self._ways:
            self._write(REJECT, self._reject)

    @property
    def cached(self) -> bool:
        """Whether flows are remembered: where a function stands in the way.

        Not on the way to a switch, which knows stations, not flows.
        """
        if self.entry.resumes:
            return False
        walks = [walk for walk in self.entry.walks if not floods(self.topology, walk.end)]
        for walk in self.entry.walks:
            walks += self._beyond(walk.end).values()
        return any(walk.functions for walk in walks)

    @property
    def hopped(self) -> bool:
        """Whether next hops are remembered: where a router stands alone.

        Its cost does not depend on the number of flows, which would push each other out.
        """
        if self.cached or self.entry.resumes or self.classified or len(self.entry.walks) != 1:
            return False
        end = self.entry.walks[0].end
        return end.interface is not None and self.topology.vnfs[end.node].next_hops

    @property
    def quick(self) -> bool:
        """Whether a program in front of the walk treats packets like the ones before them."""
        return self.cached or self.hopped

    @property
    def classified(self) -> bool:
        """Whether a classifier tells the entry's walks apart."""
        return any(walk.match for walk in self.entry.walks)

    @property
    def rejected(self) -> bool:
        """Whether a function may reject packets."""
        return any(self.topology.vnfs[name].rejects for name in self.prefixes)

    @property
    def served(self) -> bool:
        """Whether packets come from a service or may go to one."""
        return self.entry.resumes or any(self.topology.vnfs[name].service for name in self.prefixes)

    @property
    def keep(self) -> list[str]:
        """What remembers the outcome for a packet that is sent on."""
        kind = "flow" if self.cached else "hop"
        return [f"{kind}_keep(ctx, pkt, {self.link('port', self.entry.attachment)});"]

    @property
    def finish(self) -> list[str]:
        """How every program that walks ends."""
        return ["return entry_finish(ctx, pkt, verdict);"]

    def link(self, kind: str, attachment: Attachment, program: str = "", stage: int = 0) -> str:
        """The link constant for a number."""
        wanted = Link(kind, attachment, program, stage)
        if wanted not in self.links:
            self.links.append(wanted)
        return f"NF_LINK({self.links.index(wanted)})"

    def _prefix(self, vnf: str) -> str:
        return self.prefixes.setdefault(vnf, f"f{len(self.prefixes)}")

    def _write(self, name: str, body: Callable[[], list[str]]) -> str:
        """Write a program, with room for as many functions as one may hold."""
        self.bodies[name] = []  # takes its place before those that the body makes
        room, self._room = self._room, self.stages
        self.bodies[name] = body()
        self._room = room
        return name

    def _part(self) -> str:
        """The name of the next program that goes on for another."""
        return f"nfv_part{len(self.bodies)}"

    def _jump(self, name: str) -> list[str]:
        """Go on in another program."""
        return [
            f"hook_jump(ctx, {self.link('program', self.entry.attachment, name)});",
            "verdict = nf_drop(pkt, NF_REASON_LOOP);",
            "goto out;",
        ]

    # The beginning -------------------------------------------------------------------------------

    def _begin(self) -> list[str]:
        if self.entry.resumes:
            return _RESUME
        if self._is_unread:
            return ["parse_begin(ctx, pkt);"]
        return [*_PARSE, "action_begin(pkt);"] if self.quick else _PARSE

    @property
    def _is_unread(self) -> bool:
        """Whether every frame passes: a cable to a SAP, or to a switch, which reads it itself."""
        if len(self.entry.walks) != 1 or self.entry.walks[0].functions or self.classified:
            return False
        end = self.entry.walks[0].end
        return end.interface is None or floods(self.topology, end)

    @property
    def _leave(self) -> list[str]:
        """Where the entry is the port of a switch: what lets frames leave by it, or not."""
        place = self.entry.attachment
        if not floods(self.topology, place):
            return []
        return [f"{self._prefix(place.node)}_leave(ctx, {self.link('interface', place)})"]

    def _quick(self) -> list[str]:
        """The main program in front of the walk: for packets like those before them it is all."""
        port = self.link("port", self.entry.attachment)
        forward = f"flow_forward(ctx, {port})"
        if not self.cached:
            end = self.entry.walks[0].end
            way = self.link("interface", end)
            forward = f"{self._prefix(end.node)}_forward(ctx, {port}, {way})"
        declared, *rest = _tried("int verdict", [*self._leave, forward])
        return [
            declared,
            "",
            *rest,
            f"return entry_walk(ctx, {self.link('program', self.entry.attachment, WALK)});",
        ]

    def _walks(self) -> list[str]:
        walks = self.entry.walks
        nowhere = ["verdict = nf_drop(pkt, NF_REASON_NO_CHAIN);", "goto out;"]
        if not walks:
            return nowhere
        if self.entry.resumes:
            lines = ["switch (index) {"]
            for number, walk in enumerate(walks):
                lines += [f"case {number}:", *indent(self._walk(walk, self.entry.attachment))]
            return [*lines, "}", *nowhere]
        if not self.classified:
            return self._walk(walks[0], self.entry.attachment)
        lines = ["switch (c0_classify(pkt)) {"]
        for number, walk in enumerate(walks, 1):
            place = number if walk.match is not None else 0
            lines += [f"case {place}:", *indent(self._walk(walk, self.entry.attachment))]
        return [*lines, "}", *nowhere]

    # One walk ------------------------------------------------------------------------------------

    def _walk(self, walk: Walk, start: Attachment, passed: int = 0) -> list[str]:
        """The statements of a walk; they end at a label or by returning.

        `passed` functions came before, when the walk goes on behind a router.
        """
        way = _WayBack(walk, start, len(self._ways))
        self._ways.append(way)
        return self._stages(way, 0, passed)

    def _stages(self, way: _WayBack, first: int, passed: int) -> list[str]:
        walk = way.walk
        lines: list[str] = []
        for index in range(first, len(walk.functions)):
            if not self._room:
                rest = partial(self._stages, way, index, passed)
                return lines + self._jump(self._write(self._part(), rest))
            self._room -= 1
            name = walk.functions[index]
            lines += self._step(name, walk, self._place(way, index))
            lines += self._counted(name, passed + index)
        if walk.end.interface is None:
            return lines + self._deliver(walk.end, self._end())
        return lines + self._enter(walk.end, passed + len(walk.functions), fuse=not passed)

    def _end(self) -> str:
        """The label at which a packet that is sent on ends its walk."""
        return "keep" if self.quick else "out"

    def _step(self, name: str, walk: Walk, place: int | None = None) -> list[str]:
        """Pass a function; `walk` says by which chain and in which direction."""
        prefix = self._prefix(name)
        return [
            *self._stage(name, walk),
            *self._call(name, walk),
            "if (verdict != NF_NEXT) {",
            f"\t{prefix}_report(pkt);",
            *([f"\tpkt->place = {place};"] if place is not None else []),
            *(indent(self._serve(name, walk)) if self.topology.vnfs[name].service else []),
            "\tgoto out;",
            "}",
        ]

    def _call(self, name: str, way: Walk | Attachment) -> list[str]:
        """Let a function look at the packet, on its way or come in by an interface."""
        if isinstance(way, Walk):
            which = f"NF_DIR_{way.direction.name}"
        else:
            which = self.link("interface", way)
        return [f"verdict = {self._prefix(name)}_process(ctx, pkt, {which});"]

    def _stage(self, name: str, walk: Walk) -> list[str]:
        """Note where the function's service would have the packet go on."""
        if not self.topology.vnfs[name].service:
            return []
        place = Attachment(name, SERVICE)
        number = self.link("stage", place, stage=stage(self.graph[place], walk))
        return [f"pkt->stage = {number};"]

    def _serve(self, name: str, walk: Walk) -> list[str]:
        """Hand over to the function's service what is for it."""
        place = Attachment(name, SERVICE)
        ingress = self.link("port", self.entry.attachment)
        numbers = f"{ingress}, {self.link('port', place)}"
        return ["if (verdict == NF_SERVE)", f"\tverdict = service_push(ctx, pkt, {numbers});"]

    def _place(self, way: _WayBack, index: int) -> int | None:
        """The number of a place where a packet may be rejected."""
        function = self.topology.vnfs[way.walk.functions[index]]
        if not (function.rejects or function.answers):
            return None
        self._places += 1
        way.places[self._places] = index
        return self._places

    def _counted(self, name: str, number: int) -> list[str]:
        """Note where a function has counted the packet, for the next ones like it."""
        if not self.quick:
            return []
        function = self.topology.vnfs[name]
        if number >= PATH_LENGTH or not function.cacheable:
            return ["pkt->fleeting = 1;"]
        if not function.counts:
            return []
        owner = self.link("function", Attachment(name))
        return [f"pkt->counted[{number}] = {owner} << 16 | pkt->counter;"]

    def _deliver(self, end: Attachment, label: str) -> list[str]:
        """Leave by a port: of a SAP, or to the kernel of a function."""
        return [
            f"pkt->egress = {self.link('port', end)};",
            "pkt->reason = NF_REASON_FORWARDED;",
            f"goto {label};",
        ]

    def _enter(self, end: Attachment, passed: int, fuse: bool) -> list[str]:
        """Go through a function with interfaces, and on behind the one it chooses."""
        if floods(self.topology, end):
            return self._switch(end, passed)
        prefix = self._prefix(end.node)
        return [
            *self._call(end.node, end),
            f"{prefix}_report(pkt);",
            "if (verdict != NF_FORWARD) {",
            f"\tpkt->egress = {self.link('port', end)};",
            "\tgoto out;",
            "}",
            *self._counted(end.node, passed),
            *(self._fused(end, passed + 1) if fuse else []),
            "if (pkt->tx & ENTRY_JUMP)",
            f"\t{self._onward()}",
            "pkt->egress = pkt->tx;",
            f"goto {self._end()};",
        ]

    def _switch(self, end: Attachment, passed: int) -> list[str]:
        """Go through a switch, and on behind one of its ports, or behind all others.

        Behind functions a program of its own floods: the verifier would look at the loop over the
        ports once for each of their outcomes.
        """
        prefix = self._prefix(end.node)
        call = self._call(end.node, end)
        flood = self._flood(end)
        if passed:
            flood = self._jump(self._write(self._part(), lambda: self._flood(end)))
        return [
            *call,
            f"{prefix}_report(pkt);",
            "if (verdict == NF_FLOOD) {",
            *indent(flood),
            "}",
            "if (verdict != NF_FORWARD)",
            "\tgoto out;",
            "if (pkt->tx & ENTRY_JUMP) {",
            f"\tverdict = {prefix}_tell(ctx, pkt);",
            "\tif (verdict != NF_FORWARD)",
            "\t\tgoto out;",
            f"\t{self._onward()}",
            "}",
            "pkt->egress = pkt->tx;",
            "goto out;",
        ]

    def _flood(self, end: Attachment) -> list[str]:
        """Send a copy out of every other port of a switch."""
        interface = self.link("interface", end)
        return [f"return {self._prefix(end.node)}_flood(ctx, pkt, {interface});"]

    def _onward(self) -> str:
        """Go on with the walk of the interface that a function has chosen."""
        return "return entry_jump(ctx, pkt);"

    def _fused(self, arrived: Attachment, passed: int) -> list[str]:
        """The walks behind a function's other interfaces, as many as there is room for."""
        lines: list[str] = []
        for leaving, walk in self._beyond(arrived).items():
            if len(walk.functions) > self._room:
                continue
            inner = self._walk(walk, leaving, passed)
            port = self.link("port", leaving)
            lines += [f"if (pkt->egress == {port}) {{", *indent(["pkt->reason = 0;", *inner]), "}"]
        return lines

    def _beyond(self, arrived: Attachment) -> dict[Attachment, Walk]:
        """Lone chains with functions from a function's other interfaces to a SAP."""
        if arrived.interface is None or floods(self.topology, arrived):
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

    # The way back --------------------------------------------------------------------------------

    def _reject(self) -> list[str]:
        """Answer, and go back from the place of the rejection through the functions before it."""
        lines = [
            *self._answer(),
            "index = pkt->place;",
            *_PARSE,
            "pkt->place = index;",
        ]
        cases: list[str] = []
        blocks: list[str] = []
        fits = sum(way.depth for way in self._ways) <= STAGES
        for way in self._ways:
            if fits:
                cases += self._cases(way, 0, way.depth)
                blocks += self._back(way, 0, way.depth)
            else:
                cases += self._chunks(way)
        lost = ["verdict = nf_drop(pkt, NF_REASON_NONE);", "goto out;"]
        return [*lines, "switch (pkt->place) {", *cases, "}", *lost, *blocks]

    def _answer(self) -> list[str]:
        """Turn a frame that was rejected into its answer."""
        if not self.rejected:
            return []
        answer = ["verdict = reject_answer(ctx, pkt);", "if (verdict != NF_NEXT)", "\tgoto out;"]
        if not any(self.topology.vnfs[name].answers for name in self.prefixes):
            return answer
        return ["if (!pkt->answered) {", *indent(answer), "}"]

    def _cases(self, way: _WayBack, low: int, high: int) -> list[str]:
        """Lead the places whose way back begins among some functions to their labels."""
        lines: list[str] = []
        for place, index in way.beginning(low, high).items():
            lines += [f"case {place}:", f"\tgoto {way.label(index - 1)};"]
        return lines

    def _back(self, way: _WayBack, low: int, high: int) -> list[str]:
        """Pass some functions, the last first; at the start of the walk the answer is delivered."""
        lines: list[str] = []
        for index in range(high - 1, low - 1, -1):
            against = replace(way.walk, direction=Direction(1 - way.walk.direction))
            step = self._step(way.walk.functions[index], against)
            lines += [f"{way.label(index)}:", *step]
        if low == 0:
            lines += [f"{way.label(-1)}:", *self._return(way.start)]
        return lines

    def _return(self, start: Attachment) -> list[str]:
        """Leave where the packet came in; a service is not told what became of its frames.

        Through a switch it is by a program of its own: the verifier would look at that once for
        each form that an answer can have.
        """
        if self.entry.resumes:
            return ["verdict = NF_DROP;", "goto out;"]
        if floods(self.topology, start):
            return self._jump(self._write(self._part(), lambda: self._switch(start, 1)))
        return self._deliver(start, "out")

    def _chunks(self, way: _WayBack) -> list[str]:
        """Put the way into programs of its own, from the start up; lead each place to its one."""
        lines: list[str] = []
        below: list[str] = []
        for low in range(0, max(way.depth, 1), STAGES):
            high = min(low + STAGES, way.depth)
            name = self._write(self._part(), partial(self._chunk, way, low, high, below))
            below = self._jump(name)
            for place in way.beginning(low, high):
                lines += [f"case {place}:", *indent(below)]
        return lines

    def _chunk(self, way: _WayBack, low: int, high: int, below: list[str]) -> list[str]:
        """Functions of a way back; what comes from above passes them all."""
        return [
            "switch (pkt->place) {",
            *self._cases(way, low, high),
            "}",
            *self._back(way, low, high),
            *below,
        ]


def is_lone(entry: Entry) -> bool:
    """Whether every packet that enters there takes one chain, and that ends at a SAP."""
    walks = entry.walks
    return len(walks) == 1 and walks[0].match is None and walks[0].end.interface is None


def _tried(result: str, calls: Sequence[str]) -> list[str]:
    """Call one after the other, until one says what the program returns."""
    lines: list[str] = []
    for call in calls:
        lines += [f"{result} = {call};", "if (verdict >= 0)", "\treturn verdict;"]
        result = "verdict"
    return lines


def indent(lines: list[str]) -> list[str]:
    """One level deeper."""
    return [f"\t{line}" if line else line for line in lines]
