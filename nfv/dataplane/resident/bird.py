"""The process of a router's BIRD: `python -m nfv.dataplane.resident.bird TOPOLOGY ROUTER`.

Reads the configuration once to see that it is right, enters the router's namespace and becomes
bird(8), with the capabilities alone that it needs. Runs under a supervisor.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

from nfv.chain import names
from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import birdctl
from nfv.errors import KernelError, NfvError

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_LAST_CAPABILITY = 40  # CAP_CHECKPOINT_RESTORE; prctl(2) refuses those that the kernel lacks
_NEEDED = frozenset({10, 11, 12, 13})  # CAP_NET_: BIND_SERVICE, BROADCAST, ADMIN, RAW


def main(topology: str, router: str) -> None:
    """Become BIRD; it ends with the supervisor. Raises `NfvError` if it cannot."""
    bird, files = birdctl.program(), birdctl.files(topology, router)
    words = [bird, "-c", os.fspath(files.configuration)]
    tried = subprocess.run([*words, "-p"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise KernelError(f"bird refuses its configuration: {tried.stderr.strip()}")
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    print("in step", flush=True)
    with netns.entered(names.node_netns(topology, router)):
        for capability in range(_LAST_CAPABILITY + 1):
            if capability not in _NEEDED:
                libc.prctl(_PR_CAPBSET_DROP, capability)
        os.execv(bird, [*words, "-f", "-s", os.fspath(files.socket)])


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except NfvError as failure:
        print(f"error: {failure.message}", file=sys.stderr)
        sys.exit(failure.exit_code)
