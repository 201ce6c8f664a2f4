"""nfvctl from outside: a whole life of a topology, exit codes, and what goes to which stream."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfv.dataplane import state
from nfv.dataplane.kernel import netns

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
NAME = f"cli-{os.getpid()}"
NFVCTL = [sys.executable, "-c", "from nfv.cli.main import main; raise SystemExit(main())"]

TEXT = f"""\
name: {NAME}
saps:
  lan: {{kind: host, ip: 10.0.1.10/24, gateway: 10.0.1.1}}
  wan: {{kind: host, ip: 192.0.2.254/24, gateway: 192.0.2.1}}
  vm: {{kind: tap}}
vnfs:
  fw:
    type: firewall
    default: drop
    rules:
      - {{name: ping, action: accept, proto: icmp}}
      - {{action: drop, proto: tcp, dport: [23, 25]}}
  gw:
    type: router
    interfaces:
      lan: {{ip: 10.0.1.1/24}}
      wan: {{ip: 192.0.2.1/24}}
      vm: {{ip: 203.0.113.1/24}}
chains:
  inside: {{path: [lan, fw, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
  machine: {{path: ["gw:vm", vm]}}
"""


def nfvctl(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*NFVCTL, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def data(*arguments: str) -> Any:
    return json.loads(nfvctl(*arguments, "--format", "json").stdout)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "branch.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def applied(file: Path) -> Iterator[Path]:
    nfvctl("apply", "-q", str(file))
    yield file
    if state.load(NAME):
        nfvctl("destroy", "-q", NAME)


def test_the_life_of_a_topology(file: Path) -> None:
    pending = nfvctl("plan", "--detailed-exitcode", str(file), code=2)
    assert "Plan: 9 to add, 0 to change, 0 to remove." in pending.stdout
    assert not netns.names(f"nfv.{NAME}")

    done = nfvctl("apply", str(file))
    try:
        assert f"Applied {NAME}: 9 added, 0 changed, 0 removed." in done.stdout
        assert re.search(r"^\[1/\d+\] ", done.stderr)
        assert nfvctl("plan", "--detailed-exitcode", str(file)).stdout == "No changes.\n"
        again = nfvctl("apply", str(file))
        assert (again.stdout, again.stderr) == ("No changes.\n", "")
        assert nfvctl("apply", NAME).stdout == "No changes.\n"
        assert NAME in [one["name"] for one in data("ls")]
    finally:
        gone = nfvctl("destroy", str(file))
    assert gone.stdout == f"Destroyed {NAME}.\n"
    assert not netns.names(f"nfv.{NAME}")
    refused = nfvctl("destroy", NAME, code=3)
    assert f"topology '{NAME}' is not applied" in refused.stderr


def test_a_change_has_its_reason_and_its_line(applied: Path) -> None:
    applied.write_text(TEXT.replace("name: ping,", "name: echo,"))
    (change,) = (one for one in data("plan", str(applied))["changes"] if one["kind"] == "vnf")
    assert (change["action"], change["name"], change["mode"]) == ("change", "fw", "live")
    assert (change["file"], change["line"]) == (str(applied), 7)
    assert data("plan", NAME)["changes"] == []
    assert data("apply", str(applied))["summary"]["remove"] == 0
    assert data("plan", str(applied))["changes"] == []


def test_exec_runs_a_command_where_it_is_told_to(applied: Path) -> None:
    inside = nfvctl("exec", NAME, "lan", "--", "ip", "-j", "address", "show", "eth0").stdout
    assert "10.0.1.10" in inside
    assert "10.0.1.1" in nfvctl("exec", str(applied), "gw", "ip", "-4", "address").stdout
    nfvctl("exec", NAME, "lan", "--", "sh", "-c", "exit 7", code=7)
    refused = nfvctl("exec", NAME, "fw", "--", "true", code=3)
    assert "hint: it has lan, wan, gw" in refused.stderr


def test_statistics_count_every_packet_once(applied: Path) -> None:
    before = data("stats", NAME)
    nfvctl("exec", NAME, "lan", "--", "ping", "-c", "5", "-i", "0.01", "192.0.2.254")
    after = data("stats", NAME)

    def grown(*path: str) -> int:
        first, second = before, after
        for key in path:
            first, second = first.get(key, {}), second[key]
        packets: int = second["packets"] - first.get("packets", 0)
        return packets

    ping, unnamed, _ = after["vnfs"]["fw"]["rules"]
    assert (ping["rule"], ping["line"], ping["packets"]) == ("ping", 11, 10)
    assert (unnamed["rule"], unnamed["packets"]) == ("drop proto tcp dport 23,25", 0)
    assert ping["bytes"] == 10 * 98
    assert grown("ports", "lan", "in") >= 5
    assert grown("ports", "wan", "out") >= 5
    assert grown("vnfs", "gw", "ended", "forwarded") >= 8  # a first one each way asks for the MAC
    for port in after["ports"].values():
        ended = sum(count["packets"] for count in port["ended"].values())
        assert port["in"]["packets"] == ended


def test_drops_have_a_reason_and_a_rule(applied: Path) -> None:
    connect = ["timeout", "1", "bash", "-c", "echo > /dev/tcp/192.0.2.254/23"]
    nfvctl("exec", NAME, "lan", "--", *connect, code=124)
    shown = nfvctl("stats", NAME, "fw").stdout
    assert re.search(r"^fw +[1-9]\d* +\d+ +dropped by a rule$", shown, re.MULTILINE)
    assert re.search(r"^fw +drop proto tcp dport 23,25 +[1-9]\d* +\d+ +/", shown, re.MULTILINE)
    assert f"{applied}:12\n" in re.sub(r"\n +", "", shown)
    assert max(map(len, nfvctl("stats", NAME).stdout.splitlines())) <= 100


def test_a_stream_of_statistics(applied: Path) -> None:
    words = [*NFVCTL, "stats", NAME, "lan", "--interval", "0.2", "--format", "json"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        nfvctl("exec", NAME, "lan", "--", "ping", "-c", "1", "10.0.1.1")
        items = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.terminate()
    assert all(0.2 <= item["seconds"] < 5 for item in items)
    assert all(list(item["ports"]) == ["lan"] for item in items)


def test_what_is_gone_is_said(applied: Path) -> None:
    whole = data("inspect", NAME)
    assert whole["whole"] is True
    assert whole["agent"]["routers"]["gw"]["mode"] == "fast"
    ports = {port["attachment"]: port for port in whole["ports"]}
    assert ports["lan"]["state"] == ports["gw:wan"]["state"] == "up"
    assert ports["lan"]["addresses"] == ["10.0.1.10/24"]
    assert ports["vm"]["state"] == "no carrier"
    assert all(program["machine_code"] > 0 for program in whole["programs"])

    netns.delete(f"nfv.{NAME}.lan")
    found = nfvctl("inspect", NAME)
    assert re.search(r"^lan +host +namespace is gone", found.stdout, re.MULTILINE)
    _, *lines = found.stdout.splitlines()  # the first names the file
    assert max(map(len, lines)) <= 100
    assert f"hint: `nfvctl apply {NAME}` mends what is gone" in found.stderr
    refused = nfvctl("exec", NAME, "lan", "true", code=3)
    assert f"network namespace nfv.{NAME}.lan is gone" in refused.stderr
    nfvctl("apply", "-q", NAME)
    assert data("inspect", NAME)["whole"] is True


def test_devices_that_are_off_or_gone_are_said(applied: Path) -> None:
    def states() -> dict[str, str]:
        return {port["attachment"]: port["state"] for port in data("inspect", NAME)["ports"]}

    nfvctl("exec", NAME, "lan", "ip", "link", "set", "eth0", "down")
    nfvctl("exec", NAME, "gw", "ip", "link", "delete", "wan")
    assert states()["lan"] == "down"
    assert states()["gw:wan"] == "device is gone"


def test_a_failing_step_exits_with_1_and_leaves_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NFV_FAIL_AT_STEP", "20")
    failed = nfvctl("apply", "--format", "json", str(file), code=1)
    assert failed.stdout == ""
    assert re.search(r"^error: .*NFV_FAIL_AT_STEP=20", failed.stderr, re.MULTILINE)
    assert not netns.names(f"nfv.{NAME}")
    assert state.load(NAME) is None


def test_an_interrupted_apply_exits_with_130_and_leaves_nothing(file: Path) -> None:
    process = started("apply", str(file))
    assert process.stderr is not None
    while not process.stderr.readline().startswith("[1/"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("error: interrupted by SIGINT\n")
    assert not netns.names(f"nfv.{NAME}")
    assert state.load(NAME) is None


def test_who_holds_the_topology_is_said(applied: Path) -> None:
    with state.locked(NAME, pytest.fail):
        process = started("apply", NAME)
        assert process.stderr is not None
        holder = f"process {os.getpid()}"
        said = f"waiting for {holder}, which is changing this topology\n"
        assert process.stderr.readline() == said
    assert process.communicate(timeout=60)[0] == "No changes.\n"
    assert process.returncode == 0


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*NFVCTL, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_on_a_terminal_there_is_a_bar_and_a_question(file: Path) -> None:
    assert "━" in on_terminal("apply", str(file), answer="")
    try:
        assert "Destroy " in (text := on_terminal("destroy", "--all", answer="n\n"))
        assert text.rstrip().endswith("interrupted")
        assert state.load(NAME) is not None
    finally:
        nfvctl("destroy", NAME)


def on_terminal(*arguments: str, answer: str) -> str:
    """What nfvctl writes to a terminal, with something typed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*NFVCTL, *arguments], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    text = b""
    try:
        while chunk := os.read(ours, 4096):
            text += chunk
    except OSError:  # the other end is closed
        process.wait()
    os.close(ours)
    return text.decode()
