"""`nfvctl bench`: what it reports, and that it leaves everything as it was."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfv.bench.trial import Load
from nfv.cli.main import main
from nfv.dataplane.kernel import bpf, netns
from nfv.errors import ExitCode, InputError
from tests.integration.helpers import traffic
from tests.integration.helpers.benches import TO_WIRE, Site, a_bench, stamped
from tests.integration.helpers.lab import kill, nfvctl, started

pytestmark = pytest.mark.root

XDP_PASS = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = 2; exit


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with a_bench("tc") as made:
        yield made


# The command


def test_the_command_reports_what_its_trials_counted(site: Site) -> None:
    before = site.lab.statistics().ports["lan"].entered.packets
    words = ["--size", "64", "--size", "imix", "--seconds", "0.05", "--repeat", "2"]
    tests = ["--test", "throughput", "--test", "latency", "--test", "mrr"]
    done = nfvctl(
        "bench", site.lab.name, "lan", "wan", *words, *tests, "--max-pps", "20k", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["complete"], report["from"], report["to"]) == (True, "lan", "wan")
    found = [(one["test"], one["size"], one["load"]) for one in report["outcomes"]]
    each = [
        ("throughput", None),
        ("latency", 1.0),
        ("latency", 0.5),
        ("latency", 0.1),
        ("mrr", None),
    ]
    assert found == [(test, size, load) for size in ("64", "imix") for test, load in each]
    trials = [trial for one in report["outcomes"] for trial in one["trials"]]
    most = 2 * 5 * 1000 + 50  # in warm-ups of each size, as long as a trial, and in neighbours' own
    entered = site.lab.statistics().ports["lan"].entered.packets - before
    assert 0 < entered - sum(trial["sent"] for trial in trials) <= most
    for trial in trials:
        assert trial["sent"] == trial["received"] + trial["lost"]
        assert trial["sent"] + trial["unsent"] == trial["requested_frames"]


def test_the_table_names_tests_sizes_and_limits(site: Site, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    words = ["--size", "64", "--seconds", "0.05", "--repeat", "1", "--max-pps", "10k"]
    done = nfvctl("bench", site.lab.name, "lan", "wan", *words, "--html", str(report))
    assert done.returncode == 0, done.stderr
    assert "throughput" in done.stdout
    assert f"{site.lab.name}: lan to wan</h1>" in report.read_text()
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lan", "moon"], "no 'moon' for this"),
        (["lan", "wan", "--size", "63"], "63 is not a frame size"),
        (["lan", "wan", "--size", "9000"], "9000 is not a frame size"),
        (["lan", "wan", "--size", "1519"], "do not fit the MTU of lan"),
        (["lan", "lan"], "from a SAP to another one"),
        (["vm", "card"], "no IPv4 address of vm is known to send from"),
        (["lan", "wan", "--profile", "/nowhere.yaml"], "cannot read /nowhere.yaml"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    site: Site, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", site.lab.name, *words]) == ExitCode.BAD_INPUT
    assert message in capsys.readouterr().err


def test_a_profile_is_checked_with_file_and_line(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text("flows: 10\nsizes: [64, 12]\n")
    words = ["bench", site.lab.name, "lan", "wan", "--profile", str(path)]
    assert main(words) == ExitCode.BAD_INPUT
    assert f"{path}:2:13: error: sizes[1]: 12 is not a frame size" in capsys.readouterr().err


def devices(place: str) -> set[str]:
    with netns.entered(place):
        return {name for _, name in socket.if_nameindex()}


def test_a_tap_and_a_nic_are_given_back(site: Site) -> None:
    fabric = devices(site.lab.netns())
    with site.rig("vm", "card", **TO_WIRE, dst_mac="02:00:00:00:00:01") as rig:
        assert devices(site.lab.netns()) == fabric | {"bench-near", "bench-far"}
        with traffic.raw(f"{site.nic}p") as wire_end:
            wire_end.setblocking(False)
            rig.run(Load(0.05, rate=10_000))
            assert not list(stamped(wire_end, 60))  # nothing is sent by the NIC meanwhile
    assert devices(site.lab.netns()) == fabric
    assert not site.lab.lines()  # `nfvctl plan` finds everything as it should be


def test_killed_it_leaves_what_apply_mends(site: Site, tmp_path: Path) -> None:
    profile = tmp_path / "wire.yaml"
    profile.write_text("src: 10.9.0.1\ndst: 10.9.0.2\ndst_mac: 02:00:00:00:00:01\nsizes: 64\n")
    words = ["--profile", str(profile), "--test", "mrr", "--repeat", "100000"]
    process = started("bench", site.lab.name, "vm", "card", *words, "--seconds", "0.1")
    wait_for_frames(site, "card")
    kill(process.pid)
    process.communicate(timeout=traffic.PATIENCE)
    assert [line.name for line in site.lab.lines()] == ["card"]
    site.lab.apply()
    assert not site.lab.lines()
    with site.rig("vm", "card", **TO_WIRE, dst_mac="02:00:00:00:00:01") as rig:
        assert rig.run(Load(0.05, frames=100)).received == 100


def test_one_bench_at_a_time(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", site.lab.name, "lan", "wan", "--size", "64", "--test", "mrr"]
    process = started(*words, "--seconds", "0.1", "--repeat", "100000")
    wait_for_frames(site, "wan")
    assert main(words) == ExitCode.BAD_INPUT
    assert f"is being measured by process {process.pid}" in capsys.readouterr().err
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED


def wait_for_frames(site: Site, far: str) -> None:
    """Return when a bench is at work."""
    before = site.lab.statistics().ports[far].sent.packets
    deadline = time.monotonic() + 60
    while site.lab.statistics().ports[far].sent.packets < before + 10_000:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_interrupted_it_puts_everything_back_and_tells_what_it_knows(site: Site) -> None:
    fabric = devices(site.lab.netns())
    with netns.entered(site.lab.netns("wan")):
        link = subprocess.check_output(["ip", "-d", "link", "show", "dev", "eth0"])
    words = ["--size", "64", "--test", "mrr", "--seconds", "0.1", "--repeat", "100000"]
    process = started("bench", site.lab.name, "lan", "wan", *words, "--format", "json")
    wait_for_frames(site, "wan")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, err
    report = json.loads(out)
    assert (report["complete"], report["outcomes"]) == (False, [])
    assert devices(site.lab.netns()) == fabric
    with netns.entered(site.lab.netns("wan")):
        again = subprocess.check_output(["ip", "-d", "link", "show", "dev", "eth0"])
    assert again == link
    assert not site.lab.lines()
    site.lab.run("lan", "ping -n -c 1 -W 2 192.0.2.254")


def test_a_device_that_runs_another_program_is_let_be(site: Site) -> None:
    place = site.lab.netns("wan")
    program = bpf.prog_load(XDP_PASS, "other")
    with netns.entered(place):
        link = bpf.link_create(program, socket.if_nametoindex("eth0"))
    refused = pytest.raises(InputError, match="eth0 of wan runs another XDP program")
    try:
        with refused, site.rig("lan", "wan"):
            pass
        assert bpf.link_info(link)[0] == bpf.prog_info(program)[0]
    finally:
        os.close(link)
        os.close(program)
