"""What may be declared of a NAT, in the words that the user reads, and what follows from it."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from nfv.chain.topology import loads
from nfv.ebpf.natplan import Flags, Plan, Pool, Range, Static
from nfv.errors import TopologyError

TOPOLOGY = """
name: office
saps:
  lan: {kind: host, ip: 10.0.1.10/24}
  wan: {kind: host, ip: 192.0.2.254/24}
vnfs:
  gw: {type: router, interfaces: {lan: {ip: 10.0.1.1/24}, wan: {ip: 192.0.2.1/24}}}
  nat:
    type: nat
    %s
chains:
  inside: {path: [lan, "gw:lan"]}
  outside: {path: ["gw:wan", nat, wan]}
"""


def problems(*keys: str) -> list[tuple[str, str | None]]:
    """Message and hint of each problem of a NAT with these keys."""
    try:
        loads(TOPOLOGY % "\n    ".join(keys))
    except TopologyError as error:
        return [(problem.message, problem.hint) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "keys",
    [
        ("masquerade: gw:wan",),
        ("pools: [{outside: [192.0.2.16/28, 192.0.2.40]}]",),
        ("static: [{outside: 192.0.2.16/28, inside: 10.0.1.16/28}]",),
        ("masquerade: gw:wan", "forwards: [{proto: tcp, port: 80, inside: 10.0.1.10}]"),
        ("pools: [{inside: 10.0.0.0/22, outside: 192.0.2.16/28, deterministic: true}]",),
    ],
)
def test_what_is_right(keys: tuple[str, ...]) -> None:
    assert problems(*keys) == []


WRONG = [
    (("hold_down: 0",), "translates nothing", "give it masquerade, pools, static or forwards"),
    (("masquerade: gw:wam",), "no interface 'gw:wam'", "did you mean 'gw:wan'?"),
    (("masquerade: gw",), "'gw' is not an interface", "write it as in chains: 'gw:wan'"),
    (
        ("pools: [{outside: 192.0.2.16/28}, {outside: 192.0.2.31}]",),
        "192.0.2.31/32 overlaps 192.0.2.16/28 of pools[0]",
        None,
    ),
    (("pools: [{outside: '2001:db8::/64'}]",), "2001:db8::/64 is not an IPv4 prefix", None),
    (
        ("pools: [{outside: 192.0.2.16, ports: 1000-2000}]",),
        "1000-2000 is not whole 64s of ports",
        "write 960-2047",
    ),
    (
        ("pools: [{outside: 192.0.2.16, deterministic: true}]",),
        "a deterministic pool has one inside prefix",
        "give one prefix, whose addresses share the ports evenly",
    ),
    (
        ("pools: [{inside: 10.0.0.0/8, outside: 192.0.2.16, deterministic: true}]",),
        "more inside addresses than there are 64s of ports",
        "add outside addresses",
    ),
    (("pools: [{outside: 10.0.0.0/21}]",), "2048 outside addresses, the most is 1024", None),
    (
        ("forwards: [{proto: tcp, port: 80, inside: 10.0.1.10}]",),
        "has no outside address",
        "name the outside address, or set masquerade",
    ),
    (
        (
            "forwards:",
            "  - {proto: tcp, outside: 192.0.2.9, port: 65000-65535, inside: 10.0.1.1, to: 65001}",
        ),
        "the last of 536 ports is above 65535",
        None,
    ),
    (
        ("static: [{outside: 192.0.2.16/28, inside: 10.0.1.0/24}]",),
        "10.0.1.0/24 and 192.0.2.16/28 are not equally many addresses",
        None,
    ),
    (
        (
            "static: [{outside: 192.0.2.16, inside: 10.0.1.1}]",
            "forwards: [{proto: tcp, outside: 192.0.2.16, port: 80, inside: 10.0.1.2}]",
        ),
        "has endpoints outside that static[0] has too",
        "each may stand for one other alone",
    ),
    (
        (
            "forwards:",
            "  - {proto: tcp, outside: 192.0.2.16, port: 80-90, inside: 10.0.1.2}",
            "  - {proto: tcp, outside: 192.0.2.17, port: 85, inside: 10.0.1.2}",
        ),
        "has endpoints inside that forwards[0] has too",
        "each may stand for one other alone",
    ),
]


@pytest.mark.parametrize(("keys", "message", "hint"), WRONG)
def test_what_is_wrong(keys: tuple[str, ...], message: str, hint: str | None) -> None:
    assert problems(*keys) == [(message, hint)]


def test_places_of_static_translations_are_in_order() -> None:
    """As the fast path searches them: by address, protocol, port."""
    web = Static(0xC0000210, 0x0A000102, 10, 6, 80, 8080)
    assert web.places == (0xC0000210_0006_0050, 0xC0000210_0006_0059)
    assert web.turned().places == (0x0A000102_0006_1F90, 0x0A000102_0006_1F99)
    assert Static(0xC0000210, 0x0A000110, 16).places == (
        0xC0000210_0000_0000,
        0xC000021F_FFFF_FFFF,
    )


def test_an_image_has_one_size() -> None:
    pool = Pool((IPv4Network("10.0.0.0/8"),), (Range(1, 300),), (1024, 65535))
    plans = [Plan(pools, (), Flags(0)) for pools in ((), (pool,))]
    assert len({len(plan.image()) for plan in plans}) == 1
    assert plans[1].port_words == 4 * 1024 * 512
