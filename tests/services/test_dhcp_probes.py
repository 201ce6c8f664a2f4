"""Offers wait while their addresses are probed, and nothing else does."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

from scapy.layers.l2 import ARP, Ether

from nfv.services import neighbours
from nfv.services.dhcp.probes import Probes

ONE, TWO = IPv4Address("10.0.1.100"), IPv4Address("10.0.1.101")
OWN, MAC = IPv4Address("10.0.1.2"), bytes.fromhex("020000000002")
CLIENT, STRANGER = bytes.fromhex("020000000007"), bytes.fromhex("020000000008")
SOON = 0.01


def test_an_offer_leaves_when_nobody_has_answered() -> None:
    async def run() -> list[str]:
        given: asyncio.Queue[str] = asyncio.Queue()
        probes = Probes(given.put_nowait)
        assert probes.begin(ONE, CLIENT, "first", SOON)
        assert not probes.begin(ONE, CLIENT, "again", SOON)
        assert given.empty()
        left = [await given.get()]
        assert not probes.begin(ONE, CLIENT, "known", SOON)
        left.append(given.get_nowait())
        assert probes.begin(ONE, STRANGER, "another's", 60)
        probes.close()
        return left

    assert asyncio.run(run()) == ["again", "known"]


def test_an_offer_of_an_address_in_use_does_not_leave() -> None:
    async def run() -> None:
        given: asyncio.Queue[str] = asyncio.Queue()
        probes = Probes(given.put_nowait)
        probes.begin(ONE, CLIENT, "one", SOON)
        probes.begin(TWO, CLIENT, "two", SOON)
        assert probes.heard(ONE, CLIENT) is None  # the client itself, which starts again
        assert probes.heard(ONE, STRANGER) == "one"
        assert probes.heard(ONE, STRANGER) is None
        assert await given.get() == "two"

    asyncio.run(run())


def test_too_many_offers_do_not_wait() -> None:
    async def run() -> int:
        given: list[int] = []
        probes = Probes(given.append)
        for number in range(300):
            probes.begin(IPv4Address(number), CLIENT, number, 60)
        probes.close()
        return len(given)

    assert asyncio.run(run()) == 300 - 256


def test_what_is_asked_and_heard_is_scapys() -> None:
    asked = Ether(neighbours.request(OWN, MAC, ONE))
    expected = Ether(dst="ff:ff:ff:ff:ff:ff", src=MAC.hex(":")) / ARP(
        hwsrc=MAC.hex(":"), psrc=str(OWN), hwdst="00:00:00:00:00:00", pdst=str(ONE)
    )
    told = Ether() / ARP(op="is-at", hwsrc=CLIENT.hex(":"), psrc=str(ONE), pdst=str(OWN))

    assert bytes(asked) == bytes(expected)
    assert neighbours.holder(bytes(told)) == (ONE, CLIENT)
    assert neighbours.holder(bytes(asked)) is None
    assert neighbours.holder(bytes(told)[:40]) is None
