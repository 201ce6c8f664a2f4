"""Leases outlive whatever ends the process that gave them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from nfv.errors import NfvError
from nfv.services.dhcp.leases import KIND4, Lease, Lease4, Leases4, State
from nfv.services.dhcp.wire import Type
from tests.services.dhcpbed import DEFAULT, SERVER, START, Bed

LEASE = Lease(
    IPv4Address("10.0.1.100"), State.BOUND, b"h1", b"\2abcde", "one", b"\1\1x", "lan", 1.0, 9.0, 9.0
)

_WRITER = """
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from nfv.services.dhcp.leases import KIND4, Leases4
from tests.services.test_dhcp_leases import LEASE
leases = Leases4(Path(sys.argv[1]), KIND4)
number = 0
while True:
    for _ in range(8):
        number += 1
        leases.put(replace(LEASE, address=IPv4Address(number), client=str(number).encode()))
    leases.commit()
    print(number, flush=True)
"""


def read(path: Path) -> list[Lease4]:
    leases = Leases4(path, KIND4)
    found = list(leases)
    leases.close()
    return found


def test_what_is_committed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    leases = Leases4(path, KIND4)
    leases.put(LEASE)
    leases.put(replace(LEASE, address=IPv4Address("10.0.1.101"), state=State.OFFERED))
    assert [lease for _, lease in leases.commit()] == list(leases)

    assert read(path) == [LEASE]  # nothing of what was only offered


def test_what_is_not_committed_is_not(tmp_path: Path) -> None:
    leases = Leases4(tmp_path / "leases.sqlite", KIND4)
    leases.put(LEASE)

    assert read(tmp_path / "leases.sqlite") == []


def test_a_killed_process_loses_nothing_that_it_has_committed(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert writer.stdout is not None
    last = 0
    while last < 400:
        last = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    said = [int(line) for line in writer.communicate()[0].split()]
    last = max([last, *said])

    found = {int(lease.address) for lease in read(path)}
    assert found >= set(range(1, last + 1))


def test_a_store_that_cannot_be_written_gives_nothing_away(tmp_path: Path) -> None:
    leases = Leases4(tmp_path / "leases.sqlite", KIND4)
    leases.put(LEASE)
    leases.commit()
    leases.put(replace(LEASE, client=b"h2"))
    leases.put(replace(LEASE, address=IPv4Address("10.0.1.101")))
    other = sqlite3.connect(tmp_path / "leases.sqlite")
    other.execute("DROP TABLE leases")
    other.commit()

    with pytest.raises(NfvError, match="cannot be written"):
        leases.commit()
    assert list(leases) == [LEASE]
    assert leases.of(b"h2") == []


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"x" * 999])
def test_a_damaged_store_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "leases.sqlite"
    path.write_bytes(content)

    with pytest.raises(NfvError, match=r"leases\.sqlite cannot be used"):
        Leases4(path, KIND4)


def test_a_store_of_another_version_says_so(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 7")
    database.commit()

    with pytest.raises(NfvError, match="it is of version 7"):
        Leases4(path, KIND4)


def test_a_server_that_starts_again_knows_its_clients(tmp_path: Path) -> None:
    bed = Bed(tmp_path / "leases.sqlite")
    address = bed.bind(1)
    bed.send(Type.DISCOVER, 2)
    bed.start()

    assert [lease.address for lease in bed.leases] == [address]
    ack = bed.send(Type.REQUEST, 1, ciaddr=str(address))
    assert ack is not None
    assert ack.message.type is Type.ACK
    assert bed.bind(2) != address


def test_an_offer_is_honoured_by_the_server_that_starts_again(tmp_path: Path) -> None:
    bed = Bed(tmp_path / "leases.sqlite")
    offer = bed.send(Type.DISCOVER, 2)
    assert offer is not None
    bed.start()

    ack = bed.send(Type.REQUEST, 2, o50=offer.message.yiaddr, o54=SERVER)
    assert ack is not None
    assert ack.message.type is Type.ACK


def test_other_pools_leave_leases_alone(tmp_path: Path) -> None:
    bed = Bed(tmp_path / "leases.sqlite")
    kept = bed.bind(1)
    bed.configure(DEFAULT.replace("10.0.1.100-10.0.1.103", "10.0.1.50-10.0.1.120"))

    assert bed.bind(1) == kept
    assert bed.lease(kept).starts == START
    assert len({bed.bind(number) for number in range(20)}) == 20


def test_many_leases_do_not_run_out_in_one_go(tmp_path: Path) -> None:
    """So that messages are answered meanwhile."""
    leases = Leases4(tmp_path / "leases.sqlite", KIND4)
    for number in range(1300):
        leases.put(replace(LEASE, address=IPv4Address(number), client=str(number).encode()))
    ended = []
    while leases.is_behind(LEASE.ends):
        ended.append(len(leases.expire(LEASE.ends, lambda lease: lease.ends)))
        leases.commit()
    leases.close()

    assert ended == [512, 512, 276]
    assert {lease.state for lease in read(tmp_path / "leases.sqlite")} == {State.RELEASED}
