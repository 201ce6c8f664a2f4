"""Functions that only tests and benchmarks know, as users may add their own (NFV_FUNCTIONS)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nfv import functions
from nfv.ebpf import sources

DIRECTORY = Path(__file__).parent


@contextmanager
def installed() -> Iterator[None]:
    """Let topologies have these functions too."""
    sources.MORE.append(DIRECTORY)
    functions.__path__.append(str(DIRECTORY))
    functions.known.cache_clear()
    try:
        yield
    finally:
        sources.MORE.remove(DIRECTORY)
        functions.__path__.remove(str(DIRECTORY))
        functions.known.cache_clear()
