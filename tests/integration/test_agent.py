"""The agent's life: starting, dying, being replaced, and what becomes of the maps meanwhile."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nfv.dataplane import state
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.jiffies import Jiffies
from nfv.dataplane.resident import agentctl, control, supervisor
from nfv.ebpf.tableshape import Shape
from nfv.ebpf.ticks import hz
from nfv.errors import KernelError
from tests.integration.agentbed import PUNT, Bed, running_bed, scratch_name
from tests.integration.helpers.waiting import until

pytestmark = pytest.mark.root

NEXT_HOP = "192.0.2.254"
MAC = "02:00:00:00:00:09"


@pytest.fixture
def bed() -> Iterator[Bed]:
    bed = Bed(scratch_name("agent"))
    try:
        bed.build()
        bed.ip(f"neigh add {NEXT_HOP} lladdr {MAC} dev wan")
        bed.ip(f"route add 198.51.100.0/24 via {NEXT_HOP}")
        yield bed
    finally:
        bed.remove()


@pytest.fixture
def running(bed: Bed) -> Bed:
    agentctl.start(bed.name)
    return bed


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it is so."""
    until(condition, seconds)


def supervisor_pid(bed: Bed) -> int:
    return int((state.directory(bed.name) / supervisor.LOCK).read_text())


def has_ended(process: int) -> bool:
    """Whether a process has, or does shortly, by its pidfd, which is closed."""
    readable, _, _ = select.select([process], [], [], 5)
    os.close(process)
    return bool(readable)


def log(bed: Bed) -> str:
    return (state.directory(bed.name) / supervisor.LOG).read_text()


def has_successor(bed: Bed, pid: int) -> bool:
    """Whether another agent than the one with this number answers."""
    status = agentctl.status(bed.name)
    return status is not None and status["pid"] != pid


def test_when_start_returns_the_maps_are_in_step(running: Bed) -> None:
    assert running.lookup("198.51.100.7") == running.via("wan", MAC)
    assert running.interface(0) == (running.mac("lan"), 1)
    assert running.interface(1) == (running.mac("wan"), 1)
    router = running.router()
    assert router["mode"] == "fast"
    assert router["adjacencies"] == 4, "of the route, the neighbour and two links"


def test_there_is_one_agent_however_often_it_is_started(bed: Bed) -> None:
    starts = [threading.Thread(target=agentctl.start, args=(bed.name,)) for _ in range(4)]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join()

    pid = bed.agent_pid()
    agentctl.ensure(bed.name)
    assert bed.agent_pid() == pid
    assert log(bed).count("generation 1") == 1


def test_stop_ends_both_processes_and_forwarding_goes_on(running: Bed) -> None:
    processes = [os.pidfd_open(pid) for pid in (running.agent_pid(), supervisor_pid(running))]

    agentctl.stop(running.name)

    assert [has_ended(process) for process in processes] == [True, True]
    assert agentctl.status(running.name) is None
    assert not agentctl.is_running(running.name)
    assert running.lookup("198.51.100.7") == running.via("wan", MAC)
    agentctl.stop(running.name)  # once more is no error


