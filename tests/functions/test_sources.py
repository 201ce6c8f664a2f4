"""The C sources: every file compiles by itself, and says what user space reads from it."""

from __future__ import annotations

import re

import pytest

from nfv.dataplane.kernel import headers
from nfv.ebpf import sources
from nfv.ebpf.compiler import Compiler

INCLUDED = sorted(path.name for path in (sources.ROOT / "include").glob("*.h"))
FUNCTIONS = sorted(f"functions/{path.name}" for path in (sources.ROOT / "functions").glob("*.c"))
PREREQUISITES = {
    "connections.h": "functions/firewall.c",
    "extras.h": "functions/firewall.c",
    "tc.h": "hook.h",
    "windows.h": "connections.h",
    "xdp.h": "hook.h",
}
"""Headers that are a part of another file and make no sense without it."""


def _whole(name: str) -> str:
    """The file that makes sense by itself, of which a file is a part."""
    while name in PREREQUISITES:
        name = PREREQUISITES[name]
    return name


@pytest.mark.root
@pytest.mark.parametrize("hook", ["", "#define NFV_TC 1\n"], ids=["XDP", "TC"])
def test_every_file_compiles_alone(hook: str) -> None:
    """With the names it is written with: no instance, no values of a topology."""
    assert FUNCTIONS
    texts = [sources.splice(_whole(name), "self", set()) for name in INCLUDED]
    texts += [sources.splice(name, "self", set()) for name in FUNCTIONS]
    texts = [hook + text for text in texts]
    objects = Compiler(headers.find()).compile(texts)
    assert list(objects) == list(dict.fromkeys(texts))


@pytest.mark.parametrize(("part", "whole"), PREREQUISITES.items())
def test_parts_are_included_by_their_whole(part: str, whole: str) -> None:
    assert f'#include "{part}"' in sources.read(whole)


def test_every_reason_is_read_with_its_text() -> None:
    """`nfvctl stats` prints what stands behind each in nf.h, however the file is formatted."""
    written = set(re.findall(r"\bNF_REASON_(\w+)\s*=", sources.read("nf.h"))) - {"COUNT"}
    found = sources.reasons()
    assert {name.upper() for name, _ in found.values()} == written
    assert list(found) == list(range(len(written)))
    assert max(found) < sources.reason_count()
    assert all(text.strip() for _, text in found.values())
