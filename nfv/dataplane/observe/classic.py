"""Classic BPF, as libpcap compiles filters to, made part of eBPF programs (RFC 9669).

A filter becomes a function that the observed programs call (`observe_passes` of
nfv/ebpf/include/observe.h): it returns 0 for a frame that the filter does not let pass. So nothing
has to be compiled for a filter. Classic BPF is that of the BSD packet filter (McCanne and Jacobson,
1993): an accumulator A, an index register X and 16 words of memory; jumps lead forward.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nfv.chain.sap import Hook
from nfv.ebpf.sources import constant
from nfv.traffic.filter import Instruction

_CALL = constant("observe.h", "OBSERVE_PASSES")
_LENGTH = 8  # bytes of an instruction
_LONGEST = 1024  # instructions of a filter, so that jumps can reach over what becomes of it
_FARTHEST = 0xFFFF  # where a frame is read, as bpf_xdp_load_bytes does

_R0, _R1, _R2, _R3, _R4, _CONTEXT, _A, _X, _FRAME_POINTER = 0, 1, 2, 3, 4, 6, 7, 8, 10
_WORDS = 16  # of memory
_BUFFER = -8  # on the stack: what was read of the frame
_MEMORY = _BUFFER - 4 * _WORDS

_ALU64, _ALU, _JUMP, _JUMP32 = 0x07, 0x04, 0x05, 0x06  # classes
_BY_X = 0x08
_MOVE, _ADD = 0xB0, 0x00
_NOT_EQUAL, _GREATER, _ALWAYS = 0x50, 0x20, 0x00
_HELPERS = {Hook.XDP: 189, Hook.TC: 26}  # bpf_xdp_load_bytes, bpf_skb_load_bytes
_BUFFER_LENGTH = 188  # bpf_xdp_get_buff_len
_SKB_LENGTH, _SKB_TAGGED = 0, 20  # in struct __sk_buff: len, vlan_present

_PASS, _FAIL = "pass", "fail"


@dataclass(frozen=True)
class _Emitted:
    """An eBPF instruction; a jump has the label that it leads to."""

    code: int
    to: int = 0
    source: int = 0
    offset: int = 0
    value: int = 0
    label: int | str | None = None


class UnknownInstructionError(Exception):
    """A filter has what cannot be translated, such as a loop."""


def link(code: bytes, program: Sequence[Instruction], hook: Hook) -> bytes:
    """A program in which calls for the filter lead to it; all frames pass an empty one.

    A filter that cannot be translated lets all frames pass, too: it is for whoever reads the notes.
    """
    places = [place for place in range(0, len(code), _LENGTH) if _is_call(code, place)]
    try:
        function = translate(program, hook) if program and places else b""
    except UnknownInstructionError:
        function = b""
    linked = bytearray(code + function)
    for place in places:
        ahead = (len(code) - place) // _LENGTH - 1
        call = _packed(0x85, 0, 1, 0, ahead)  # of a function of the program itself
        linked[place : place + _LENGTH] = call if function else _packed(0xB7, _R0, 0, 0, 1)
    return bytes(linked)


def _is_call(code: bytes, place: int) -> bool:
    opcode, registers, _, value = struct.unpack_from("<BBhi", code, place)
    return (opcode, registers, value) == (0x85, 0, _CALL)


def translate(program: Sequence[Instruction], hook: Hook) -> bytes:
    """The function: takes the context, and returns what the filter does.

    Raises `UnknownInstructionError`.
    """
    if len(program) > _LONGEST:
        raise UnknownInstructionError
    emitted = [*_begin(hook)]
    starts: dict[int | str, int] = {}
    for place, one in enumerate(program):
        starts[place] = len(emitted)
        emitted += _translated(place, one, hook)
    wanted = {one.label for one in emitted} - {None}
    for label, value in ((_PASS, 1), (_FAIL, 0)):
        if label in wanted:  # the kernel refuses what nothing leads to
            starts[label] = len(emitted)
            emitted += [_move(_R0, value), _Emitted(0x95)]
    if not wanted <= starts.keys():
        raise UnknownInstructionError
    return b"".join(_resolved(place, one, starts) for place, one in enumerate(emitted))


def _resolved(place: int, one: _Emitted, starts: dict[int | str, int]) -> bytes:
    offset = one.offset if one.label is None else starts[one.label] - place - 1
    return _packed(one.code, one.to, one.source, offset, one.value)


def _packed(code: int, to: int, source: int, offset: int, value: int) -> bytes:
    return struct.pack("<BBhI", code, to | source << 4, offset, value & 0xFFFFFFFF)


def _begin(hook: Hook) -> Iterator[_Emitted]:
    """A, X and memory are 0.

    At TC a VLAN tag is beside the frame. Such a frame passes: whoever reads the note has it whole.
    """
    yield _Emitted(_ALU64 | _MOVE | _BY_X, _CONTEXT, _R1)
    yield _move(_A, 0)
    yield _move(_X, 0)
    for word in range(0, 4 * _WORDS, 8):
        yield _Emitted(0x7A, _FRAME_POINTER, offset=_MEMORY + word)
    if hook is Hook.TC:
        yield _Emitted(0x61, _R0, _CONTEXT, _SKB_TAGGED)
        yield _Emitted(_JUMP32 | _NOT_EQUAL, _R0, label=_PASS)


def _move(register: int, value: int) -> _Emitted:
    return _Emitted(_ALU | _MOVE, register, value=value)


def _goto(label: int | str) -> _Emitted:
    return _Emitted(_JUMP | _ALWAYS, label=label)


def _translated(place: int, one: Instruction, hook: Hook) -> Iterator[_Emitted]:
    kind = one.code & 0x07
    if kind in (0x00, 0x01):
        yield from _load(one, _X if kind else _A, hook)
    elif kind in (0x02, 0x03):
        yield _Emitted(0x63, _FRAME_POINTER, _X if kind == 0x03 else _A, _word(one.k))
    elif kind == 0x04:
        yield from _compute(one)
    elif kind == 0x05:
        yield from _jump(place, one)
    elif kind == 0x06:
        yield from _return(one)
    else:
        is_to_a = bool(one.code & 0x80)
        yield _Emitted(_ALU | _MOVE | _BY_X, *((_A, _X) if is_to_a else (_X, _A)))


def _word(number: int) -> int:
    if number >= _WORDS:
        raise UnknownInstructionError
    return _MEMORY + 4 * number


def _load(one: Instruction, register: int, hook: Hook) -> Iterator[_Emitted]:
    size, mode = one.code & 0x18, one.code & 0xE0
    if mode == 0x00:
        yield _move(register, one.k)
    elif mode == 0x60:
        yield _Emitted(0x61, register, _FRAME_POINTER, _word(one.k))
    elif mode == 0x80:
        yield from _length(register, hook)
    elif mode in (0x20, 0x40):
        yield from _read({0x00: 4, 0x08: 2, 0x10: 1}[size], one.k, mode == 0x40, hook)
    elif mode == 0xA0:  # the length of an IPv4 header
        yield _Emitted(_ALU64 | _MOVE | _BY_X, 9, _A)
        yield from _read(1, one.k, False, hook)
        yield _Emitted(_ALU | _MOVE | _BY_X, _X, _A)
        yield _Emitted(_ALU | 0x50, _X, value=0x0F)
        yield _Emitted(_ALU | 0x60, _X, value=2)
        yield _Emitted(_ALU64 | _MOVE | _BY_X, _A, 9)
    else:
        raise UnknownInstructionError


def _length(register: int, hook: Hook) -> Iterator[_Emitted]:
    if hook is Hook.TC:
        yield _Emitted(0x61, register, _CONTEXT, _SKB_LENGTH)
        return
    yield _Emitted(_ALU64 | _MOVE | _BY_X, _R1, _CONTEXT)
    yield _Emitted(0x85, value=_BUFFER_LENGTH)
    yield _Emitted(_ALU | _MOVE | _BY_X, register, _R0)


def _read(size: int, k: int, is_indexed: bool, hook: Hook) -> Iterator[_Emitted]:
    """Bytes of the frame into A; what lies behind its end makes the filter fail."""
    if k > _FARTHEST:
        raise UnknownInstructionError
    yield _move(_R2, k)
    if is_indexed:
        yield _Emitted(_ALU64 | _ADD | _BY_X, _R2, _X)
        yield _Emitted(_JUMP | _GREATER, _R2, value=_FARTHEST, label=_FAIL)
    yield _Emitted(_ALU64 | _MOVE | _BY_X, _R1, _CONTEXT)
    yield _Emitted(_ALU64 | _MOVE | _BY_X, _R3, _FRAME_POINTER)
    yield _Emitted(_ALU64 | _ADD, _R3, value=_BUFFER)
    yield _move(_R4, size)
    yield _Emitted(0x85, value=_HELPERS[hook])
    yield _Emitted(_JUMP | _NOT_EQUAL, _R0, label=_FAIL)
    yield _Emitted({1: 0x71, 2: 0x69, 4: 0x61}[size], _A, _FRAME_POINTER, _BUFFER)
    if size > 1:
        yield _Emitted(0xDC, _A, value=8 * size)  # from network order


def _compute(one: Instruction) -> Iterator[_Emitted]:
    operation, by_x = one.code & 0xF0, one.code & _BY_X
    if operation not in range(0x00, 0xB0, 0x10):
        raise UnknownInstructionError
    if operation in (0x30, 0x90):  # by 0: the filter fails
        if not by_x and not one.k:
            raise UnknownInstructionError
        if by_x:
            yield _Emitted(_JUMP32 | 0x10, _X, label=_FAIL)
    if operation in (0x60, 0x70):
        yield from _shift(one)
    elif operation == 0x80:
        yield _Emitted(_ALU | operation, _A)
    else:
        yield _Emitted(one.code, _A, _X if by_x else 0, value=0 if by_x else one.k)


def _shift(one: Instruction) -> Iterator[_Emitted]:
    """By 32 and more nothing is left, where eBPF takes the distance modulo 32."""
    if one.code & _BY_X:
        yield _Emitted(_JUMP32 | 0xB0, _X, offset=1, value=31)  # at most
        yield _move(_A, 0)
        yield _Emitted(one.code, _A, _X)
    elif one.k > 31:
        yield _move(_A, 0)
    else:
        yield _Emitted(one.code, _A, value=one.k)


def _jump(place: int, one: Instruction) -> Iterator[_Emitted]:
    operation, by_x = one.code & 0xF0, one.code & _BY_X
    if operation == 0x00:
        yield _goto(place + 1 + one.k)
        return
    if operation not in (0x10, 0x20, 0x30, 0x40):
        raise UnknownInstructionError
    source, value = (_X, 0) if by_x else (0, one.k)
    label = place + 1 + one.if_true
    yield _Emitted(_JUMP32 | operation | by_x, _A, source, value=value, label=label)
    yield _goto(place + 1 + one.if_false)


def _return(one: Instruction) -> Iterator[_Emitted]:
    by_a = one.code & 0x18
    yield _Emitted(_ALU | _MOVE | _BY_X, _R0, _A) if by_a else _move(_R0, one.k)
    yield _Emitted(0x95)