def test_a_killed_agent_is_replaced_and_no_packet_notices(running: Bed) -> None:
    expected, seen, ended = running.via("wan", MAC), set(), threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.add(running.lookup("198.51.100.7"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(3):
            pid = running.agent_pid()
            os.kill(pid, signal.SIGKILL)
            eventually(partial(has_successor, running, pid))
    finally:
        ended.set()
        watcher.join()
    assert seen == {expected}
    assert "ended by SIGKILL" in log(running)


def test_what_changed_while_no_agent_ran_is_taken_over(running: Bed) -> None:
    agentctl.stop(running.name)
    running.ip("route del 198.51.100.0/24")
    running.ip(f"route add 203.0.113.0/24 via {NEXT_HOP}")

    agentctl.start(running.name)

    assert running.lookup("198.51.100.7") == PUNT
    assert running.lookup("203.0.113.7") == running.via("wan", MAC)


def test_an_agent_ends_with_its_supervisor(running: Bed) -> None:
    agent, parent = (os.pidfd_open(pid) for pid in (running.agent_pid(), supervisor_pid(running)))

    signal.pidfd_send_signal(parent, signal.SIGKILL)
    assert has_ended(parent)
    agentctl.start(running.name)

    assert has_ended(agent)
    running.ip("route del 198.51.100.0/24")
    running.sync()
    assert running.lookup("198.51.100.7") == PUNT


def test_a_number_in_the_lock_file_is_not_believed_without_the_lock(bed: Bed) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (state.directory(bed.name) / supervisor.LOCK).write_text(str(victim.pid))

    agentctl.stop(bed.name)

    assert victim.poll() is None
    victim.communicate(b"\n")
    assert victim.returncode == 0


def test_reload_follows_the_state(running: Bed) -> None:
    former = running.port("gw:wan")
    running.ports = {"lan": 11, "wan": 12, "gw:lan": 13, "gw:wan": 14}
    running.store()

    agentctl.reload(running.name)

    hop = running.lookup("198.51.100.7")
    assert (hop.egress, hop.tx) == (14, 12)
    assert former != 14


def test_reload_starts_an_agent_that_does_not_run(bed: Bed) -> None:
    agentctl.reload(bed.name)

    assert bed.lookup("198.51.100.7") == bed.via("wan", MAC)


def test_maps_that_were_replaced_are_filled(running: Bed) -> None:
    running.remove_maps()
    running.make_maps()
    assert running.lookup("198.51.100.7") == PUNT

    agentctl.reload(running.name)

    assert running.lookup("198.51.100.7") == running.via("wan", MAC)


def test_a_deleted_namespace_is_let_go_and_its_successor_followed(running: Bed) -> None:
    pid = running.agent_pid()
    netns.delete(running.netns)
    eventually(lambda: running.router()["mode"] == "kernel")
    assert "lost namespace" in str(running.router()["why"])
    assert running.lookup("198.51.100.7") == PUNT

    running.make_namespace()
    running.ip(f"neigh add {NEXT_HOP} lladdr {MAC} dev wan")
    agentctl.reload(running.name)

    assert running.lookup(NEXT_HOP) == running.via("wan", MAC)
    assert running.agent_pid() == pid


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b"7",
        b'"status"',
        b'{"do": ["status"]}',
        b'{"do": "dance"}',
        b'{"done": 1}',
        b"\xff\xfe\0",
        b"[" * 50_000,
    ],
)
def test_malformed_requests_get_an_answer(running_once: Bed, line: bytes) -> None:
    with connected(running_once) as connection:
        connection.sendall(line + b"\n")
        answer = json.loads(connection.makefile("rb").readline())

    assert list(answer) == ["error"]
    running_once.sync()


def test_a_request_without_an_end_is_cut_off(running_once: Bed) -> None:
    with connected(running_once) as connection, pytest.raises(OSError, match=r"Broken|reset"):
        connection.sendall(b"x" * (1 << 24))
    running_once.sync()


def test_requests_in_pieces_and_several_at_a_time(running_once: Bed) -> None:
    with connected(running_once) as connection, connection.makefile("rb") as stream:
        for piece in (b'{"do"', b': "sync"}\n{"do": "status"}\n{"do":', b' "sync"}\n'):
            connection.sendall(piece)
        keys = [set(json.loads(stream.readline())) for _ in range(3)]

    assert keys[0] == keys[2] == {"generation", "failures"}
    assert {"pid", "routers", "connections"} <= keys[1]


@pytest.fixture(scope="module")
def running_once() -> Iterator[Bed]:
    with running_bed("control") as bed:
        yield bed


def connected(bed: Bed) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10)
    connection.connect(os.fspath(state.directory(bed.name) / control.SOCKET))
    return connection


def test_only_root_may_ask(running_once: Bed) -> None:
    path = state.directory(running_once.name) / control.SOCKET

    assert path.stat().st_mode & 0o777 == 0o600


