"""Topology text to plain data, with the place of every key and value.

Scalars are read by the core schema of YAML 1.2.2 (section 10.3.2): a MAC address such as
10:20:30:40:50:59 and the word `on` stay text, 0o17 is octal, 1_000 is text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from nfv.chain.files import Files
from nfv.errors import InputError, Position, Problem, TopologyError

MAX_BYTES = 16 << 20
MAX_DEPTH = 32
MAX_ALIASED_NODES = 10_000
MAX_DIGITS = 20

KeyPath = tuple[str | int, ...]
"""Keys and list indexes from the root of the file to a value."""

Mark = tuple[int, int]
"""Line and column, both from 1."""

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what the parser counts as lines
_UNPRINTABLE = re.compile("[^\t\r\n -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG = "tag:yaml.org,2002:"
_CORE_SCHEMA = {
    "null": re.compile(r"null|Null|NULL|~|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"
    ),
}
_NO_TEXT = frozenset("nN~tTfF+-.0123456789")  # what scalars that are no text begin with
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Node(NamedTuple):
    """A value of the file; `nodes` counts it and all below it, aliases expanded.

    Large files have hundreds of thousands: a tuple is made in a third of a dataclass's time.
    """

    data: Any
    mark: Mark
    children: Mapping[str | int, Node] = {}
    keys: Mapping[str | int, Mark] = {}
    nodes: int = 1
    file: str = ""  # that it and what is below it stand in, if that is another one


@dataclass(frozen=True)
class Source:
    """A topology text as it was read: plain data, and where each part of it stands."""

    file: str
    text: str
    root: Node
    problems: tuple[Problem, ...]  # duplicate keys and the like, which don't stop the reading
    files: Files = field(default_factory=Files)  # those that the text may name
    others: Mapping[str, str] = field(default_factory=dict)  # texts of which parts stand in it

    @property
    def data(self) -> Any:
        """The content as dict, list, str, int, float, bool and None."""
        return self.root.data

    def existing(self, path: KeyPath) -> KeyPath:
        """`path` cut where the file ends; an index into a value that is no list is left out."""
        node, found = self.root, []
        for part in path:
            child = node.children.get(part)
            if child is not None:
                node = child
                found.append(part)
            elif not isinstance(part, int):
                break
        return tuple(found)

    def position(self, path: KeyPath, key: bool = False) -> Position:
        """Place of the value at `path`, or of its key.

        Where the value is a collection or absent, the key (of the nearest parent) is the place.
        """
        node, key_mark, file = self.root, None, self.file
        for part in self.existing(path):
            key_mark = node.keys.get(part)
            node = node.children[part]
            file = node.file or file
        at_key = key or node.data is None or isinstance(node.data, (dict, list))
        line, column = key_mark if key_mark and at_key else node.mark
        return Position(file, line, column)

    def line(self, position: Position) -> str:
        """Text of the line that a position is in."""
        return _line(self.others.get(position.file, self.text), position.line)


def read(file: str | Path) -> Source:
    """Read a topology file; "-" is standard input.

    Raises InputError if it cannot be read or is too large, TopologyError if it is no YAML.
    """
    name = "<stdin>" if str(file) == "-" else str(file)
    try:
        if name == "<stdin>":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"cannot read {name}: {reason}", "give the path of a topology file"
        ) from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{name} is larger than {MAX_BYTES >> 20} MiB", "is it a topology file?")
    try:
        directory = Path() if name == "<stdin>" else Path(file).parent
        return parse(content.decode("utf-8-sig"), name, Files(directory))
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text", "save it with the encoding UTF-8") from error


def parse(text: str, file: str, files: Files | None = None) -> Source:
    """Raises TopologyError if `text` is not one YAML document within the bounds above."""
    bad = _UNPRINTABLE.search(text)
    if bad:
        breaks = list(_LINE_BREAK.finditer(text, 0, bad.start()))
        mark = (len(breaks) + 1, bad.start() - (breaks[-1].end() if breaks else 0) + 1)
        _fail(file, text, mark, f"character U+{ord(bad[0]):04X} is not allowed in YAML", None)
    reader = _Reader(file, text)
    try:
        root = reader.document()
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        mark = (where.line + 1, where.column + 1) if where else (1, 1)
        hint = _syntax_hint(_line(text, mark[0])[mark[1] - 1 :])
        _fail(file, text, mark, f"not valid YAML: {error.problem or error.context}", hint)
    return Source(file, text, root, tuple(reader.problems), files or Files())


def dotted(path: KeyPath) -> str:
    """A path as it is shown: vnfs.gw.interfaces.lan.ip[0]."""
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return shown.lstrip(".")


class _Reader:
    """Builds the nodes of one document from the parser's events."""

    def __init__(self, file: str, text: str) -> None:
        self.problems: list[Problem] = []
        self._file, self._text = file, text
        self._events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self._anchors: dict[str, Node | None] = {}  # None: still open
        self._aliased = 0

    def document(self) -> Node:
        next(self._events)  # start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            self._stop((1, 1), "the file is empty", "start with 'name: ...'")
        root = self._node(next(self._events), ())
        self._check_filled(root, root.mark, ())
        next(self._events)  # end of the document
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._stop(_mark(event), "a second document starts here", "one topology a file")
        return root

    def _node(self, event: Any, path: KeyPath) -> Node:
        if len(path) > MAX_DEPTH:
            self._stop(_mark(event), f"nested more than {MAX_DEPTH} levels deep", None)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.anchor:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self._scalar(event, path), _mark(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, path)
        else:
            node = self._mapping(event, path)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            self._stop(_mark(event), f"no anchor '&{event.anchor}' stands before this alias", None)
        node = self._anchors[event.anchor]
        if node is None:
            self._stop(_mark(event), f"alias '*{event.anchor}' stands inside its own anchor", None)
        self._aliased += node.nodes
        if self._aliased > MAX_ALIASED_NODES:
            self._stop(
                _mark(event), f"aliases stand for more than {MAX_ALIASED_NODES} values", None
            )
        return node

    def _sequence(self, event: Any, path: KeyPath) -> Node:
        self._check_tag(event, "seq", path)
        items: list[Node] = []
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            item_path = (*path, len(items))
            node = self._node(item, item_path)
            self._check_filled(node, node.mark, item_path)
            items.append(node)
        size = 1 + sum(item.nodes for item in items)
        data = [item.data for item in items]
        return Node(data, _mark(event), dict(enumerate(items)), nodes=size)

    def _mapping(self, event: Any, path: KeyPath) -> Node:
        self._check_tag(event, "map", path)
        children: dict[str | int, Node] = {}
        keys: dict[str | int, Mark] = {}
        while not isinstance(item := next(self._events), yaml.MappingEndEvent):
            if not isinstance(item, yaml.ScalarEvent):
                self._stop(_mark(item), "a key must be plain text", None)
            key: str = item.value
            mark, inner = _mark(item), (*path, key)
            following = next(self._events)
            if ":" not in self._between(item, following):
                hint = f"to have a comma in a value, quote it or write a list: [..., {key}]"
                self._note(mark, path, f"'{key}' stands here without a value", hint)
                continue
            value = self._node(following, inner)
            if key in keys:
                hint = f"it is first set in line {keys[key][0]}"
                self._note(mark, inner, f"duplicate key '{key}'", hint)
                continue
            self._check_filled(value, mark, inner)
            children[key], keys[key] = value, mark
        data = {key: child.data for key, child in children.items()}
        size = 1 + sum(child.nodes for child in children.values())
        return Node(data, _mark(event), children, keys, size)

    def _scalar(self, event: Any, path: KeyPath) -> str | int | float | bool | None:
        value: str = event.value
        if event.implicit[0]:
            kind = _kind(value)
        elif event.tag is None:
            kind = "str"
        else:
            kind = event.tag.removeprefix(_TAG)
            form = _CORE_SCHEMA.get(kind)
            if kind != "str" and (form is None or not form.fullmatch(value)):
                self._note(_mark(event), path, f"tag '{event.tag}' does not fit here", "remove it")
                return value
        if kind == "int" and len(value) > MAX_DIGITS:
            self._note(_mark(event), path, "the number is too long", None)
            return 0
        return _convert(kind, value)

    def _between(self, one: Any, other: Any) -> str:
        return self._text[one.end_mark.index : other.start_mark.index]

    def _check_tag(self, event: Any, kind: str, path: KeyPath) -> None:
        if not event.implicit and event.tag != _TAG + kind:
            self._note(_mark(event), path, f"tag '{event.tag}' does not fit here", "remove it")

    def _check_filled(self, node: Node, mark: Mark, path: KeyPath) -> None:
        if node.data is None:
            self._note(mark, path, "has no value", "give it a value, or remove it")

    def _note(self, mark: Mark, path: KeyPath, message: str, hint: str | None) -> None:
        self.problems.append(_problem(self._file, self._text, mark, message, hint, dotted(path)))

    def _stop(self, mark: Mark, message: str, hint: str | None) -> NoReturn:
        self.problems.append(_problem(self._file, self._text, mark, message, hint))
        raise TopologyError(self.problems)


