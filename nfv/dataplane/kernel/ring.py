"""Reading a ring buffer that programs write to (BPF_MAP_TYPE_RINGBUF)."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from nfv.dataplane.kernel.bpf import Map

_BUSY, _DISCARDED = 1 << 31, 1 << 30  # of a length (BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT)
_LENGTH = _DISCARDED - 1
_ENTRY = 8  # bytes in front of each entry


class Ring:
    """A ring buffer with one reader."""

    def __init__(self, found: Map) -> None:
        self._fd = found.fd
        self._size = found.max_entries
        page = mmap.PAGESIZE
        self._own = mmap.mmap(found.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        length = page + 2 * self._size  # the content twice, so that none is cut at its end
        self._theirs = mmap.mmap(found.fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        # So that a position is read and written by one instruction.
        self._read_to = memoryview(self._own).cast("Q")
        self._written_to = memoryview(self._theirs)[:page].cast("Q")
        self._data = memoryview(self._theirs)[page:]

    def fileno(self) -> int:
        """For select or poll: there is something to read."""
        return self._fd

    def read(self) -> Iterator[bytes]:
        """The entries that are there now. The place of one is free as soon as it was given."""
        position, end = self._read_to[0], self._written_to[0]
        while position < end:
            start = position % self._size
            head = int.from_bytes(self._data[start : start + 4], "little")
            if head & _BUSY:
                return
            length = head & _LENGTH
            entry = bytes(self._data[start + _ENTRY : start + _ENTRY + length])
            position += (_ENTRY + length + 7) // 8 * 8
            self._read_to[0] = position
            if not head & _DISCARDED:
                yield entry

    def close(self) -> None:
        """Give the memory back; the map stays."""
        for view in (self._read_to, self._written_to, self._data):
            view.release()
        self._own.close()
        self._theirs.close()
