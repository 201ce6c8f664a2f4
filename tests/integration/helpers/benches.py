"""A topology with every kind of SAP, and trials on it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scapy.layers.l2 import Ether

from nfv.bench.trial import Load, Trial
from nfv.dataplane import state
from nfv.dataplane.load.fitting import Setup
from nfv.dataplane.load.rig import Rig
from nfv.dataplane.state import State
from nfv.dataplane.statistics import Statistics
from nfv.traffic.profile import Profile
from tests.integration.helpers.faults import a_nic
from tests.integration.helpers.lab import Lab, applied, namespace

_TEXT = """\
name: bench
saps:
  lan: {{kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64], gateway: [10.0.1.1, 2001:db8:1::1]}}
  wan: {{kind: host, ip: [192.0.2.254/24, 2001:db8:2::254/64], gateway: [192.0.2.1, 2001:db8:2::1]}}
  box: {{kind: veth, netns: {box}, device: eth7, ip: 10.0.2.10/24, gateway: 10.0.2.1}}
  vm: {{kind: tap}}
  card: {{kind: nic, device: {nic}}}
vnfs:
  fw:
    type: firewall
    default: accept
    rules: [{{name: no-telnet, action: drop, proto: [tcp, udp], dport: 23}}]
  gw:
    type: router
    interfaces:
      lan: {{ip: [10.0.1.1/24, 2001:db8:1::1/64]}}
      wan: {{ip: [192.0.2.1/24, 2001:db8:2::1/64]}}
      box: {{ip: 10.0.2.1/24}}
chains:
  inside: {{path: [lan, fw, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
  box: {{path: [box, "gw:box"]}}
  wire: {{path: [vm, card]}}
"""
_TRIES = 30
TO_WIRE: dict[str, Any] = {"src": ["10.9.0.1"], "dst": ["10.9.0.2"]}
"""Addresses of traffic between vm and card, which have none."""


class Site:
    """The topology under test; `nic` is its NIC, whose other end is `nic` + "p"."""

    def __init__(self, lab: Lab, nic: str) -> None:
        self.lab = lab
        self.nic = nic

    @property
    def state(self) -> State:
        found = state.load(self.lab.name)
        assert found is not None
        return found

    @contextmanager
    def rig(self, near: str, far: str, size: str = "64", **profile: Any) -> Iterator[Rig]:
        """A rig that has warmed up with frames of one size."""
        wanted = Profile.model_validate({"sizes": [_size(size)], **profile})
        setup = Setup(near, far, wanted, seconds=0.5, wait=0.1)
        with Rig(self.state, setup) as rig:
            rig.use(size)
            yield rig


def _size(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def offered(site: Site, rig: Rig, load: Load) -> tuple[Trial, Statistics]:
    """A trial in which all was sent, and what nfvctl counted meanwhile.

    On a machine that does something else the generator may come too late, and the trial says so.
    """
    for _ in range(_TRIES):
        before = site.lab.statistics()
        trial = rig.run(load)
        assert trial.load.intended == trial.sent + trial.unsent
        if trial.valid:
            return trial, site.lab.statistics().since(before)
    pytest.fail(f"in none of {_TRIES} trials all could be sent")


@contextmanager
def a_bench(hook: str) -> Iterator[Site]:
    """The topology, with programs of hosts and containers at a hook."""
    text = _TEXT
    for kind in ("host", "veth"):
        text = text.replace(f"kind: {kind}", f"kind: {kind}, hook: {hook}")
    with (
        namespace("box") as box,
        a_nic() as nic,
        applied(text.format(box=box, nic=nic), "bench") as lab,
    ):
        lab.settle()
        yield Site(lab, nic)


def stamped(sock: socket.socket, length: int) -> Iterator[Any]:
    """The frames of a length that a socket has."""
    while True:
        try:
            frame = sock.recv(65535)
        except BlockingIOError:
            return
        if len(frame) == length:
            yield Ether(frame)
