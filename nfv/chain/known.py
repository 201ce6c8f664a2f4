"""A topology text that was read before: what it says is at hand, and need not be parsed again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from nfv.chain import include
from nfv.chain.files import Files
from nfv.chain.source import KeyPath, Node, Source, parse
from nfv.errors import Position


class Known(Source):
    """The text is parsed when somebody asks for a place in it, and not before."""

    @classmethod
    def of(cls, text: str, file: str, files: Mapping[str, str], data: Any) -> Known:
        """`data` is what the text says, with the rules that it includes, and `files` are those."""
        used = Files(None, files)
        for name in files:
            used.read(name)
        return cls(file, text, Node(data, (1, 1)), (), used)

    @cached_property
    def _parsed(self) -> Source:
        return include.expanded(parse(self.text, self.file, self.files.fresh()))

    def existing(self, path: KeyPath) -> KeyPath:
        return self._parsed.existing(path)

    def position(self, path: KeyPath, key: bool = False) -> Position:
        return self._parsed.position(path, key)

    def line(self, position: Position) -> str:
        return self._parsed.line(position)
