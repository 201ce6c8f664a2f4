"""Renewals a second of DHCPv4: clients that have leases ask again, at rising rates.

perfdhcp cannot ask so: it says that it is a relay agent. Here `nfvctl replay` sends what the
clients said, and how often they were answered is read from counters.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scapy.layers.dhcp import BOOTP
from scapy.utils import wrpcap

from tests.integration.helpers.dhcpwire import message, station
from tests.integration.helpers.lab import Lab, nfvctl

SERVER = "10.0.0.2"
"""Address of either server."""

CLIENTS = 1000
ENOUGH = 0.99
_AT_ONCE = 50  # clients that ask at once
_SECONDS = 2
_FIRST = 4000  # renewals a second
_STEPS = 4  # of halving what is between a rate that is kept and one that is not
_ACHIEVED = 0.9  # of a rate that the generator reaches


class Renewing:
    """Clients behind a host of the topology, which have leases and ask to renew them."""

    def __init__(self, lab: Lab, host: str, directory: Path) -> None:
        self._lab = lab
        self._host = host
        self._file = directory / f"{host}.pcap"
        wrpcap(str(self._file), _bound(lab, host))

    def best(self, answered: Callable[[Lab], int]) -> int:
        """The highest rate, a second, at which they are answered; `answered` counts answers."""
        good, bad = 0, _FIRST
        while achieved := self._kept(bad, answered):
            if achieved < _ACHIEVED * bad:
                return achieved  # more cannot be sent
            good, bad = bad, bad * 2
        for _ in range(_STEPS):
            middle = (good + bad) // 2
            good, bad = (middle, bad) if self._kept(middle, answered) else (good, middle)
        return good

    def _kept(self, rate: int, answered: Callable[[Lab], int]) -> int:
        """The rate at which was sent, if nearly all were answered; else 0."""
        before = answered(self._lab)
        loops = str(max(1, rate * _SECONDS // CLIENTS))
        options = ("--pps", str(rate), "--loop", loops, "--format", "json")
        done = nfvctl("replay", self._lab.name, f"{self._host}={self._file}", *options)
        if "No space left" in done.stderr:  # in the queue of the server's device
            return 0
        if done.returncode:
            raise RuntimeError(done.stderr)
        sent = json.loads(done.stdout)
        is_kept = answered(self._lab) - before >= ENOUGH * sent["packets"]
        return int(sent["achieved"]["pps"]) if is_kept else 0


def _bound(lab: Lab, host: str) -> list[Any]:
    """Clients that get leases, and have renewed twice; what they send."""
    renewals = []
    with station(lab, host) as sender:
        for first in range(1, CLIENTS + 1, _AT_ONCE):
            numbers = range(first, first + _AT_ONCE)
            offers = sender.told(*(message("discover", number) for number in numbers))
            addresses = [(offer[BOOTP].xid - 1, offer[BOOTP].yiaddr) for offer in offers]
            sender.told(*(_taking(number, address) for number, address in addresses))
            asked = [
                message("request", number, ciaddr=address, src=address)
                for number, address in addresses
            ]
            sender.told(*asked)
            sender.told(*asked)
            renewals += asked
    return renewals


def _taking(number: int, address: str) -> Any:
    """What a client says that takes an offer."""
    return message("request", number, ("requested_addr", address), ("server_id", SERVER))
