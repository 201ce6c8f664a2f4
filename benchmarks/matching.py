"""What finding a packet's rule costs, by the number of rules: `python -m benchmarks.matching`.

The matcher runs alone, by BPF_PROG_TEST_RUN, over packets that are each in one of the rules: evenly
chosen, so that packets differ in every field and the tables are read all over. Nanoseconds are net
of the same program without the matcher; the second lowest of several runs counts, as other programs
disturb.
"""

from __future__ import annotations

import argparse
import os
import re
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from benchmarks import rulesets
from benchmarks.rulesets import Header
from nfv.chain.pattern import Pattern
from nfv.dataplane.kernel import bpf, headers
from nfv.dataplane.kernel.bpf import Map
from nfv.ebpf import matcher, sources, tables
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.object import Layout, MapSpec
from nfv.ebpf.vectors import PORT_PROTOCOLS

COUNTS = (10, 50, 100, 300, 1000, 3000, 10_000)
PACKETS = 4096  # of classify.c, as RUN
RUN = 8
RUNS, REPEAT = 9, 20_000
NONE = 0xFFFFFFFF

_PROGRAMS = Path(__file__).with_name("programs")
_MATCHER = "m0"
_LINEAR_MOST = 64
_LINEAR = struct.Struct("=16s16s16s16s4HHBBB3x")  # struct linear_rule


