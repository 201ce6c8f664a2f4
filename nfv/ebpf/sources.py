"""The C sources, and splicing them into one text.

bcc rewrites map accesses only in the main text, so headers are spliced into it, each behind a
`#line` that lets clang and the verifier name the real file. A file whose names begin with `self_`
belongs to an instance of a function: it is spliced once for each, with `self_` and `SELF_` renamed.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent

MORE = [
    Path(directory) for directory in os.environ.get("NFV_FUNCTIONS", "").split(":") if directory
]
"""Directories with further functions, from the environment: NAME.py, and NAME.c beside it."""

_INCLUDE = re.compile(r'^#include "([^"]+)"\n', re.MULTILINE)
_SELF = re.compile(r"\b(self|SELF)_")
_COUNT = "COUNT"
_VERDICTS = re.compile(r"^enum nf_verdict \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_VERDICT = re.compile(r"^\tNF_(\w+)", re.MULTILINE)
_REASON = re.compile(r"^\tNF_REASON_(\w+) = (\d+),\s*/\* (.*) \*/$", re.MULTILINE)


@cache
def read(name: str) -> str:
    """The text of a C file below nfv/ebpf: "functions/router.c"; a bare name is in include/."""
    path = ROOT / name if "/" in name else ROOT / "include" / name
    others = (directory / path.name for directory in MORE if "/" in name)
    return next((other for other in others if other.exists()), path).read_text()


@cache
def is_instanced(name: str) -> bool:
    """Whether the file is spliced once for each instance of a function."""
    return _SELF.search(read(name)) is not None


def splice(name: str, prefix: str, seen: set[str]) -> str:
    """The text of a file with its project includes expanded.

    `prefix` takes the place of `self`; `seen` collects what the text so far contains.
    """
    key = f"{name}:{prefix}" if is_instanced(name) else name
    if key in seen:
        return ""
    seen.add(key)
    text = read(name)
    parts: list[str] = []
    start = 0
    for include in _INCLUDE.finditer(text):
        parts.append(_chunk(name, text, start, include.start(), prefix))
        parts.append(splice(include.group(1), prefix, seen))
        start = include.end()
    parts.append(_chunk(name, text, start, len(text), prefix))
    return "".join(parts)


def _chunk(name: str, text: str, start: int, end: int, prefix: str) -> str:
    body = text[start:end]
    if not body.strip():
        return ""
    line = text.count("\n", 0, start) + 1
    return f'#line {line} "{name}"\n' + rename(body, prefix)


def rename(text: str, prefix: str) -> str:
    """Give the names of a function's file the prefix of one instance."""
    return _SELF.sub(
        lambda found: (prefix if found.group(1) == "self" else prefix.upper()) + "_", text
    )


@cache
def reasons() -> dict[int, tuple[str, str]]:
    """Why packets are dropped or handed to the kernel: number -> (name, description), from nf.h."""
    return {
        int(number): (name.lower(), text)
        for name, number, text in _REASON.findall(read("nf.h"))
        if name != _COUNT
    }


@cache
def verdicts() -> dict[str, int]:
    """What functions say of a packet: numbers of NEXT, DROP and the others, from nf.h."""
    found = _VERDICTS.search(read("nf.h"))
    assert found is not None
    return {name: number for number, name in enumerate(_VERDICT.findall(found[1]))}


@cache
def reason_count() -> int:
    """Size of the tables that count by reason."""
    return next(int(number) for name, number, _ in _REASON.findall(read("nf.h")) if name == _COUNT)


@cache
def constant(header: str, name: str) -> int:
    """The number that a header defines a name as."""
    found = re.search(rf"^#define {name} (0x[0-9a-f]+|\d+)\b", read(header), re.MULTILINE)
    if found is None:
        raise KeyError(f"{header} does not define {name} as a number")
    return int(found[1], 0)
