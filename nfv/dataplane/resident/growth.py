"""Makes maps larger that routing has outgrown: `python -m` with NAME, VNF and SIZES.

A process of its own, which the agent starts: it applies the topology that is applied, with other
capacities. So the programs are bound to larger maps as by any apply, and rolled back if that fails;
what ran before runs until then. The kernel routes meanwhile, as it does while a table is full.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from nfv.dataplane import state
from nfv.dataplane.change import engine
from nfv.errors import InputError, NfvError


class Growth:
    """The growth of one router's maps, at most one at a time."""

    def __init__(self, topology: str, vnf: str) -> None:
        self._command = [sys.executable, "-m", "nfv.dataplane.resident.growth", topology, vnf]
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: Mapping[str, int] = {}

    def want(self, sizes: Mapping[str, int]) -> bool:
        """Begin to make maps larger; whether that is news. What was asked for once is not again."""
        if not sizes or sizes == self._asked or self.is_running:
            return False
        self._asked = dict(sizes)
        command = [*self._command, json.dumps(sizes)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        return True

    def is_pending(self, sizes: Mapping[str, int]) -> bool:
        """Whether maps of such capacities are being made, or are still to be asked for."""
        return self.is_running or (bool(sizes) and sizes != self._asked)

    @property
    def is_running(self) -> bool:
        """Whether the maps are being made."""
        return self._process is not None and self._process.poll() is None


def main(name: str, vnf: str, sizes: str) -> int:
    """Let a router have maps of these capacities besides the others that it has."""
    applied = state.load(name)
    if applied is None:
        raise InputError(f"topology '{name}' is not applied")
    grown = {vnf: {**applied.sizes.get(vnf, {}), **json.loads(sizes)}}
    engine.apply(applied.topology(), None, lambda _holder: None, grown=grown)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except NfvError as failure:
        print(f"error: larger maps: {failure.message}", file=sys.stderr, flush=True)
        sys.exit(failure.exit_code)
