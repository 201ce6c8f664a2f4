"""The bpf(2) system call: maps, programs, links, pins and test runs.

bcc compiles; loading is done here, so that one compiled program can be bound to any maps, pinned
maps outlive the process, and commands that only read maps need no compiler. Every call raises
`KernelError` with the errno in words; the raw `OSError` is its cause. Constants are those of
include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import re
import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import cache, cached_property
from pathlib import Path

from nfv.errors import KernelError

_SYSCALL = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 280)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_ATTR_SIZE = 152
_TCX_SINCE = (6, 6)
_NAME_SIZE = 16


class Command(IntEnum):
    """bpf(2) commands (enum bpf_cmd)."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    OBJ_GET_INFO_BY_FD = 15
    MAP_LOOKUP_BATCH = 24
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_DETACH = 34


class MapType(IntEnum):
    """Map types in use (enum bpf_map_type)."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    DEVMAP = 14
    RINGBUF = 27


class ProgramType(IntEnum):
    """Types of programs in use (enum bpf_prog_type)."""

    SCHED_CLS = 3
    XDP = 6


class AttachType(IntEnum):
    """Where programs are attached (enum bpf_attach_type)."""

    XDP = 37
    TCX_INGRESS = 46
    TCX_EGRESS = 47


class LinkType(IntEnum):
    """What attaches a program (enum bpf_link_type)."""

    XDP = 6
    TCX = 11


PER_CPU = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})

F_MMAPABLE = 1 << 10
F_XDP_HAS_FRAGS = 1 << 5
_XDP_FLAGS_DRV_MODE = 1 << 2
TEST_XDP_LIVE_FRAMES = 1 << 1

XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)
TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7


def _bpf(command: Command, attr: bytes | bytearray, what: str) -> tuple[int, bytearray]:
    """Run one command; return its result and the attribute block as the kernel left it."""
    block = bytearray(_ATTR_SIZE)
    block[: len(attr)] = attr
    buffer = (ctypes.c_char * _ATTR_SIZE).from_buffer(block)
    result = _libc.syscall(_SYSCALL, int(command), buffer, _ATTR_SIZE)
    if result < 0:
        code = ctypes.get_errno()
        raise KernelError(f"cannot {what}: {os.strerror(code)}", _hint(code)) from OSError(
            code, os.strerror(code)
        )
    return result, block


def _hint(code: int) -> str | None:
    if code == errno.EPERM:
        return "run as root, or see what is missing with `nfvctl doctor`"
    return None


def _name(text: str) -> bytes:
    """A kernel object name: at most 15 of [A-Za-z0-9_.]."""
    clean = "".join(c if c.isalnum() or c in "_." else "_" for c in text)
    return clean[: _NAME_SIZE - 1].encode().ljust(_NAME_SIZE, b"\0")


def _cpu_list(text: str) -> int:
    return max(int(part.split("-")[-1]) for part in text.strip().split(",")) + 1


def possible_cpus() -> int:
    """The number of values in a per-CPU map entry."""
    return _cpu_list(Path("/sys/devices/system/cpu/possible").read_text())


class Map:
    """One BPF map, by file descriptor. Keys and values are bytes in the machine's layout."""

    def __init__(
        self, fd: int, type_: int, key_size: int, value_size: int, max_entries: int, flags: int = 0
    ) -> None:
        self.fd = fd
        self.type = MapType(type_)
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        stride = (value_size + 7) // 8 * 8
        self.entry_size = stride * possible_cpus() if self.type in PER_CPU else value_size
        self._key = ctypes.create_string_buffer(max(key_size, 4))

    @cached_property
    def _value(self) -> ctypes.Array[ctypes.c_char]:
        """Room for a value; of a flat map it is large, and never read as one."""
        return ctypes.create_string_buffer(max(self.entry_size, 8))

    @classmethod
    def create(
        cls,
        type_: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        *,
        flags: int = 0,
        name: str = "",
    ) -> Map:
        """Make a map; `max_entries` is its capacity."""
        attr = struct.pack(
            "=7I16s", type_, key_size, value_size, max_entries, flags, 0, 0, _name(name)
        )
        fd, _ = _bpf(Command.MAP_CREATE, attr, f"create map {name} of {max_entries} entries")
        return cls(fd, type_, key_size, value_size, max_entries, flags)

    @classmethod
    def open(cls, pin: Path) -> Map:
        """Open a pinned map."""
        fd = obj_get(pin)
        type_, _id, key_size, value_size, max_entries, flags = struct.unpack_from(
            "=6I", _info(fd, 88)
        )
        return cls(fd, type_, key_size, value_size, max_entries, flags)

    @property
    def id(self) -> int:
        """The kernel's identifier, the same for every descriptor of this map."""
        return int(struct.unpack_from("=I", _info(self.fd, 88), 4)[0])

    def _elem(
        self, command: Command, key: bytes, value: bytes | None, flags: int, what: str
    ) -> None:
        ctypes.memmove(self._key, key, len(key))
        if value is not None:
            ctypes.memmove(self._value, value, len(value))
        address = 0 if command is Command.MAP_DELETE_ELEM else ctypes.addressof(self._value)
        attr = struct.pack("=IIQQQ", self.fd, 0, ctypes.addressof(self._key), address, flags)
        _bpf(command, attr, what)

    def lookup(self, key: bytes) -> bytes | None:
        """The value under a key, or None. A per-CPU map gives the values of all CPUs, joined."""
        try:
            self._elem(Command.MAP_LOOKUP_ELEM, key, None, 0, "look up a map entry")
        except KernelError as error:
            if _errno(error) == errno.ENOENT:
                return None
            raise
        return self._value.raw[: self.entry_size]

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Set the value under a key. `KernelError` with E2BIG when the map is full."""
        self._elem(Command.MAP_UPDATE_ELEM, key, value, flags, "update a map entry")

    def delete(self, key: bytes) -> bool:
        """Remove a key; False if it was not there."""
        try:
            self._elem(Command.MAP_DELETE_ELEM, key, None, 0, "delete a map entry")
        except KernelError as error:
            if _errno(error) == errno.ENOENT:
                return False
            raise
        return True

    def __getitem__(self, index: int) -> bytes:
        """The element of an array map."""
        value = self.lookup(struct.pack("=I", index))
        if value is None:
            raise IndexError(index)
        return value

    def __setitem__(self, index: int, value: bytes) -> None:
        self.update(struct.pack("=I", index), value)

    def items(self, batch: int = 4096) -> Iterator[tuple[bytes, bytes]]:
        """All entries of a hash map, in batches; entries that change meanwhile may be missed."""
        cursor = ctypes.create_string_buffer(max(self.key_size, 8))
        first = True
        while True:
            keys = ctypes.create_string_buffer(self.key_size * batch)
            values = ctypes.create_string_buffer(self.entry_size * batch)
            attr = struct.pack(
                "=QQQQIIQQ",
                0 if first else ctypes.addressof(cursor),
                ctypes.addressof(cursor),
                ctypes.addressof(keys),
                ctypes.addressof(values),
                batch,
                self.fd,
                0,
                0,
            )
            last, block = self._batch(attr)
            count = struct.unpack_from("=I", block, 32)[0]
            raw_keys, raw_values = keys.raw, values.raw
            for i in range(count):
                yield (
                    raw_keys[i * self.key_size : (i + 1) * self.key_size],
                    raw_values[i * self.entry_size : (i + 1) * self.entry_size],
                )
            if last:
                return
            if count == 0:
                batch *= 2
            first = False

    @staticmethod
    def _batch(attr: bytes) -> tuple[bool, bytearray]:
        """One batch; True when it was the last (ENOENT). ENOSPC asks for more room."""
        block = bytearray(_ATTR_SIZE)
        block[: len(attr)] = attr
        buffer = (ctypes.c_char * _ATTR_SIZE).from_buffer(block)
        if _libc.syscall(_SYSCALL, int(Command.MAP_LOOKUP_BATCH), buffer, _ATTR_SIZE) == 0:
            return False, block
        code = ctypes.get_errno()
        if code == errno.ENOENT:
            return True, block
        if code == errno.ENOSPC:
            struct.pack_into("=I", block, 32, 0)
            return False, block
        raise KernelError(f"cannot read a map: {os.strerror(code)}") from OSError(code, "batch")

    def memory(self) -> mmap.mmap:
        """The elements of an array map made with F_MMAPABLE, as shared memory."""
        stride = (self.value_size + 7) // 8 * 8
        length = -(-stride * self.max_entries // mmap.PAGESIZE) * mmap.PAGESIZE
        return mmap.mmap(self.fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def pin(self, path: Path) -> None:
        """Give the map a name in bpffs, so that it outlives the process."""
        obj_pin(self.fd, path)

    def close(self) -> None:
        """Give the descriptor back; the map lives on while it is pinned or in use."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _errno(error: KernelError) -> int:
    cause = error.__cause__
    return cause.errno or 0 if isinstance(cause, OSError) else 0