def test_next_hops_beyond_the_last_number_are_the_kernels_until_others_go() -> None:
    hops = range(40)  # of 28 that a bank has numbers for, besides those of all
    bed = Bed(scratch_name("hops"), adjacencies=64)

    def mac(hop: int) -> str:
        return f"02:00:00:00:01:{hop:02x}"

    def forwarded() -> list[int]:
        found = {hop: bed.lookup(f"198.51.{hop}.7") for hop in hops}
        fast = [hop for hop, way in found.items() if way != PUNT]
        assert [found[hop] for hop in fast] == [bed.via("wan", mac(hop)) for hop in fast]
        return fast

    try:
        bed.build()
        agentctl.start(bed.name)
        bed.batch([f"neigh add 192.0.2.{100 + hop} lladdr {mac(hop)} dev wan" for hop in hops])
        bed.batch([f"route add 198.51.{hop}.0/24 via 192.0.2.{100 + hop}" for hop in hops])
        bed.sync()
        first = forwarded()
        assert 0 < len(first) < len(hops)
        assert not bed.router()["why"]

        gone = first[: len(first) // 2] + [hop for hop in hops if hop not in first][:4]
        bed.batch([f"route del 198.51.{hop}.0/24" for hop in gone])
        bed.batch([f"neigh del 192.0.2.{100 + hop} dev wan" for hop in gone])
        bed.sync()
        assert forwarded() == [hop for hop in hops if hop not in gone]
    finally:
        bed.remove()


@pytest.mark.parametrize(
    ("version", "pool_bits", "prefixes", "via"),
    [
        (4, 11, [f"20.{number}.1.0/24" for number in range(200)], NEXT_HOP),
        (6, 8, [f"2001:db8:{number}:100::/56" for number in range(1000, 1200)], "2001:db8:2::254"),
    ],
)
def test_a_full_table_leaves_its_version_to_the_kernel(
    version: int, pool_bits: int, prefixes: list[str], via: str
) -> None:
    bed = Bed(scratch_name("full"), shape=Shape(16, pool_bits))
    try:
        bed.build()
        agentctl.start(bed.name)
        for gateway in (NEXT_HOP, "2001:db8:2::254"):
            bed.ip(f"neigh add {gateway} lladdr {MAC} dev wan")
        bed.ip(f"-{version} route add default via {via}")
        bed.batch([f"route add {prefix} via {via}" for prefix in prefixes])
        bed.sync()

        full = prefixes[-1].partition("/")[0]
        other = "2001:db8:2::254" if version == 4 else NEXT_HOP
        assert bed.lookup(full) == PUNT
        assert bed.lookup(other) == bed.via("wan", MAC), "the other version goes on"
        assert bed.router()["why"] == f"IPv{version}: the table is full"

        bed.batch([f"route del {prefix}" for prefix in prefixes[10:]])
        bed.sync()
        assert bed.router()["mode"] == "fast"
        hop = bed.via("wan", MAC)
        assert [bed.lookup(prefix.partition("/")[0]) for prefix in prefixes] == [hop] * 200
    finally:
        bed.remove()


def test_more_changes_than_the_agent_can_follow(running: Bed) -> None:
    """The kernel drops what the agent has not read in time, so that it has to list everything."""
    count = 100_000
    running.batch(
        [
            f"route add {20 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24 via {NEXT_HOP}"
            for n in range(count)
        ]
    )
    running.sync()

    hop = running.via("wan", MAC)
    assert {running.lookup(f"{20 + (n >> 8)}.{n & 255}.9.1") for n in range(count >> 8)} == {hop}


def test_idle_connections_are_removed(bed: Bed) -> None:
    clock = Jiffies()
    now = clock._now
    clock.close()
    fresh, idle = now, (now - 31 * hz()) & 0xFFFFFFFF
    table = Map.open(bed.pins.with_name("fw") / "connections4")
    keys = [struct.pack("=IIHHI", 1, 2, 3, port, 17) for port in (4, 5)]
    for key, seen in zip(keys, (fresh, idle), strict=True):
        table.update(key, struct.pack("=IIBB2xI", seen, 0, 0, 0, seen))

    agentctl.start(bed.name)
    eventually(lambda: occupancy(bed) == 1)

    assert [table.lookup(key) is None for key in keys] == [False, True]
    table.close()


def occupancy(bed: Bed) -> int | None:
    """Connections in use, None until they were counted."""
    status = agentctl.status(bed.name)
    assert status is not None
    connections: Any = status["connections"]
    used: int | None = connections.get("fw", {}).get("connections4", {}).get("used")
    return used


def test_a_topology_that_is_not_applied_has_no_agent() -> None:
    with pytest.raises(KernelError, match="not applied"):
        agentctl.start(scratch_name("absent"))


def test_the_log_says_why_an_agent_does_not_start(bed: Bed) -> None:
    (state.directory(bed.name) / "state.json").unlink()

    with pytest.raises(KernelError, match=r"does not start:(.|\n)*is not applied"):
        agentctl.start(bed.name)

    assert not agentctl.is_running(bed.name)


def test_the_log_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    written = supervisor.Log(path)
    line = b"info: " + b"x" * 1000 + b"\n"
    for _ in range(3000):
        written.write(line)

    assert {file.name for file in tmp_path.iterdir()} == {"agent.log", "agent.log.1"}
    assert all(file.stat().st_size <= 1 << 20 for file in tmp_path.iterdir())
