"""Switches and hubs on real wires: what they learn, whom they keep out, what is behind a port."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nfv.chain.sap import Hook
from nfv.dataplane import inspection, state
from nfv.dataplane.kernel.bpf import Map
from nfv.ebpf.stations import Bond, Lan, Station, stations
from nfv.ebpf.ticks import hz
from tests.integration.helpers import segment, traffic
from tests.integration.helpers.lab import Lab, applied, nfvctl
from tests.integration.helpers.segment import BROADCAST, Segment, Way, frame, group, mac
from tests.integration.test_dhcp import addresses, until

pytestmark = pytest.mark.root

A, B, C = mac(1), mac(2), mac(3)
_DATA = bytes(range(256)) * 4096
WAYS: list[Way] = [("1", None), ("2", None)]


def lan(switch: str, hook: str = "tc", hosts: int = 3) -> str:
    """A switch with hosts at its first ports."""
    names = range(1, hosts + 1)
    saps = [f"  h{n}: {{kind: host, ip: 10.0.0.{n}/24, hook: {hook}}}" for n in names]
    chains = [f'  c{n}: {{path: [h{n}, "sw:{n}"]}}' for n in names]
    return "\n".join(["name: lan", "saps:", *saps, "vnfs:", f"  sw: {switch}", "chains:", *chains])


@contextmanager
def wired(text: str) -> Iterator[tuple[Lab, Segment]]:
    """The topology applied, and the wires of the first three hosts by their ports."""
    with applied(text, "switch") as lab:
        places = {str(n): (lab.netns(f"h{n}"), "eth0") for n in (1, 2, 3)}
        with segment.segment(places) as wires:
            yield lab, wires


@contextmanager
def opened(lab: Lab) -> Iterator[Lan]:
    """What the switch knows."""
    directory = lab.pins / "vnf" / "sw"
    maps = {name: Map.open(directory / name) for name in ("stations", "counts", "lans")}
    counts, lans = (memoryview(maps[name].memory()) for name in ("counts", "lans"))
    try:
        yield Lan(maps["stations"], counts, lans)
    finally:
        for found in maps.values():
            found.close()


def known(lab: Lab) -> dict[str, tuple[object, object]]:
    """Port and kind of the stations that tests are, by address."""
    applied_ = state.load(lab.name)
    assert applied_ is not None
    rows = inspection.rows(applied_, "sw")
    return {
        str(row["mac"]): (row["port"], row["kind"])
        for row in rows
        if str(row["mac"]).startswith("02:00:00:00")
    }


def text_of(station: bytes) -> str:
    return station.hex(":")


def test_learns_moves_and_flushes() -> None:
    with wired(lan("{type: switch, ports: 3}")) as (lab, wires):
        got = wires.exchange([("1", frame(B, A)), ("2", frame(A, B))], 0, WAYS)
        assert not got["1"].keys() - {frame(A, B)}
        assert got["1"] == {frame(A, B): 1}  # known by now
        assert got["2"] == got["3"] == {frame(B, A): 1}  # flooded
        assert known(lab) == {text_of(A): ("1", "learned"), text_of(B): ("2", "learned")}
        got = wires.exchange([("3", frame(B, A)), ("2", frame(A, B))], 1, WAYS)
        assert (got["1"], got["2"], got["3"]) == ({}, {frame(B, A): 1}, {frame(A, B): 1})
        told = nfvctl("tell", lab.name, "sw", "flush", "port=3", "--format", "json")
        (row,) = json.loads(told.stdout)
        assert row["flushed"] in (1, 2)  # the host there may have spoken by itself
        assert known(lab) == {text_of(B): ("2", "learned")}
        got = wires.exchange([("2", frame(A, B))], 2, WAYS)
        assert got["1"] == got["3"] == {frame(A, B): 1}
        refused = nfvctl("tell", lab.name, "sw", "flush", "door=3")
        assert (refused.returncode, "there is no 'door' here" in refused.stderr) == (3, True)


def test_frames_stay_as_they_are_and_in_order() -> None:
    with wired(lan("{type: switch, ports: 3}")) as (_, wires):
        wires.exchange([("2", frame(A, B))], 0, WAYS)
        for far in (B, C):  # to the port of one station, then to all others
            sent = [frame(far, A, number.to_bytes(4, "big")) for number in range(1000)]
            with traffic.alone():
                for data in sent:
                    wires.wires["1"].send(data)
            received = (wires.wires["2"].receive() for _ in itertools.count())
            assert list(itertools.islice(filter(None, received), len(sent))) == sent


def test_a_silent_station_is_unknown_after_its_time() -> None:
    with wired(lan("{type: switch, ports: 3, ageing: 300}")) as (lab, wires):
        wires.exchange([("1", frame(B, A)), ("2", frame(A, B))], 0, WAYS)
        with opened(lab) as found:
            for age, flooded in ((290, False), (302, True)):
                (there,) = (one for one in stations(found.table) if one.mac == text_of(A))
                seen = (there.seen - age * hz()) & 0xFFFFFFFF
                silent = Station(there.mac, 0, there.port, seen, Bond(0))
                found.table.update(silent.name, silent.value)
                found.remove([Station(text_of(B), 0, 1, 0, Bond(0))])  # nothing is remembered
                got = wires.exchange([("2", frame(A, B))], age, WAYS)
                assert got["1"] == {frame(A, B): 1}
                assert bool(got["3"]) == flooded
                wires.exchange([("1", frame(C, A))], 1000 + age, WAYS)
            swept = list(stations(found.table))
            for _ in found.sweep(300, lambda seen: 301.0 if seen == swept[0].seen else 0.0):
                pass
            assert swept[0].name not in {one.name for one in stations(found.table)}


def test_a_port_has_no_more_stations_than_it_may() -> None:
    ports = "{1: {}, 2: {limit: 2}, 3: {}}"
    with wired(lan(f"{{type: switch, ports: {ports}}}")) as (lab, wires):
        # The host may have spoken by itself before its device was a wire's end.
        assert nfvctl("tell", lab.name, "sw", "flush", "port=2").returncode == 0
        sent = [("2", frame(A, mac(number))) for number in (10, 11, 12, 10)]
        before = lab.statistics()
        got = wires.exchange(sent, 0, [("1", None), ("3", None)])
        assert got["1"] == {frame(A, mac(10)): 2, frame(A, mac(11)): 1}
        ended = lab.statistics().since(before).vnfs["sw"].ended
        assert ended["station"].packets >= 1
        told = nfvctl("tell", lab.name, "sw", "flush", f"mac={text_of(mac(10))}")
        assert told.returncode == 0
        got = wires.exchange([("2", frame(A, mac(12)))], 1, [("1", None), ("3", None)])
        assert got["1"] == {frame(A, mac(12)): 1}


def test_bound_stations_stay_at_their_port() -> None:
    static = f"[{{mac: {text_of(A)}, port: 1}}]"
    ports = "{1: {}, 2: {sticky: true}, 3: {}}"
    text = lan(f"{{type: switch, ports: {ports}, static: {static}}}")
    with wired(text) as (lab, wires):
        got = wires.exchange([("2", frame(A, B)), ("3", frame(C, A)), ("3", frame(A, B))], 0, WAYS)
        assert (got["1"], got["2"], got["3"]) == ({frame(A, B): 1}, {}, {})
        assert known(lab) == {text_of(A): ("1", "static"), text_of(B): ("2", "sticky")}
        lab.edit(f", static: {static}", "")
        lab.edit("sticky: true", "sticky: false")
        (line,) = lab.lines()
        assert line.mode == "live"
        lab.apply()
        assert known(lab) == {text_of(B): ("2", "learned")}
        wires.exchange([("3", frame(C, B))], 1, WAYS)
        assert known(lab) == {text_of(B): ("3", "learned")}


@pytest.mark.parametrize(
    ("kind", "far", "other"),
    [("broadcast", BROADCAST, C), ("multicast", group(1), C), ("unknown", C, BROADCAST)],
)
def test_what_a_port_floods_is_limited(kind: str, far: bytes, other: bytes) -> None:
    """A tenth of a second's frames at once, of which the host itself may take a few."""
    ports = f"{{1: {{storm: {{{kind}: 100}}}}, 2: {{}}, 3: {{}}}}"
    with wired(lan(f"{{type: switch, ports: {ports}}}")) as (lab, wires):
        before, began = lab.statistics(), time.monotonic()
        sent = [("1", frame(far, A, bytes([number]))) for number in range(200)]
        got = wires.exchange([*sent, ("1", frame(other, A))], 0, [("2", None), ("3", None)])
        passed = got["2"].total() - 1
        assert got["2"][frame(other, A)] == 1  # of another kind
        assert 1 <= passed <= 11 + 100 * (time.monotonic() - began)
        ended = lab.statistics().since(before).vnfs["sw"].ended
        assert ended["storm"].packets >= 200 - passed