def _info(fd: int, size: int) -> bytes:
    buffer = ctypes.create_string_buffer(size)
    attr = struct.pack("=IIQ", fd, size, ctypes.addressof(buffer))
    _bpf(Command.OBJ_GET_INFO_BY_FD, attr, "read a BPF object's description")
    return buffer.raw


def obj_pin(fd: int, path: Path) -> None:
    """Pin a map, program or link under a path in bpffs."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    attr = struct.pack("=QI", ctypes.addressof(text), fd)
    _bpf(Command.OBJ_PIN, attr, f"pin {path}")


def obj_get(path: Path) -> int:
    """A descriptor of a pinned object."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    attr = struct.pack("=QI", ctypes.addressof(text), 0)
    return _bpf(Command.OBJ_GET, attr, f"open {path}")[0]


def prog_load(
    insns: bytes, name: str, *, type_: ProgramType = ProgramType.XDP, flags: int = 0
) -> int:
    """Verify and load a program; return its descriptor.

    A refusal of the verifier raises `VerifierError`, which has its log.
    """
    attr, _keep = _load_attr(insns, name, type_, flags, None)
    try:
        return _bpf(Command.PROG_LOAD, attr, f"load program {name}")[0]
    except KernelError as error:
        if _errno(error) == errno.EPERM:
            raise
        reason = error
    text = verifier_log(insns, name, type_=type_, flags=flags)[1]
    raise VerifierError(reason.message, text) from reason.__cause__


