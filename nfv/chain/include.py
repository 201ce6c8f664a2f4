"""Rules in files of their own: `include: FILE` stands in a list of rules for those in the file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from nfv.chain.source import MAX_BYTES, Node, Source, parse
from nfv.errors import Position, Problem, TopologyError

KEY = "include"
MAX_DEPTH = 8
"""Files that include each other."""


def expanded(source: Source) -> Source:
    """The same with the rules of the files in their place, which keep their lines.

    What is wrong with the files is among its problems.
    """
    includer = _Includer(source)
    root = includer.topology(source.root)
    problems = (*source.problems, *includer.problems)
    return replace(source, root=root, problems=problems, others=includer.texts)


class _Includer:
    def __init__(self, source: Source) -> None:
        self._files = source.files
        self._file = source.file
        self.problems: list[Problem] = []
        self.texts: dict[str, str] = {}  # by the name of the file as it is shown
        self._source = source

    def topology(self, root: Node) -> Node:
        """The whole file, with the rules of all functions."""
        vnfs = root.children.get("vnfs")
        if vnfs is None:
            return root
        functions = {key: self._function(node) for key, node in vnfs.children.items()}
        return _with(root, {"vnfs": _with(vnfs, functions)})

    def _function(self, node: Node) -> Node:
        found: dict[str | int, Node] = {}
        rules, groups = node.children.get("rules"), node.children.get("groups")
        if rules is not None:
            found["rules"] = self._list(rules, self._file, ())
        if groups is not None:
            lists = {key: self._list(one, self._file, ()) for key, one in groups.children.items()}
            found["groups"] = _with(groups, lists)
        return _with(node, found)

    def _list(self, node: Node, file: str, within: tuple[str, ...]) -> Node:
        """A list of rules that stands in a file, which others within each other include."""
        if not isinstance(node.data, list):
            return node
        items = [item for one in node.children.values() for item in self._item(one, file, within)]
        if list(node.children.values()) == items:
            return node
        children: dict[str | int, Node] = dict(enumerate(items))
        return node._replace(data=[item.data for item in items], children=children)

    def _item(self, node: Node, file: str, within: tuple[str, ...]) -> Iterator[Node]:
        if not isinstance(node.data, dict) or list(node.data) != [KEY]:
            yield node
            return
        name, place = node.data[KEY], Position(file, *node.children[KEY].mark)
        if not isinstance(name, str):
            self._problem(place, "include needs the name of a file")
        elif name in within:
            self._problem(place, f"{name} includes itself")
        elif len(within) == MAX_DEPTH:
            self._problem(place, f"more than {MAX_DEPTH} files include each other")
        else:
            yield from self._included(name, place, within)

    def _included(self, name: str, place: Position, within: tuple[str, ...]) -> Iterator[Node]:
        shown = os.path.join(os.path.dirname(self._file), name)
        try:
            text = self._files.read(name)
            if len(text) > MAX_BYTES:
                raise ValueError(f"{name} is larger than {MAX_BYTES >> 20} MiB")
        except ValueError as error:
            self._problem(place, str(error))
            return
        self.texts[shown] = text
        try:
            found = parse(text, shown)
        except TopologyError as error:
            self.problems += error.problems
            return
        self.problems += found.problems
        if not isinstance(found.root.data, list):
            message = f"{name} is not a list of rules"
            self._problem(place, message, "begin each rule with '- '")
            return
        for item in self._list(found.root, shown, (*within, name)).children.values():
            yield item._replace(file=item.file or shown)

    def _problem(self, place: Position, message: str, hint: str | None = None) -> None:
        text = replace(self._source, others=self.texts).line(place)
        self.problems.append(Problem(place, KEY, message, hint, text))


def _with(node: Node, changed: Mapping[str | int, Node]) -> Node:
    """A mapping with other values under some of its keys."""
    if all(node.children[key] is child for key, child in changed.items()):
        return node
    values = {key: child.data for key, child in changed.items()}
    children = {**node.children, **changed}
    return node._replace(data={**node.data, **values}, children=children)
