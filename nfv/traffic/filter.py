"""Filters in libpcap's syntax (pcap-filter(7)), compiled and run by libpcap itself."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from typing import NamedTuple

from nfv.errors import InputError
from nfv.traffic.link import ETHERNET
from nfv.traffic.packet import MAX_PACKET

_NETMASK_UNKNOWN = 0xFFFFFFFF


class _Instruction(ctypes.Structure):
    """struct bpf_insn."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """struct bpf_program."""

    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


class Instruction(NamedTuple):
    """An instruction of classic BPF (struct bpf_insn)."""

    code: int
    if_true: int  # instructions to leave out
    if_false: int
    k: int


class _Header(ctypes.Structure):
    """struct pcap_pkthdr."""

    _fields_ = (
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("kept", ctypes.c_uint32),
        ("whole", ctypes.c_uint32),
    )


class Filter:
    """Says of Ethernet frames whether they match. The empty text matches all."""

    def __init__(self, text: str) -> None:
        """Raises `InputError` with what libpcap says of a text that it does not understand."""
        self.text = text
        if not text:
            return
        library = _library()
        self._matches = library.pcap_offline_filter
        self._program = _Program()
        self._header = _Header()
        handle = library.pcap_open_dead(ETHERNET, MAX_PACKET)
        compiled = library.pcap_compile(
            handle, ctypes.byref(self._program), text.encode(), 1, _NETMASK_UNKNOWN
        )
        try:
            if compiled:
                said = library.pcap_geterr(handle).decode(errors="replace")
                raise InputError(f"filter '{text}': {said}", "man pcap-filter explains filters")
        finally:
            library.pcap_close(handle)

    @property
    def program(self) -> list[Instruction]:
        """The filter as classic BPF; nothing if it matches all."""
        if not self.text:
            return []
        whole = self._program.instructions[: self._program.length]
        return [Instruction(one.code, one.if_true, one.if_false, one.k) for one in whole]

    def matches(self, data: bytes, whole: int) -> bool:
        """Whether a frame of `whole` bytes matches, of which `data` was captured."""
        if not self.text:
            return True
        self._header.kept, self._header.whole = len(data), whole
        return bool(self._matches(ctypes.byref(self._program), ctypes.byref(self._header), data))


@cache
def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("pcap")
    if name is None:
        raise InputError("libpcap is missing, which filters need", "apt-get install tcpdump")
    library = ctypes.CDLL(name)
    pointer = ctypes.c_void_p
    library.pcap_open_dead.restype = pointer
    library.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
    library.pcap_compile.argtypes = [
        pointer,
        ctypes.POINTER(_Program),
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint32,
    ]
    library.pcap_geterr.argtypes = [pointer]
    library.pcap_geterr.restype = ctypes.c_char_p
    library.pcap_close.argtypes = [pointer]
    library.pcap_offline_filter.argtypes = [
        ctypes.POINTER(_Program),
        ctypes.POINTER(_Header),
        ctypes.c_char_p,
    ]
    return library
