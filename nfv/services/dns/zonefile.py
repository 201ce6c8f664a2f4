"""Zone files (RFC 1035, section 5) to records, each with the place that it was read from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.tokenizer
import dns.zonefile
from dns.name import Name

MAX_INCLUDES = 16  # deep

_INCLUDE = re.compile(r"^\$INCLUDE\b[ \t]*([^\n]*)\n?", re.MULTILINE | re.IGNORECASE)
_NO_REASON = str(dns.exception.SyntaxError())
_DIRECTIVES = {"$ORIGIN", "$TTL"}


@dataclass(frozen=True)
class Place:
    """A line of a file, counted from 1."""

    file: str
    line: int


@dataclass(frozen=True)
class Record:
    """A resource record as it was written; `place` is where it begins."""

    name: Name
    ttl: int
    rdata: dns.rdata.Rdata
    place: Place


class ZoneFileError(Exception):
    """A zone file cannot be read; says where and why."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


class _Reader(dns.zonefile.Reader):
    """The library's reader, which notes where each record begins."""

    begin: tuple[str, int] | None = None

    def _rr_line(self) -> None:
        self.begin = self.tok.where()
        super()._rr_line()
        self.begin = None

    @property
    def place(self) -> Place:
        """The record that is being read, or else the line."""
        return Place(*(self.begin or self.tok.where()))


class _Collector:
    """What the library's reader takes for the zone to write into."""

    reader: _Reader

    def __init__(self) -> None:
        self.records: list[Record] = []

    @property
    def manager(self) -> _Collector:
        return self

    def origin_information(self) -> tuple[Name, bool, Name]:
        """The root: the reader leaves out silently what is not below the origin, and we do not."""
        return dns.name.root, False, dns.name.root

    def check_put_rdataset(self, _check: object) -> None:
        """Zones are checked as a whole, with all that is wrong."""

    def _set_origin(self, _origin: Name) -> None:
        """The reader keeps $ORIGIN itself."""

    def add(self, name: Name, ttl: int, rdata: dns.rdata.Rdata) -> None:
        self.records.append(Record(name, ttl, rdata, self.reader.place))


class _Reading:
    """Reads one zone file with those that it includes."""

    def __init__(self, origin: Name, fetch: Callable[[str], str], ttl: int | None) -> None:
        self._fetch = fetch
        self._collector = _Collector()
        self._reader = _Reader(
            dns.tokenizer.Tokenizer(""),
            dns.rdataclass.IN,
            cast(Any, self._collector),
            allow_directives=_DIRECTIVES,
            default_ttl=ttl,
        )
        self._collector.reader = self._reader
        self._reader.current_origin = self._reader.last_name = origin

    def run(self, file: str, text: str, depth: int = 0) -> list[Record]:
        for line, chunk, included in _chunks(text):
            tokens = dns.tokenizer.Tokenizer(chunk, file)
            tokens.line_number = line
            self._reader.tok = tokens
            try:
                self._reader.read()
            except dns.exception.DNSException as error:
                file_, number = tokens.where()
                reason = str(error).removeprefix(f"{file_}:{number}: ")
                if reason == _NO_REASON:
                    reason = "the data does not fit the record's type"
                raise ZoneFileError(self._reader.place, reason) from error
            if included is not None:
                place = Place(file, line + chunk.count("\n"))
                self._include(place, included, depth + 1)
        return self._collector.records

    def _include(self, place: Place, arguments: str, depth: int) -> None:
        """$INCLUDE FILE [ORIGIN]: the origin and the last name are as before behind it."""
        words = arguments.partition(";")[0].split()
        if not 1 <= len(words) <= 2:
            raise ZoneFileError(place, "write $INCLUDE FILE, or $INCLUDE FILE ORIGIN")
        if depth > MAX_INCLUDES:
            raise ZoneFileError(place, f"more than {MAX_INCLUDES} files include each other")
        before = self._reader.current_origin, self._reader.last_name
        try:
            if len(words) == 2:
                self._reader.current_origin = dns.name.from_text(words[1], before[0])
            text = self._fetch(words[0].strip('"'))
        except (dns.exception.DNSException, ValueError) as error:
            raise ZoneFileError(place, str(error)) from error
        self.run(words[0].strip('"'), text, depth)
        self._reader.current_origin, self._reader.last_name = before


def _chunks(text: str) -> Iterator[tuple[int, str, str | None]]:
    """Text between $INCLUDE lines: its first line, itself, and the arguments of the line after."""
    start, line = 0, 1
    for found in _INCLUDE.finditer(text):
        chunk = text[start : found.start()]
        yield line, chunk, found[1]
        line += chunk.count("\n") + 1
        start = found.end()
    yield line, text[start:], None


def read_records(
    file: str, origin: Name, fetch: Callable[[str], str], ttl: int | None = None
) -> list[Record]:
    """The records of a zone file; `fetch` gives the text of a file by its name.

    `ttl` is for records without one, in seconds. Raises `ZoneFileError`, and what `fetch` raises
    for the file itself; a `ValueError` of `fetch` for an included one becomes a `ZoneFileError`.
    """
    return _Reading(origin, fetch, ttl).run(file, fetch(file))


def parse_records(text: str, origin: Name, file: str, ttl: int | None = None) -> list[Record]:
    """The records of a text in the form of a zone file, which includes no others."""

    def fetch(name: str) -> str:
        raise ValueError(f"{name} cannot be included here")

    return _Reading(origin, fetch, ttl).run(file, text)