def test_addresses_of_bridge_protocols_go_no_further() -> None:
    """IEEE 802.1Q, table 8-1: 01-80-C2-00-00-00 to -0F, and no other."""
    with wired(lan("{type: switch, ports: 3}")) as (lab, wires):
        before = lab.statistics()
        near = [bytes((1, 0x80, 0xC2, 0, 0, last)) for last in range(16)]
        far = [bytes((1, 0x80, 0xC2, 0, 0, 16)), bytes((1, 0x80, 0xC2, 0, 1, 0))]
        got = wires.exchange([("1", frame(dst, A)) for dst in (*near, *far)], 0, WAYS)
        assert got["1"] == {}
        assert got["2"] == got["3"] == {frame(dst, A): 1 for dst in far}
        ended = lab.statistics().since(before).vnfs["sw"].ended
        assert ended["reserved"].packets == len(near)


def test_a_group_is_no_station() -> None:
    """What claims to come from a group is dropped and not learned: the group stays flooded."""
    with wired(lan("{type: switch, ports: 3}")) as (lab, wires):
        before = lab.statistics()
        sent = [("1", frame(B, group(1))), ("1", frame(B, bytes(6))), ("2", frame(group(1), B))]
        got = wires.exchange(sent, 0, WAYS)
        assert got["1"] == got["3"] == {frame(group(1), B): 1}
        assert got["2"] == {}
        assert known(lab) == {text_of(B): ("2", "learned")}
        assert lab.statistics().since(before).vnfs["sw"].ended["source"].packets == 2


