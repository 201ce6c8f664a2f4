"""One table of a router's forwarding tables: the prefixes of one IP version, in two banks."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np

from nfv.dataplane.routing.adjacencies import GRACE
from nfv.dataplane.routing.rib import Listing, Target, counted, tops_of
from nfv.dataplane.routing.routemsg import WIDTHS, Prefix
from nfv.dataplane.routing.targets import Targets
from nfv.ebpf.prefixbuild import Routes, build
from nfv.ebpf.prefixes import HALF, Prefixes, TableFull, Words
from nfv.ebpf.tableshape import LINE_WORDS, NODE_BITS, SLACK, Shape, fitting, shape_of

COUNTED = 1024
"""Prefixes, the first of a table, whose packets are counted one by one."""

Numbers = dict[int, int]
"""Numbers of targets by prefix, as key * 256 + length."""


class Full(Exception):
    """A table has no room for what it should hold; what it holds is no longer complete."""


class Table:
    """The prefixes of one IP version.

    The one of no length is apart: it is the `default` that C reads first, so changing it is cheap.
    """

    def __init__(self, version: int, words: Words, live: int, targets: Targets) -> None:
        """Take both banks, of which programs read `live`."""
        self.version = version
        self.bank = live ^ 1
        self.default = 0
        self.wanted: Shape | None = None  # larger than it is, when it was too small
        self._shape = shape_of(version, len(words) // LINE_WORDS // 2)
        self._words = words
        self._live = live
        self._left = 0.0  # when programs began to leave the bank that is not live
        self._targets = targets
        self._prefixes = self._empty(self.bank)

    def __len__(self) -> int:
        return len(self._prefixes) + bool(self.default)

    def publish(self) -> None:
        """Programs begin to read the bank that is in use, and no other."""
        if self.bank != self._live:
            self._live = self.bank
            self._left = time.monotonic()

    def load(self, listing: Listing) -> None:
        """Build anew, in the bank that no program reads. Raises `Full` with the table empty."""
        if len(listing.keys) <= min(COUNTED, self._targets.adjacencies.room):
            listing = listing.counted(self.version)
        uses = np.bincount(listing.choices, minlength=len(listing.targets)).tolist()
        taken: Numbers = {}
        try:
            for at, target in enumerate(listing.targets):
                taken[at] = self._targets.take(target, uses[at])
            numbers = np.fromiter(taken.values(), np.uint32, len(taken))[listing.choices]
            prefixes, default = self._built(listing, numbers)
        except Full:
            for at, number in taken.items():
                self._targets.release(number, uses[at])
            self.clear()
            raise
        self._release_all()
        self._prefixes, self.default = prefixes, default
        self.bank, self.wanted = self._live ^ 1, None

    def clear(self) -> None:
        """Begin with an empty table, in the bank that no program reads."""
        self._release_all()
        self._wait_to_leave()
        self.bank, self.default = self._live ^ 1, 0
        self._prefixes = self._empty(self.bank)

    def set(self, prefix: Prefix, target: Target) -> bool:
        """Lead a prefix to a target; whether that is news. Raises `Full` with nothing changed."""
        before = self._exact(prefix)
        if len(self._prefixes) < COUNTED and self._targets.adjacencies.room > 0:
            target = counted(target, prefix)
        number = self._targets.take(target)
        if number == before:
            self._targets.release(number)
            return False
        try:
            if prefix.length:
                self._set(self._prefixes, prefix.key, prefix.length, number)
            else:
                self.default = number
        except TableFull as full:
            self._targets.release(number)
            raise Full("lines") from full
        if before is not None:
            self._targets.release(before)
        return True

    def remove(self, prefix: Prefix) -> bool:
        """Take a prefix out; whether it was there."""
        number = self._exact(prefix)
        if number is None:
            return False
        if prefix.length:
            try:
                self._prefixes.remove(prefix.key, prefix.length)
            except TableFull:
                _wait_and_recycle(self._prefixes)
                self._prefixes.remove(prefix.key, prefix.length)
        else:
            self.default = 0
        self._targets.release(number)
        return True

    def recycle(self) -> None:
        """Make lines that were cut off available; call it when no program can still be in one."""
        self._prefixes.recycle()

    def _empty(self, bank: int) -> Prefixes:
        half = self._shape.capacity * LINE_WORDS
        words = self._words[half * bank : half * (bank + 1)]
        bits = NODE_BITS[self.version]
        return Prefixes(words, WIDTHS[self.version], self._shape.root_bits, bits)

    def _exact(self, prefix: Prefix) -> int | None:
        if prefix.length:
            return self._prefixes.exact(prefix.key, prefix.length)
        return self.default or None

    def _built(self, listing: Listing, numbers: Words) -> tuple[Prefixes, int]:
        """A table of these prefixes, and its default."""
        lengths = np.fromiter((key & 0xFF for key in listing.keys), np.int64, len(listing.keys))
        routes = Routes(tops_of(self.version, listing.keys), lengths, numbers)
        at_once = (lengths > 0) & (lengths <= HALF)
        words, owners = build(routes.only(at_once), self._shape.root_bits, NODE_BITS[self.version])
        if len(words) // LINE_WORDS + SLACK > self._shape.capacity:
            self._want(routes.only(at_once))
            raise Full("lines")
        values = dict(zip(listing.keys, numbers.tolist(), strict=True))
        default = values.pop(0, 0)
        long = [key for key in listing.keys if key & 0xFF > HALF]
        late = {key: values.pop(key) for key in long}
        self._wait_to_leave()
        prefixes = self._empty(self._live ^ 1)
        prefixes.adopt(words, owners, values, Counter(lengths[at_once].tolist()))
        try:
            for key, number in late.items():
                self._set(prefixes, key >> 8, key & 0xFF, number)
        except TableFull as full:
            self._want(routes.only(at_once), 2 * len(late))
            raise Full("lines") from full
        return prefixes, default

    def _want(self, routes: Routes, more: int = 0) -> None:
        """Work out how large the table should be."""

        def lines(root_bits: int) -> int:
            words, _owners = build(routes, root_bits, NODE_BITS[self.version])
            return (len(words) - (1 << root_bits)) // LINE_WORDS + more

        self.wanted = fitting(self.version, lines)

    def _release_all(self) -> None:
        for number, count in Counter(value for *_, value in self._prefixes.items()).items():
            self._targets.release(number, count)
        self._targets.release(self.default)

    def _set(self, prefixes: Prefixes, key: int, length: int, number: int) -> None:
        try:
            prefixes.set(key, length, number)
        except TableFull:
            _wait_and_recycle(prefixes)
            prefixes.set(key, length, number)

    def _wait_to_leave(self) -> None:
        """Wait until no program is in the bank that is not live."""
        time.sleep(max(0.0, self._left + GRACE - time.monotonic()))


def _wait_and_recycle(prefixes: Prefixes) -> None:
    time.sleep(GRACE)
    prefixes.recycle()