class Classifier:
    """A program that finds the first rule of packets, and its maps."""

    def __init__(self, method: str, text: str, sizes: Mapping[str, int]) -> None:
        """`method` is what METHOD of classify.c is, `text` the C that it calls."""
        own = (_PROGRAMS / "classify.c").read_text()
        seen: set[str] = set()
        whole = sources.splice("nf.h", "", seen) + sources.splice("match.h", "", seen)
        whole += f'{text}#define METHOD(pkt) {method}\n#line 1 "classify.c"\n{own}'
        compiled = Compiler(headers.find()).compile([whole])[whole]
        known = {"packets": PACKETS, "found": PACKETS, "cursor": 1, **sizes}
        self._specs = compiled.maps
        self.maps = {
            name: _make(name, spec, known.get(name, 1)) for name, spec in self._specs.items()
        }
        (code,) = compiled.programs.values()
        self._insns = code.bind({name: made.fd for name, made in self.maps.items()}, ())
        self._fd = bpf.prog_load(self._insns, "classify")

    def close(self) -> None:
        """Forget the program and its maps."""
        os.close(self._fd)
        for made in self.maps.values():
            made.close()

    def memory(self, name: str) -> memoryview:
        """The bytes of an array map."""
        made = self.maps[name]
        return memoryview(made.memory())[: made.value_size * made.max_entries]

    def set_packets(self, packets: Sequence[Header]) -> None:
        """The packets to find rules for, again and again until there are PACKETS."""
        layout = self._specs["packets"].value
        assert layout is not None
        memory = self.memory("packets")
        size = len(memory) // PACKETS
        for at in range(PACKETS):
            packed = _packet(layout, packets[at % len(packets)])
            memory[at * size : at * size + len(packed)] = packed

    def found(self, packets: Sequence[Header]) -> list[int]:
        """The place of the first rule of each packet, NONE without."""
        self.set_packets(packets)
        return self.run()[: len(packets)]

    def run(self) -> list[int]:
        """Find the rules of all packets."""
        self.maps["cursor"][0] = bytes(4)
        bpf.prog_run(self._fd, bytes(60), repeat=PACKETS // RUN)
        return self.memory("found").cast("Q").tolist()[:PACKETS]

    def nanoseconds(self) -> float:
        """What a packet takes."""
        runs = [bpf.prog_run(self._fd, bytes(60), repeat=REPEAT)[2] for _ in range(RUNS)]
        return sorted(runs)[1] / RUN

    def verified(self) -> int:
        """Instructions that the verifier looks at, of one packet."""
        log = bpf.verifier_log(self._insns, "classify", level=4)[1]
        processed = re.search(r"processed (\d+) insns", log)
        assert processed is not None
        return int(processed[1]) // RUN


class Matcher(Classifier):
    """The matcher of firewalls and chains, with room for the rules given."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        defines = "".join(
            f"#define {_MATCHER.upper()}_{key} {value}\n"
            for key, value in tables.matcher_defines(patterns).items()
        )
        text = defines + sources.splice("matcher.h", _MATCHER, {"nf.h", "match.h"})
        sizes = {
            f"{_MATCHER}_{name}": size for name, size in tables.matcher_sizes(patterns).items()
        }
        call = f"{_MATCHER}_match({_MATCHER}_tables(), pkt, NF_DIR_FORWARD)"
        super().__init__(call, text, sizes)

    def publish(self, patterns: Sequence[Pattern]) -> None:
        """Make these the rules."""
        tables.publish(self.memory(f"{_MATCHER}_matcher"), patterns)


class Linear(Classifier):
    """The rules one after the other, at most 64."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        text = (_PROGRAMS / "linear.h").read_text()
        super().__init__("linear_match(pkt, NF_DIR_FORWARD)", text, {"linear_rules": _LINEAR_MOST})
        packed = b"".join(_linear(pattern) for pattern in patterns)
        self.memory("linear_rules")[: len(packed)] = packed


def _make(name: str, spec: MapSpec, count: int) -> Map:
    size = spec.value_size
    if spec.flat:
        size, count = size * count, 1
    return Map.create(spec.type, spec.key_size, size, count, flags=spec.flags, name=name)


def _packet(layout: Layout, header: Header) -> bytes:
    size = 4 if header.family == 4 else 16
    return layout.pack(
        src=header.src.to_bytes(size, "big"),
        dst=header.dst.to_bytes(size, "big"),
        sport=header.sport.to_bytes(2, "big"),
        dport=header.dport.to_bytes(2, "big"),
        family=header.family,
        protocol=header.protocol,
        tcp_flags=header.tcp_flags,
        has_l4=int(header.protocol in PORT_PROTOCOLS),
    )


def _linear(pattern: Pattern) -> bytes:
    """A rule of linear.h; those of rulesets have one value of each condition at most."""
    flags_mask, flags = pattern.tcp_flags or (0, 0)
    return _LINEAR.pack(
        *_prefix(pattern.src),
        *_prefix(pattern.dst),
        *(pattern.sports or ((0, 0xFFFF),))[0],
        *(pattern.dports or ((0, 0xFFFF),))[0],
        pattern.protocols[0] if pattern.protocols else 256,
        flags,
        flags_mask,
        pattern.families[0],
    )


def _prefix(prefixes: Sequence[IPv4Network | IPv6Network]) -> tuple[bytes, bytes]:
    """Key and mask."""
    if not prefixes:
        return b"", b""
    return prefixes[0].network_address.packed, prefixes[0].netmask.packed


@dataclass(frozen=True)
class Result:
    """The figures of one rule set."""

    kind: str
    family: int
    rules: int
    nanoseconds: float
    linear: float | None  # nanoseconds
    build: float  # seconds of CPU time
    size: int  # bytes of one image
    verified: int


def measure(kind: str, family: int, count: int) -> Result:
    """Build, load and time one rule set."""
    patterns = rulesets.rules(kind, count, family)
    packets = rulesets.headers(patterns, PACKETS, family)
    started = time.process_time()
    size = len(matcher.build(patterns))
    built = time.process_time() - started
    with closing(Classifier("0", "", {})) as base, closing(Matcher(patterns)) as whole:
        base.set_packets(packets)
        whole.publish(patterns)
        whole.set_packets(packets)
        linear = _time_linear(patterns, packets) if count <= _LINEAR_MOST else None
        empty = base.nanoseconds()
        own = whole.nanoseconds() - empty
        verified = whole.verified()
    return Result(kind, family, count, own, linear and linear - empty, built, size, verified)


def _time_linear(patterns: Sequence[Pattern], packets: Sequence[Header]) -> float:
    with closing(Linear(patterns)) as linear:
        linear.set_packets(packets)
        return linear.nanoseconds()


def main() -> None:
    """Print a table of all rule sets, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.matching")
    parser.add_argument("--kind", choices=rulesets.KINDS, action="append")
    parser.add_argument("--family", type=int, choices=(4, 6), action="append")
    parser.add_argument("--rules", type=int, choices=COUNTS, action="append")
    chosen = parser.parse_args()
    print("| Rules | Kind | IP | Matcher, ns | One by one, ns | Build, ms | KiB | Verified |")
    print("| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for count in chosen.rules or COUNTS:
        for kind in chosen.kind or rulesets.KINDS:
            for family in chosen.family or (4, 6):
                print(_line(measure(kind, family, count)), flush=True)


def _line(result: Result) -> str:
    linear = "" if result.linear is None else f"{result.linear:.0f}"
    cells = (
        f"{result.rules:,}",
        result.kind,
        f"IPv{result.family}",
        f"{result.nanoseconds:.0f}",
        linear,
        f"{result.build * 1000:.0f}",
        f"{result.size >> 10:,}",
        f"{result.verified:,}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