@pytest.mark.parametrize("hook", Hook, ids=lambda hook: hook.name)
def test_many_ports_and_stations(hook: Hook) -> None:
    """64 ports, 100,000 stations: all are known, and one more is flooded without being learned."""
    switch = "{type: switch, ports: 64, stations: 100000}"
    with wired(lan(switch, hook.value)) as (lab, wires):
        many = [mac(1 << 20 | number) for number in range(100_000)]
        wires.exchange([], 0, WAYS)  # the markers, which take no room of the others
        with opened(lab) as found:
            found.remove(list(stations(found.table)))
            for number, station in enumerate(many):
                wires.wires["1"].send(frame(B, station, size=14))
                if number % 500 == 0:
                    wires.drain()
            wires.drain()
            assert sum(1 for _ in stations(found.table)) == len(many)
        got = wires.exchange([("2", frame(many[77], B)), ("3", frame(B, C))], 1, WAYS)
        assert got["1"] == {frame(many[77], B): 1, frame(B, C): 1}
        assert got["2"] == {frame(B, C): 1}


MIXED = """
name: mixed
saps:
  a: {kind: host, hook: HOOK, ip: [10.0.0.1/24, 2001:db8::1/64], gateway: 10.0.0.254}
  b: {kind: host, ip: [10.0.0.2/24, 2001:db8::2/64], gateway: 10.0.0.254}
  c: {kind: host, ip: [10.0.0.3/24, 2001:db8::3/64], gateway: 10.0.0.254}
  wan: {kind: host, ip: 192.0.2.2/24, gateway: 192.0.2.1}
vnfs:
  sw: {type: switch, ports: 24}
  hub: {type: hub, ports: 4}
  fw: {type: firewall, default: reject, rules: [{action: accept, proto: [icmp, icmpv6]},
       {action: accept, proto: tcp, dport: 80}]}
  gw: {type: router, interfaces: {lan: {ip: 10.0.0.254/24}, wan: {ip: 192.0.2.1/24}}}
chains:
  a: {path: [a, "sw:1"]}
  b: {path: [b, fw, "sw:2"]}
  c: {path: [c, "hub:1"]}
  hub: {path: ["hub:2", "sw:3"]}
  lan: {path: ["sw:24", "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
"""


