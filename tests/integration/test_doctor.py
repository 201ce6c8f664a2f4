"""The examination of a machine: on this one, and with one thing at a time taken away."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from nfv.dataplane import doctor, state
from nfv.dataplane.change import leftovers
from nfv.dataplane.change.leftovers import Leftover
from nfv.dataplane.doctor import Finding
from nfv.dataplane.kernel import bpf, headers

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
PRINT = """
import dataclasses, json
from nfv.dataplane import doctor
print(json.dumps([dataclasses.asdict(finding) for finding in doctor.examine()]))
"""


def shell(command: str) -> None:
    subprocess.run(["sh", "-ec", command], check=True)


def examined() -> dict[str, Finding]:
    return {finding.check: finding for finding in doctor.examine()}


def examined_in(*wrapper: str) -> dict[str, Finding]:
    """What the doctor finds in a process that a command line started."""
    command = [*wrapper, sys.executable, "-c", PRINT]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {item["check"]: Finding(**item) for item in json.loads(output)}


def test_this_machine_is_ready() -> None:
    findings = examined()
    found_ill = [f for f in findings.values() if f.status != "ok" and f.check != "leftovers"]
    assert found_ill == []
    assert findings["kernel"].detail == platform.release()
    assert findings["kernel headers"].detail == str(headers.find())


def test_examination_leaves_nothing() -> None:
    before = subprocess.check_output(["ip", "-json", "link"])
    doctor.examine()
    assert subprocess.check_output(["ip", "-json", "link"]) == before


def test_without_capabilities() -> None:
    findings = examined_in("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
    assert findings["privileges"].detail == "CAP_NET_ADMIN and CAP_SYS_ADMIN missing"
    ill = {check for check, finding in findings.items() if finding.status == "fail"}
    assert {"privileges", "BPF programs", "native XDP on veth"} <= ill


def test_without_bpffs() -> None:
    unmounted = 'umount /sys/fs/bpf; exec "$@"'
    bpffs = examined_in("unshare", "--mount", "sh", "-c", unmounted, "sh")["BPF file system"]
    assert (bpffs.status, bpffs.mend) == ("fail", "mount -t bpf bpf /sys/fs/bpf")


def test_with_bpffs_mended() -> None:
    mended = 'umount /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf; exec "$@"'
    bpffs = examined_in("unshare", "--mount", "sh", "-c", mended, "sh")["BPF file system"]
    assert bpffs.status == "ok"


def test_without_taps() -> None:
    hidden = 'mount -t tmpfs tmpfs /dev/net; exec "$@"'
    taps = examined_in("unshare", "--mount", "sh", "-c", hidden, "sh")["tap devices"]
    assert (taps.status, taps.mend) == ("warn", "modprobe tun")


def test_with_few_open_files() -> None:
    limit = examined_in("prlimit", "--nofile=256")["open files"]
    assert (limit.status, limit.mend) == ("warn", "ulimit -n 1024")


def test_old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "5.10.0-32-amd64")
    kernel = examined()["kernel"]
    assert kernel.status == "fail"
    assert "older than 5.15" in kernel.detail
    assert kernel.mend == f"apt-get install {headers.package().replace('headers', 'image')}"


def test_program_that_is_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "prog_info", lambda _fd: (1, "nfv_doctor", 0))
    programs = examined()["BPF programs"]
    assert (programs.status, programs.mend) == ("warn", "sysctl -w net.core.bpf_jit_enable=1")


def test_bcc_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)
    bcc = examined()["bcc"]
    assert (bcc.status, bcc.mend) == ("fail", "scripts/setup")


def test_another_package_named_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("bcc")
    other.__file__ = "elsewhere/bcc.py"
    monkeypatch.setitem(sys.modules, "bcc", other)
    bcc = examined()["bcc"]
    assert (bcc.status, bcc.mend) == ("fail", "pip uninstall bcc")
    assert "elsewhere/bcc.py" in bcc.detail


def test_headers_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(headers, "MODULES", tmp_path)
    monkeypatch.setattr(headers, "KHEADERS", tmp_path / "none")
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    found = examined()["kernel headers"]
    assert (found.status, found.mend) == ("fail", f"apt-get install {headers.package()}")


def test_tools_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ip").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    tools = examined()["tools"]
    assert tools.status == "warn"
    assert tools.mend is not None
    wanted = {package for tool, package in doctor.TOOLS.items() if tool != "ip"}
    assert set(tools.mend.removeprefix("apt-get install ").split()) == wanted


def test_setup_installs_every_tool() -> None:
    installed = (ROOT / "scripts" / "setup").read_text().split("packages=(")[1].split(")")[0]
    assert set(doctor.TOOLS.values()) <= set(installed.split())


@pytest.fixture
def topology(worker_id: str) -> Iterator[str]:
    """The name of a topology that is not applied; what bears it is removed afterwards."""
    name = f"doctor-{worker_id}"
    yield name
    shell(
        f"for place in nfv.{name} {name}; do"
        f"  [ ! -e /run/netns/$place ] || ip netns delete $place; done;"
        f"for path in {state.RUN / name} {state.PINS / name} {state.RUN / name}.lock; do"
        f"  [ ! -e $path ] || rm -r $path; done"
    )


def leftovers_of(topology: str) -> list[Leftover]:
    return [leftover for leftover in leftovers.find() if topology in leftover.what]


def assert_cleared_by_command(topology: str, command: str) -> None:
    assert [leftover.command for leftover in leftovers_of(topology)] == [command]
    shell(command)
    assert leftovers_of(topology) == []


def test_namespace_of_no_topology(topology: str) -> None:
    shell(f"ip netns add nfv.{topology}; ip -n nfv.{topology} link set lo alias nfv:{topology}")
    assert_cleared_by_command(topology, f"ip netns delete nfv.{topology}")


def test_namespace_without_mark_is_not_ours(topology: str) -> None:
    shell(f"ip netns add nfv.{topology}")
    assert leftovers_of(topology) == []


def test_device_of_no_topology(topology: str) -> None:
    shell(
        f"ip netns add {topology}; ip -n {topology} link add left type veth peer name right;"
        f"ip -n {topology} link set left alias nfv:{topology}:lan"
    )
    assert_cleared_by_command(topology, f"ip -n {topology} link delete dev left")


def test_physical_device_loses_only_the_mark(topology: str) -> None:
    shell(f"ip netns add {topology}; ip -n {topology} link set lo alias nfv:{topology}")
    assert_cleared_by_command(topology, f"ip -n {topology} link set dev lo alias ''")


@pytest.mark.parametrize("parent", [state.RUN, state.PINS])
def test_directory_of_no_topology(topology: str, parent: Path) -> None:
    (parent / topology).mkdir(parents=True)
    assert_cleared_by_command(topology, f"rm -r {parent / topology}")


def test_applied_topology_leaves_nothing(topology: str) -> None:
    shell(f"ip netns add nfv.{topology}; ip -n nfv.{topology} link set lo alias nfv:{topology}")
    (state.PINS / topology).mkdir(parents=True)
    (state.RUN / topology).mkdir(parents=True)
    (state.RUN / topology / "state.json").write_text("{}")
    assert leftovers_of(topology) == []


def test_topology_being_applied_leaves_nothing(topology: str) -> None:
    (state.PINS / topology).mkdir(parents=True)
    with state.locked(topology, waiting=pytest.fail):
        assert leftovers_of(topology) == []
    assert len(leftovers_of(topology)) == 1


def test_leftover_is_a_warning_with_its_command(topology: str) -> None:
    (state.RUN / topology).mkdir(parents=True)
    path = state.RUN / topology
    detail = f"state directory {topology} belongs to no applied topology"
    assert Finding("leftovers", "warn", detail, f"rm -r {path}") in doctor.examine()
