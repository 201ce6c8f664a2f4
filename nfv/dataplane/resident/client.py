"""The process of a host's DHCP client: `python -m nfv.dataplane.resident.client TOPOLOGY SAP`.

Enters the host's namespace and becomes busybox's udhcpc, which asks until it is answered, and sets
the host's address, routes and name servers by udhcpc.sh. Runs under a supervisor.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path

from nfv.chain import names
from nfv.dataplane.change import resolving
from nfv.dataplane.kernel import netns
from nfv.errors import InputError, NfvError

_SCRIPT = Path(__file__).with_name("udhcpc.sh")
_PR_SET_PDEATHSIG = 1
_PATIENCE = 1  # seconds between questions, as a lab wants its answers soon
_QUESTIONS = 3  # in a row


def main(topology: str, sap: str) -> None:
    """Become the client; it ends with the supervisor. Raises `NfvError` if it cannot."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise InputError("busybox, the DHCP client, is missing: apt-get install busybox")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    print("in step", flush=True)
    options = {
        "-i": names.HOST_DEVICE,
        "-s": os.fspath(_SCRIPT),
        "-t": str(_QUESTIONS),
        "-T": str(_PATIENCE),
        "-A": str(_PATIENCE),
        "-x": f"hostname:{sap}",
    }
    os.environ["RESOLV_CONF"] = str(resolving.path(topology, sap))
    os.environ["RESOLV_MARK"] = resolving.mark(topology, sap)
    words = [word for pair in options.items() for word in pair]
    with netns.entered(names.node_netns(topology, sap)):
        # In the foreground, giving the address back at the end.
        os.execv(busybox, ["udhcpc", "-f", "-R", *words, "-O", "staticroutes", "-O", "search"])


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except NfvError as failure:
        print(f"error: {failure.message}", file=sys.stderr)
        sys.exit(failure.exit_code)