@pytest.fixture(scope="module", params=Hook, ids=lambda hook: hook.name)
def mixed(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with applied(MIXED.replace("HOOK", request.param.value), "mixed") as lab:
        yield lab


@pytest.mark.parametrize("near", ["a", "b", "c"])
def test_hosts_behind_functions_hubs_and_routers_reach_each_other(mixed: Lab, near: str) -> None:
    for far in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.254", "192.0.2.2", "2001:db8::2"):
        mixed.run(near, f"ping -n -c 2 -i 0.01 -W 2 {far}")
    for size in (0, 1400, 4000):
        mixed.run(near, f"ping -n -c 1 -W 2 -s {size} 192.0.2.2")
    mixed.run("wan", "ping -n -c 1 -W 2 10.0.0.3")


def test_bulk_over_a_switch(mixed: Lab) -> None:
    for near, far, address in (("a", "c", "10.0.0.3"), ("a", "wan", "192.0.2.2")):
        client, server = traffic.transfer(mixed.netns(near), mixed.netns(far), address, 80, _DATA)
        traffic.send(server, client, _DATA)
        client.close()
        server.close()
    assert not any(traffic.checksum_errors(mixed.netns(host)) for host in ("a", "c", "wan"))


def test_a_firewall_behind_a_port_rejects_through_the_switch(mixed: Lab) -> None:
    b = mixed.netns("b")
    with traffic.listener(b, "10.0.0.2", 80), traffic.listener(b, "10.0.0.2", 81):
        for near in ("a", "c"):
            assert traffic.outcome(mixed.netns(near), "10.0.0.2", 80) == "accepted"
            assert traffic.outcome(mixed.netns(near), "10.0.0.2", 81) == "refused"
        assert traffic.outcome(b, "10.0.0.1", 81) == "refused"


def test_a_hub_shows_everyone_everything() -> None:
    text = lan("{type: hub, ports: 3}").replace("sw", "hub")
    with applied(text, "hub") as lab:
        places = {str(n): (lab.netns(f"h{n}"), "eth0") for n in (1, 2, 3)}
        with segment.segment(places) as wires:
            reserved = bytes.fromhex("0180c200000e")
            sent = [("1", frame(B, A)), ("2", frame(A, B)), ("2", frame(reserved, B, tag=7))]
            got = wires.exchange(sent, 0, WAYS)
            assert got["1"] == {frame(A, B): 1, frame(reserved, B, tag=7): 1}
            assert got["2"] == {frame(B, A): 1}
            assert got["3"] == {data: 1 for _, data in sent}


LEASED = """
name: leased
saps:
  a: {kind: host, dhcp: true}
  b: {kind: host, ip: 10.0.0.3/24}
vnfs:
  sw: {type: switch, ports: 4}
  dhcp:
    type: dhcp
    ip: 10.0.0.2/24
    subnets: [{network: 10.0.0.0/24, pools: [{range: 10.0.0.100-10.0.0.110}]}]
  gw: {type: router, interfaces: {lan: {ip: 10.0.0.254/24}}}
chains:
  a: {path: [a, "sw:1"]}
  b: {path: [b, "sw:2"]}
  lan: {path: ["sw:3", dhcp, "gw:lan"]}
"""


def test_a_host_gets_its_address_over_the_switch() -> None:
    with applied(LEASED, "leased") as lab:
        until(lambda: addresses(lab, "a"))
        (own,) = addresses(lab, "a")
        assert own.startswith("10.0.0.10")
        for far in ("10.0.0.2", "10.0.0.3", "10.0.0.254"):
            lab.run("a", f"ping -n -c 2 -i 0.01 -W 2 {far}")


HUB_WITH_FIREWALL = """
name: guarded
saps:
  a: {kind: host, ip: 10.0.0.1/24, hook: HOOK}
  b: {kind: host, ip: 10.0.0.2/24, hook: HOOK}
  c: {kind: host, ip: 10.0.0.3/24, hook: HOOK}
vnfs:
  hub: {type: hub, ports: 4}
  fw:
    type: firewall
    default: accept
    rules: [{action: reject, proto: tcp, dport: 23}]
chains:
  one: {path: [a, "hub:1"]}
  two: {path: [b, fw, "hub:2"]}
  three: {path: [c, "hub:3"]}
"""


@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_a_firewall_behind_a_port_of_a_hub(hook: str) -> None:
    with applied(HUB_WITH_FIREWALL.replace("HOOK", hook), "guarded") as lab:
        for near, far in (("a", "10.0.0.2"), ("b", "10.0.0.1"), ("b", "10.0.0.3")):
            lab.run(near, f"ping -n -c 1 -W 2 {far}")
        for near, far in (("a", "10.0.0.2"), ("b", "10.0.0.3")):
            assert traffic.outcome(lab.netns(near), far, 23) == "refused"
        assert lab.statistics().vnfs["fw"].ended["rejected"].packets == 2
