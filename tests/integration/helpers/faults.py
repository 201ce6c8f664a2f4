"""A topology with every kind of step, and ways to let steps fail or die."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nfv.dataplane.kernel import netns
from nfv.errors import NfvError
from tests.integration.helpers import snapshot, traffic
from tests.integration.helpers.lab import Lab, lab, namespace

# Every kind of access point, so every kind of step.
_TEXT = """\
name: faults
saps:
  lan: {{kind: host, ip: [10.0.1.10/24, "2001:db8:1::10/64"], gateway: 10.0.1.1}}
  box: {{kind: veth, netns: {box}, device: eth7, ip: 10.0.2.10/24, gateway: 10.0.2.1}}
  vm: {{kind: tap}}
  wan: {{kind: nic, device: {nic}}}
vnfs:
  fw: {{type: firewall, rules: [{{action: accept, proto: tcp}}, {{action: accept, proto: icmp}}]}}
  gw:
    type: router
    interfaces:
      lan: {{ip: [10.0.1.1/24, "2001:db8:1::1/64"]}}
      box: {{ip: 10.0.2.1/24}}
    routes: [{{to: 10.7.0.0/16, via: 10.0.2.10}}]
chains:
  lan: {{path: [lan, fw, "gw:lan"]}}
  box: {{path: ["gw:box", box]}}
  wire: {{path: [vm, wan]}}
"""


class Site:
    """A lab with a container and a NIC of its own, which are to stay as they are."""

    def __init__(self, made: Lab, box: str, nic: str) -> None:
        self.lab = made
        self.box = box
        self.nic = nic

    def snapshot(self) -> snapshot.Snapshot:
        return snapshot.take(self.lab.name, [self.box], [self.nic])

    def change(self) -> None:
        """Declare something else about every part."""
        self.lab.edit("rules: [", "rules: [{action: reject, proto: tcp, dport: 80}, ")
        self.lab.edit("gateway: 10.0.1.1}", 'gateway: [10.0.1.1, "2001:db8:1::1"]}')
        self.lab.edit("to: 10.7.0.0/16, via: 10.0.2.10", "to: 10.7.0.0/16, type: blackhole")
        self.lab.edit("ip: 10.0.2.1/24}", "ip: [10.0.2.1/24, 10.0.5.1/24]}")
        self.lab.edit("vm: {kind: tap}", "vm: {kind: host, ip: 10.0.3.10/24, mtu: 1400}")
        self.lab.edit("kind: nic,", "kind: nic, mtu: 1400,")
        self.lab.edit("saps:\n", "saps:\n  dmz: {kind: host, ip: 10.0.4.10/24}\n")
        self.lab.edit("interfaces:\n", "interfaces:\n      dmz: {ip: 10.0.4.1/24}\n")
        self.lab.edit(
            "  wire: {path: [vm, wan]}\n",
            '  wire: {path: [vm, new, wan]}\n  dmz: {path: [dmz, "gw:dmz"]}\n',
        )
        self.lab.edit("vnfs:\n", "vnfs:\n  new: {type: firewall, default: accept}\n")

    def check_works(self) -> None:
        self.lab.run("lan", "ping -n -c 1 -W 2 10.0.2.10")

    def rejects(self) -> bool:
        """Whether the rule that the change adds is in force."""
        with traffic.listener(self.box, "10.0.2.10", 80):
            return traffic.outcome(self.lab.netns("lan"), "10.0.2.10", 80) == "refused"


@contextmanager
def a_nic() -> Iterator[str]:
    """A device in this namespace, as good as a NIC; it is up, and so is its other end."""
    name = f"nic{os.getpid() % 10000}-{next(_numbers)}"
    for command in (
        f"link add {name} type veth peer name {name}p",
        f"link set {name} up",
        f"link set {name}p up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


_numbers = itertools.count()


@contextmanager
def a_site() -> Iterator[Site]:
    with (
        namespace("box") as box,
        a_nic() as nic,
        lab(_TEXT.format(box=box, nic=nic), "faults") as made,
    ):
        with netns.entered(box):  # so that its link-local addresses are there at once
            netns.write_sysctl("net/ipv6/conf/default/accept_dad", 0)
        yield Site(made, box, nic)


def inject(variable: str, step: int, call: Callable[[], object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, str(step))
        call()


def failed_at(step: int, call: Callable[[], object]) -> str | None:
    """Run something that fails at a step, and nothing else with it; None if it had fewer steps."""
    try:
        inject("NFV_FAIL_AT_STEP", step, call)
    except NfvError as error:
        if f"NFV_FAIL_AT_STEP={step}" not in error.message:
            raise
        return error.message
    return None


def killed_at(step: int, call: Callable[[], object]) -> bool:
    """Run something in a child that dies at a step; False if it had fewer steps and ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            inject("NFV_KILL_AT_STEP", step, call)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status in (0, 9), f"the child ended with {status}"
    return status == 9