def _kind(value: str) -> str:
    """What a plain scalar is."""
    if value and value[0] not in _NO_TEXT:
        return "str"
    return next((kind for kind, form in _CORE_SCHEMA.items() if form.fullmatch(value)), "str")


def _convert(kind: str, value: str) -> str | int | float | bool | None:
    if kind == "null":
        return None
    if kind == "bool":
        return value.lower() == "true"
    if kind == "int":
        base = {"0o": 8, "0x": 16}.get(value[:2], 10)
        return int(value if base == 10 else value[2:], base)
    if kind == "float":
        return float(value.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return value


def _syntax_hint(rest: str) -> str | None:
    """What to do about text that the parser stumbles over."""
    if rest.startswith("\t"):
        return "indent with blanks, not with tabs"
    if rest.startswith(":"):
        return 'quote IPv6 addresses that start or end with a colon: "::/0"'
    return None


def _mark(event: Any) -> Mark:
    start = event.start_mark
    return start.line + 1, start.column + 1


@lru_cache(maxsize=1)  # problems of one file come together
def _lines(text: str) -> list[str]:
    return _LINE_BREAK.split(text)


def _line(text: str, number: int) -> str:
    lines = _lines(text)
    return lines[number - 1] if number <= len(lines) else ""


def _problem(
    file: str, text: str, mark: Mark, message: str, hint: str | None, path: str = ""
) -> Problem:
    return Problem(Position(file, *mark), path, message, hint, _line(text, mark[0]))


def _fail(file: str, text: str, mark: Mark, message: str, hint: str | None) -> NoReturn:
    raise TopologyError([_problem(file, text, mark, message, hint)])
