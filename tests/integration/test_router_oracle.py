"""Random and mutated packets through a router, compared with a Linux router beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import ip_interface
from random import Random
from typing import Any

import pytest

from nfv.chain.sap import Hook
from tests.integration.helpers.routers import Put, Received, Router, linux, ours
from tests.integration.helpers.traffic import alone
from tests.property.generate.traffic import Traffic
from tests.property.model.packets import (
    ARP,
    ETHERNET,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    Malformed,
    parse,
)

pytestmark = pytest.mark.root

FRAMES = 25_000
"""Of each comparison: with two hooks and two seeds, 100,000."""
BATCH = 250
LONGEST = {"h1": 1514, "h2": 1514, "h3": 1294}
"""Bytes of a frame that a host may send."""
ARP_REQUEST, LINK_LOCAL = b"\0\1", b"\xfe\x80"


def _host(number: int) -> dict[str, Any]:
    ip = [f"10.0.{number}.10/24", f"2001:db8:{number}::10/64"]
    return {"kind": "host", "ip": ip, "mac": f"02:00:00:00:0{number}:10"}


def _interface(number: int, mtu: int = 1500) -> dict[str, Any]:
    ip = [f"10.0.{number}.1/24", f"2001:db8:{number}::1/64"]
    return {"ip": ip, "mac": f"02:00:00:00:0{number}:01", "mtu": mtu}


SPEC: Mapping[str, Any] = {
    "name": "oracle",
    "saps": {"h1": _host(1), "h2": _host(2), "h3": {**_host(3), "mtu": 1280}},
    "vnfs": {
        "gw": {
            "type": "router",
            "interfaces": {"lan": _interface(1), "wan": _interface(2), "dsl": _interface(3, 1280)},
            "routes": [
                {"to": "198.51.100.0/24", "via": "10.0.2.10"},
                {"to": "198.51.100.0/30", "via": "10.0.3.10"},
                {"to": "203.0.113.0/24", "type": "prohibit"},
                {"to": "203.0.113.4/30", "type": "unreachable"},
                {"to": "203.0.113.5/32", "type": "blackhole"},
                {"to": "128.0.0.0/2", "via": "10.0.2.10"},
                {"to": "2001:db8:ffff::/48", "via": "2001:db8:2::10"},
                {"to": "2001:db8:fffe::/48", "type": "prohibit"},
                {"to": "2001:db8:fffe::/64", "via": "2001:db8:3::10"},
                {"to": "2001:db8:fffe::8/125", "type": "blackhole"},
                {"to": "2001::/16", "via": "2001:db8:1::10"},
            ],
        }
    },
    "chains": {
        "inside": {"path": ["h1", "gw:lan"]},
        "outside": {"path": ["h2", "gw:wan"]},
        "third": {"path": ["h3", "gw:dsl"]},
    },
}


OWN = {
    ip_interface(ip).ip.packed
    for interface in SPEC["vnfs"]["gw"]["interfaces"].values()
    for ip in interface["ip"]
}
_UNREACHABLE = {(1, 3, 0), (1, 3, 1), (1, 3, 13), (58, 1, 3)}
_OTHERS = {(58, 135, 0), (58, 130, 0), (58, 143, 0)}
_REDIRECTS = {(1, 5), (58, 137)}
_TIMESTAMP_REPLY = 14


def settled(data: bytes) -> bytes | None:
    """What is compared of a frame that a router sent; None for what comes by itself, or later.

    That is resolution, whose failures are told after seconds, membership reports, and what Linux
    limits by the clock of the whole machine: redirects, and that there is no route. It draws
    the identification of what it sends itself, and tells the time.
    """
    ethertype = int.from_bytes(data[12:14], "big")
    if ethertype == IPV6:
        frame = data[: 54 + int.from_bytes(data[18:20], "big")]
        inner = 62 if frame[20] == HOP_BY_HOP else 54
        protocol = frame[54] if frame[20] == HOP_BY_HOP else frame[20]
        is_own = frame[22:38] in OWN or frame[22:24] == LINK_LOCAL
    elif ethertype == IPV4:
        frame = data[: 14 + int.from_bytes(data[16:18], "big")]
        inner, protocol = 14 + (frame[14] & 15) * 4, frame[23]
        is_own = frame[26:30] in OWN
    else:
        return None if ethertype == ARP and data[20:22] == ARP_REQUEST else data
    said = (protocol, *frame[inner : inner + 2])
    if is_own and (said in _UNREACHABLE | _OTHERS or said[:2] in _REDIRECTS):
        return None
    if is_own and ethertype == IPV6 and frame[20] == FRAGMENT:
        frame = frame[:58] + bytes(4) + frame[62:]
    if is_own and ethertype == IPV4:
        frame = frame[:18] + bytes(2) + frame[20:24] + bytes(2) + frame[26:]
        if frame[inner] == _TIMESTAMP_REPLY and protocol == ICMP:
            frame = frame[: inner + 2]
    return frame


def is_known(frame: bytes) -> bool:
    """Whether it is on the list of differences, which docs/functions/router.md has as well.

    Linux forwards what comes from 0/8, and IPv6 whose extension headers are cut short.
    """
    is_ipv4 = frame[12:14] == IPV4.to_bytes(2, "big")
    if is_ipv4:
        return frame[26] == 0
    is_error = frame[20] == ICMPV6 and frame[54] < 128
    return _is_malformed(frame[:ETHERNET] + frame[62:] if is_error else frame)


def _is_malformed(frame: bytes) -> bool:
    try:
        parse(frame)
    except Malformed:
        return True
    return False


def batches(seed: int, theirs: Router) -> Iterator[tuple[list[Put], Received]]:
    """Frames, and what Linux makes of them; hosts answer some of what they get."""
    traffic = Traffic(Random(seed), SPEC)
    for number in range(FRAMES // BATCH):
        sent: list[Put] = []
        while len(sent) < BATCH:
            one = traffic.next()
            if len(one.frame) <= LONGEST.get(one.place, 0):
                sent.append((one.place, one.frame))
        found = theirs.exchange(sent, number)
        yield sent, found
        for place, frames in found.items():
            for frame in frames:
                traffic.delivered(place, frame)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("hook", Hook, ids=lambda hook: hook.name)
def test_routes_as_linux_does(hook: Hook, seed: int) -> None:
    with alone(), linux(SPEC) as theirs, ours(SPEC, hook) as mine:
        for number, (sent, expected) in enumerate(batches(seed, theirs)):
            found = mine.exchange(sent, number)
            for host, frames in expected.items():
                wanted, here = (
                    Counter(filter(None, map(settled, all_))) for all_ in (frames, found[host])
                )
                missing = [frame for frame in wanted - here if not is_known(frame)]
                more = list(here - wanted)
                where = f"seed {seed}, batch {number}, at {host}"
                assert not missing, f"{where} only from Linux: {missing[0].hex()}"
                assert not more, f"{where} not from Linux: {more[0].hex()}"
