"""scripts/quickstart, from the first run to the next, and however it is ended.

Each test runs a script in network, mount and process namespaces of its own, since the name of the
topology is fixed, and to see every process that remains.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
PREPARE = """
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/netns /run/nfv
mount -t tmpfs tmpfs /run/netns
mount -t tmpfs tmpfs /run/nfv
ip link set lo up
PATH=$PWD/.venv/bin:$PATH
"""
CHECKS = 9


def isolated(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a bash script that ends at the first command that fails."""
    return subprocess.run(
        ["unshare", *NAMESPACES, "bash", "-euo", "pipefail", "-c", PREPARE + script],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def marks(output: str) -> list[str]:
    """Whether the checks passed, in order: "ok" or "FAIL"."""
    words = [line.split()[0] for line in output.splitlines() if line.strip()]
    return [word for word in words if word in ("ok", "FAIL")]


def test_runs_again_and_mends() -> None:
    done = isolated("""
        nfvctl apply -q topologies/quickstart.yaml
        ip netns delete nfv.quickstart.wan
        scripts/quickstart
        echo AGAIN
        scripts/quickstart
        echo AFTER
        nfvctl ls --format yaml | grep name:
        ip netns exec nfv.quickstart.wan ss -Hltn
        grep -lsx iperf3 /proc/[0-9]*/comm || true
    """)
    assert done.returncode == 0, done.stderr
    first, rest = done.stdout.split("AGAIN\n")
    again, after = rest.split("AFTER\n")
    assert "namespace is gone" in first
    assert again.startswith("No changes.\n")
    for output in (first, again):
        assert marks(output) == ["ok"] * CHECKS
        assert "service chain " in output
        assert "Linux forwarding with nftables " in output
        assert "nfvctl destroy quickstart" in output
        assert "\033" not in output  # no colours where it is not a terminal
    assert after == "- name: quickstart\n"


def test_names_what_fails_and_where_to_look() -> None:
    done = isolated("""
        sed 's/name: smtp, action: drop/name: smtp, action: accept/' topologies/quickstart.yaml |
            nfvctl apply -q -
        ip netns exec nfv.quickstart.wan nft '
            table inet test { chain in { type filter hook input priority 0; icmp type 8 drop; }; }'
        python -m scripts.quickstart
    """)
    assert done.returncode == 1
    rows = dict(zip(("ping", "ping6", "http", "http6", "tcp", "udp", "telnet", "smtp", "ssh"),
                    marks(done.stdout), strict=True))  # fmt: skip
    assert {name for name, mark in rows.items() if mark == "FAIL"} == {"ping", "smtp"}
    assert "0 of 3 answered" in done.stdout
    assert "connected, but should not be answered" in done.stdout
    assert "nfvctl doctor" in done.stderr
    assert "nfvctl stats quickstart" in done.stderr
    assert "The topology is up" not in done.stdout


@pytest.mark.parametrize(("signal", "code"), [("INT", 130), ("TERM", 130), ("KILL", 137)])
def test_ends_its_servers(signal: str, code: int) -> None:
    done = isolated(
        """
        set -m
        nfvctl apply -q topologies/quickstart.yaml
        exec 3< <(exec python -m scripts.quickstart 2>&1 >/dev/null)
        quickstart=$!
        while read -r line <&3 && [[ $line != "[5/"* ]]; do :; done
        server=$(grep -lsx iperf3 /proc/[0-9]*/comm | head -n 1 | cut -d / -f 3)
        kill -s "$SIGNAL" "$quickstart"
        wait "$quickstart" && code=0 || code=$?
        timeout 10 tail --follow --pid "$server" /dev/null
        echo "$code"
        ip netns exec nfv.quickstart.wan ss -Hltn
        """,
        SIGNAL=signal,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{code}\n"


def test_needs_root() -> None:
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "scripts/quickstart"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "sudo scripts/quickstart" in done.stderr
