"""Collects the problems of a topology, so that all of them are shown at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches

from nfv.chain.files import Files
from nfv.chain.source import KeyPath, Source, dotted
from nfv.errors import Position, Problem, TopologyError

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[^\s,\[\]{}]+')

MAX_LISTED = 20


class Report:
    """Problems found in one source; `at` gives a view whose paths start deeper in the file."""

    def __init__(
        self, source: Source, prefix: KeyPath = (), problems: list[Problem] | None = None
    ) -> None:
        """`problems` are shared; those of the source if none are given."""
        self._source = source
        self._prefix = prefix
        self._problems = list(source.problems) if problems is None else problems

    def at(self, *path: str | int) -> Report:
        """The same report, for the part of the file under `path`."""
        return Report(self._source, self._prefix + path, self._problems)

    def error(
        self, path: KeyPath, message: str, hint: str | None = None, *, key: bool = False
    ) -> None:
        """Note a problem with the value at `path`, or with its key."""
        whole = self._prefix + path
        position = self._source.position(whole, key)
        shown = dotted(self._source.existing(whole))
        line = self._source.line(position)
        self._problems.append(Problem(position, shown, message, hint, line))

    @property
    def files(self) -> Files:
        """The files that the topology may name; nobody has read them yet."""
        return self._source.files.fresh()

    def elsewhere(
        self, file: str, line: int, message: str, hint: str | None = None, text: str = ""
    ) -> None:
        """Note a problem in a file that the topology names; `text` is the line."""
        shown = os.path.join(os.path.dirname(self._source.file), file)
        self._problems.append(Problem(Position(shown, line, 1), "", message, hint, text))

    def place(self, path: KeyPath) -> str:
        """FILE:LINE of the value at `path`."""
        position = self._source.position(self._prefix + path)
        return f"{position.file}:{position.line}"

    @property
    def problems(self) -> list[Problem]:
        """Each once, in the order of the file."""
        return sorted(
            dict.fromkeys(self._problems),
            key=lambda problem: (
                problem.position.file != self._source.file,
                problem.position.file,
                problem.position.line,
                problem.position.column,
            ),
        )

    def raise_if_any(self) -> None:
        """Raise TopologyError with all problems."""
        if self._problems:
            raise TopologyError(self.problems)


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """A hint that names the closest of `known`, or `otherwise` if none is close."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else otherwise


def listed(words: Iterable[str]) -> str:
    """The words for a hint; of many only the first."""
    known = list(words)
    more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
    return ", ".join(known[:MAX_LISTED]) + more


def format_problem(problem: Problem, kind: str = "error") -> str:
    """File, line, column and message; then the source line, with a caret line and the hint."""
    position = problem.position
    path = f"{problem.path}: " if problem.path else ""
    head = f"{position.file}:{position.line}:{position.column}: {kind}: {path}{problem.message}"
    if not problem.source.strip():
        return f"{head}\n    {problem.hint}" if problem.hint else head
    before = problem.source[: position.column - 1]
    token = _TOKEN.match(problem.source, position.column - 1)
    width = len(token[0].rstrip(":")) if token else 1
    caret = re.sub(r"[^\t]", " ", before) + "^" * max(width, 1)
    hint = f" {problem.hint}" if problem.hint else ""
    return f"{head}\n    {problem.source}\n    {caret}{hint}"