def verifier_log(
    insns: bytes,
    name: str,
    *,
    type_: ProgramType = ProgramType.XDP,
    flags: int = 0,
    level: int = 1,
    size: int = 1 << 24,
) -> tuple[bool, str]:
    """Load and forget a program to learn what the verifier says: whether it passed, and its log.

    Level 1 has the path to a refusal, level 4 only the statistics.
    """
    buffer = ctypes.create_string_buffer(size)
    attr, _keep = _load_attr(insns, name, type_, flags, (level, buffer))
    try:
        fd = _bpf(Command.PROG_LOAD, attr, f"load program {name}")[0]
    except KernelError:
        return False, buffer.value.decode(errors="replace")
    os.close(fd)
    return True, buffer.value.decode(errors="replace")


class VerifierError(KernelError):
    """The kernel's verifier refused a program; `log` is its explanation."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


def _load_attr(
    insns: bytes,
    name: str,
    type_: ProgramType,
    flags: int,
    log: tuple[int, ctypes.Array[ctypes.c_char]] | None,
) -> tuple[bytes, tuple[object, ...]]:
    """The PROG_LOAD attributes, and the buffers that must live while they are used."""
    code = ctypes.create_string_buffer(insns, len(insns))
    licence = ctypes.create_string_buffer(b"GPL")
    level, size, address = 0, 0, 0
    if log is not None:
        level, size, address = log[0], len(log[1]), ctypes.addressof(log[1])
    attr = struct.pack(
        "=IIQQIIQII16sII",
        int(type_),
        len(insns) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        level,
        size,
        address,
        0,
        flags,
        _name(name),
        0,
        0,
    )
    return attr, (code, licence, log)


def prog_open(ident: int) -> int:
    """A descriptor of a loaded program, by its identifier."""
    return _bpf(Command.PROG_GET_FD_BY_ID, struct.pack("=I", ident), f"open program {ident}")[0]


def prog_info(fd: int) -> tuple[int, str, int]:
    """Identifier, name and size in bytes of the machine code of a program."""
    raw = _info(fd, 232)
    ident = struct.unpack_from("=I", raw, 4)[0]
    jited = struct.unpack_from("=I", raw, 16)[0]
    return ident, raw[64:80].split(b"\0", 1)[0].decode(), jited


def prog_run(
    fd: int, frame: bytes, *, context: bytes | None = None, repeat: int = 1, room: int = 4096
) -> tuple[int, bytes, int]:
    """Run a program on one frame without a device (BPF_PROG_TEST_RUN).

    `context` says more of the frame than its bytes, by default nothing: a struct xdp_md, or a
    struct __sk_buff for a program at TC. Returns the verdict (XDP_* or TC_ACT_*), the frame as the
    program left it, and the mean duration in nanoseconds.
    """
    output = ctypes.create_string_buffer(room)
    block = _test_run("test-run a program", fd, frame, context or b"", repeat, output=output)
    _, verdict, _, size = struct.unpack_from("=IIII", block, 0)
    duration = struct.unpack_from("=I", block, 36)[0]
    return verdict, output.raw[:size], duration


def prog_run_live(fd: int, frame: bytes, repeat: int, *, ingress: int, batch: int = 64) -> None:
    """Send `repeat` frames through a program for real: its redirects leave through devices.

    A frame's memory is used again as the program left it. Blocks until all are sent.
    """
    context = struct.pack("=6I", 0, len(frame), 0, ingress, 0, 0)
    _test_run(
        "send live frames", fd, frame, context, repeat, flags=TEST_XDP_LIVE_FRAMES, batch=batch
    )


def _test_run(
    what: str,
    fd: int,
    frame: bytes,
    context: bytes,
    repeat: int,
    *,
    output: ctypes.Array[ctypes.c_char] | None = None,
    flags: int = 0,
    batch: int = 0,
) -> bytearray:
    """BPF_PROG_TEST_RUN ; returns the attribute block as the kernel left it."""
    data = ctypes.create_string_buffer(frame, len(frame))
    context_in = ctypes.create_string_buffer(context, len(context))
    attr = struct.pack(
        "=IIIIQQIIIIQQIII",
        fd,
        0,
        len(frame),
        0 if output is None else len(output),
        ctypes.addressof(data),
        0 if output is None else ctypes.addressof(output),
        repeat,
        0,
        len(context),
        0,
        ctypes.addressof(context_in) if context else 0,
        0,
        flags,
        0,
        batch,
    )
    return _bpf(Command.PROG_TEST_RUN, attr, what)[1]


def link_create(prog_fd: int, ifindex: int, attach: AttachType = AttachType.XDP) -> int:
    """Attach a program to a device of the current namespace; return the link's descriptor.

    XDP is native or nothing, and EBUSY if another program is attached.
    """
    flags = _XDP_FLAGS_DRV_MODE if attach is AttachType.XDP else 0
    attr = struct.pack("=IIII", prog_fd, ifindex, int(attach), flags)
    return _bpf(Command.LINK_CREATE, attr, f"attach a program to interface {ifindex}")[0]


@cache
def has_tcx() -> bool:
    """Whether the kernel has links for programs at TC, as Linux has from 6.6 on."""
    major, minor = map(int, re.findall(r"\d+", platform.release())[:2])
    return (major, minor) >= _TCX_SINCE


def link_update(link_fd: int, prog_fd: int) -> None:
    """Replace the program of a link in one step; no packet sees neither."""
    attr = struct.pack("=IIII", link_fd, prog_fd, 0, 0)
    _bpf(Command.LINK_UPDATE, attr, "replace an attached program")


def link_detach(link_fd: int) -> None:
    """Detach the program of a link; the link itself is of no more use."""
    _bpf(Command.LINK_DETACH, struct.pack("=I", link_fd), "detach a program")


def link_type(link_fd: int) -> int:
    """What kind of link it is (`LinkType`)."""
    return int(struct.unpack_from("=I", _info(link_fd, 64))[0])


def link_info(link_fd: int) -> tuple[int, int]:
    """The program identifier of a link, and its ifindex (0 when the device is gone)."""
    raw = _info(link_fd, 64)
    _type, _ident, prog_id = struct.unpack_from("=3I", raw)
    return prog_id, struct.unpack_from("=I", raw, 16)[0]
