"""Compiles one C text with bcc: text on standard input, an `Object` on standard output.

A process of its own, because bcc writes clang's and the verifier's words to file descriptor 2, and
because several texts compile at once. With `--explain PROGRAM` the program is also loaded as bcc
loads it, so that a verifier's refusal comes with the lines of the C text.
"""

from __future__ import annotations

import ctypes
import struct
import sys

from bcc import BPF, lib

from nfv.ebpf.compiler import CFLAGS
from nfv.ebpf.object import Code, Field, Layout, MapSpec, Object
from nfv.ebpf.sources import constant

_FLAT = constant("nf.h", "NF_FLAT")
_F_MMAPABLE = 1 << 10
_RINGBUF = 27  # BPF_MAP_TYPE_RINGBUF
_LINK_MAGIC = 0x4E465600
_LOAD_IMM64 = 0x18

for _function in (lib.bpf_table_name, lib.bpf_function_name):
    _function.restype = ctypes.c_char_p


def _layout(type_: type) -> Layout | None:
    if not issubclass(type_, ctypes.Structure):
        return None
    fields = []
    for name, member, *_ in type_._fields_:
        count = getattr(member, "_length_", 1)
        place = getattr(type_, name)
        fields.append(Field(name, place.offset, ctypes.sizeof(member) // count, count))
    return Layout(ctypes.sizeof(type_), tuple(fields))


def _maps(module: BPF) -> tuple[dict[str, MapSpec], dict[int, str]]:
    specs: dict[str, MapSpec] = {}
    by_fd: dict[int, str] = {}
    for number in range(lib.bpf_num_tables(module.module)):
        name = lib.bpf_table_name(module.module, number).decode()
        table = module[name.encode()]
        by_fd[lib.bpf_table_fd_id(module.module, number)] = name
        type_ = lib.bpf_table_type_id(module.module, number)
        has_entries = type_ != _RINGBUF
        specs[name] = MapSpec(
            type=type_,
            key_size=lib.bpf_table_key_size_id(module.module, number) if has_entries else 0,
            value_size=lib.bpf_table_leaf_size_id(module.module, number) if has_entries else 0,
            flags=lib.bpf_table_flags_id(module.module, number),
            flat=table.max_entries == _FLAT and table.flags == _F_MMAPABLE,
            key=_layout(table.Key),
            value=_layout(table.Leaf),
        )
    return specs, by_fd


def _code(insns: bytes, by_fd: dict[int, str], specs: dict[str, MapSpec]) -> Code:
    maps: list[tuple[int, str]] = []
    values: list[tuple[int, str]] = []
    links: list[tuple[int, int]] = []
    for place in range(len(insns) // 8):
        opcode, registers, _, low = struct.unpack_from("<BBhI", insns, place * 8)
        if opcode != _LOAD_IMM64:
            continue
        high = struct.unpack_from("<I", insns, place * 8 + 12)[0]
        if registers >> 4 == 1:
            name = by_fd[low]
            (values if specs[name].flat else maps).append((place, name))
        elif high == _LINK_MAGIC:
            links.append((place, low))
    return Code(insns, tuple(maps), tuple(values), tuple(links))


def compile_text(text: str) -> Object:
    """Compile with bcc. Raises whatever bcc raises; its reasons are on standard error."""
    module = BPF(text=text.encode(), cflags=[*CFLAGS, "-g0"])
    specs, by_fd = _maps(module)
    programs = {
        name.decode(): _code(module.dump_func(name), by_fd, specs)
        for name in _function_names(module)
    }
    return Object(programs, specs)


def _function_names(module: BPF) -> list[bytes]:
    return [
        lib.bpf_function_name(module.module, number)
        for number in range(lib.bpf_num_functions(module.module))
    ]


def main() -> int:
    """Run one compilation as told on the command line."""
    text = sys.stdin.read()
    try:
        if sys.argv[1:2] == ["--explain"]:
            module = BPF(text=text.encode(), cflags=CFLAGS)
            module.load_func(sys.argv[2].encode(), BPF.XDP)
        else:
            sys.stdout.write(compile_text(text).dumps())
    except Exception as error:  # bcc raises bare Exception; the reasons are on stderr
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
