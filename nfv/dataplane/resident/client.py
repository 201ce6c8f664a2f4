"""A host's DHCP client: `python -m nfv.dataplane.resident.client TOPOLOGY SAP VERSION`.

Enters the host's namespace and becomes busybox's udhcpc, or for IPv6 ISC's dhclient, which asks
until it is answered, and sets the host's address, routes and name servers by a script beside this.
Runs under a supervisor.
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
from nfv.dataplane.resident import clientctl
from nfv.errors import InputError, NfvError

_SCRIPTS = Path(__file__).parent
_PR_SET_PDEATHSIG = 1
_PATIENCE = 1  # seconds between questions, as a lab wants its answers soon
_QUESTIONS = 3  # in a row


def main(topology: str, sap: str, version: int) -> None:
    """Become the client; it ends with the supervisor. Raises `NfvError` if it cannot."""
    command = _udhcpc(sap) if version == 4 else _dhclient(topology, sap)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    print("in step", flush=True)
    os.environ["RESOLV_CONF"] = str(resolving.path(topology, sap))
    os.environ["RESOLV_MARK"] = resolving.mark(topology, sap)
    with netns.entered(names.node_netns(topology, sap)):
        os.execv(command[0], command)


def _udhcpc(sap: str) -> list[str]:
    """It runs in the foreground, and gives the address back at the end."""
    options = {
        "-i": names.HOST_DEVICE,
        "-s": os.fspath(_SCRIPTS / "udhcpc.sh"),
        "-t": str(_QUESTIONS),
        "-T": str(_PATIENCE),
        "-A": str(_PATIENCE),
        "-x": f"hostname:{sap}",
    }
    words = [word for pair in options.items() for word in pair]
    asked = ["-O", "staticroutes", "-O", "search"]
    return [_installed("busybox", "busybox"), "udhcpc", "-f", "-R", *words, *asked]


def _dhclient(topology: str, sap: str) -> list[str]:
    _installed("dhclient", "isc-dhcp-client")
    directory = clientctl.daemon(topology, sap, 6).directory
    (directory / "dhclient.conf").write_text(
        f'send fqdn.fqdn "{sap}.";\nsend fqdn.encoded on;\nsend fqdn.server-update on;\n'
        "also request dhcp6.fqdn;\n"
    )
    return [os.fspath(_SCRIPTS / "run-dhclient6.sh"), os.fspath(directory), names.HOST_DEVICE]


def _installed(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise InputError(f"{program}, the DHCP client, is missing: apt-get install {package}")
    return found


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    except NfvError as failure:
        print(f"error: {failure.message}", file=sys.stderr)
        sys.exit(failure.exit_code)
