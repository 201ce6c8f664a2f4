"""A topology applied where nothing else is, with the bench at the far ends of all its SAPs."""

from __future__ import annotations

import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from operator import itemgetter
from pathlib import Path

from nfv.chain import names
from nfv.chain.path import Attachment
from nfv.chain.report import listed
from nfv.chain.sap import HostSap, NicSap
from nfv.chain.topology import Topology
from nfv.dataplane import inspection, state, statistics
from nfv.dataplane.change import engine
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.load.farend import FarEnd, Frame
from nfv.dataplane.resident import agentctl
from nfv.dataplane.resident.resolution import resolve
from nfv.dataplane.statistics import Statistics
from nfv.dataplane.wiring import Device, Port, wire
from nfv.errors import InputError, KernelError
from nfv.testing import neighbours
from nfv.testing.case import Replayed
from nfv.testing.sending import Timed, send, timed

Address = IPv4Address | IPv6Address
Arrived = Mapping[str, Sequence[Frame]]
"""Frames by the SAP where they left."""

_CABLE = "nfv-test-cable"
"""The namespace with the other ends of the cables of NICs."""

_MARK = "nfv-test"
_COMMAND_PATIENCE = 60.0  # seconds
_PATIENCE = 2.0  # seconds until neighbours must have answered
_MOST_NEIGHBOURS = 256


@dataclass(frozen=True)
class Sent:
    """A frame that was sent, and when it was due: nanoseconds of the monotonic clock."""

    sap: str
    moment: int
    data: bytes


@dataclass(frozen=True)
class Done:
    """What a command has said, and its exit code."""

    code: int
    out: str
    err: str


class Stage:
    """The topology, where nothing else is: devices that it expects of the machine are made, too."""

    def __init__(self, topology: Topology, silent: bool) -> None:
        self._topology = topology
        self._silent = silent
        _make_surroundings(topology)
        engine.apply(topology, None, _held)
        applied = state.load(topology.name)
        assert applied is not None
        self._applied = applied
        self.wiring = wire(topology, applied.ports)
        self._owners = dict(_owners(topology))
        self._ends = {sap: self._far_end(sap) for sap in topology.saps}
        self._frames: dict[str, list[Frame]] = {sap: [] for sap in topology.saps}
        self._arrived = threading.Condition()
        self._failure: Exception | None = None
        threading.Thread(target=self._listen, daemon=True).start()
        self._before = statistics.read(applied)
        self.sent: list[Sent] = []

    @property
    def name(self) -> str:
        """Of the topology."""
        return self._topology.name

    @property
    def hosts(self) -> list[str]:
        """SAPs that are hosts."""
        return [name for name, sap in self._topology.saps.items() if isinstance(sap, HostSap)]

    def _port(self, sap: str) -> Port:
        return self.wiring.ports[Attachment(sap, None)]

    def _far_end(self, sap: str) -> FarEnd:
        port, kind = self._port(sap), self._topology.saps[sap]
        device = port.inner
        if isinstance(kind, NicSap):
            device = Device(_CABLE, kind.device)
        return FarEnd(port, device, self._silent)

    # Receiving

    def _listen(self) -> None:
        """Collect what arrives, and answer who asks for neighbours; for as long as the process."""
        try:
            with selectors.DefaultSelector() as selector:
                for sap, end in self._ends.items():
                    selector.register(end, selectors.EVENT_READ, sap)
                while True:
                    for key, _ in selector.select():
                        self._take(key.data)
        except Exception as error:
            self._failure = error
            with self._arrived:
                self._arrived.notify_all()

    def _take(self, sap: str) -> None:
        end = self._ends[sap]
        while (frame := end.read()) is not None:
            with self._arrived:
                self._frames[sap].append(frame)
                self._arrived.notify_all()
            if self._silent and (reply := self._answer(sap, frame.data)):
                end.send(reply)

    def _answer(self, sap: str, frame: bytes) -> bytes | None:
        mac = self._port(sap).mac or names.mac(self._topology.name, sap)  # a NIC has none of ours
        station = bytes.fromhex(mac.replace(":", ""))
        owner = self._owners
        return neighbours.answer(frame, station, lambda asked: owner.get(asked, sap) == sap)

    def wait(
        self, enough: Callable[[Arrived], bool], seconds: float, settle: float
    ) -> dict[str, list[Frame]]:
        """What has arrived by SAP: once it is enough, and for `settle` seconds nothing has come.

        What is not there after so many seconds is not waited for. Raises `KernelError` if frames
        were lost here.
        """
        deadline = time.monotonic() + seconds
        with self._arrived:
            while not enough(self._frames) and (left := deadline - time.monotonic()) > 0:
                self._arrived.wait(left)
                self._check()
            last = max(deadline, time.monotonic()) + settle
            while self._arrived.wait(settle) and time.monotonic() < last:
                self._check()
        for sap, end in self._ends.items():
            if end.lost:
                raise KernelError(f"{end.lost:,} frames at {sap} came too fast for the test bench")
        return {sap: list(frames) for sap, frames in self._frames.items()}

    def arrived(self, sap: str) -> list[Frame]:
        """What has arrived at a SAP since the last replay. Raises `InputError` for no SAP."""
        if sap not in self._frames:
            raise InputError(f"there is no SAP {sap}", f"SAPs are {listed(self._frames)}")
        return list(self._frames[sap])

    def _check(self) -> None:
        if self._failure is not None:
            raise KernelError(f"the test bench cannot listen any more: {self._failure}")

    # Sending

    def replay(self, entries: Sequence[Replayed], home: Path) -> None:
        """Send what entries say, all on one clock, and return when all is sent.

        Captures are named from `home`. What had arrived before is forgotten. Raises `InputError`
        for a capture that cannot be sent.
        """
        frames: dict[str, list[Timed]] = {}
        for entry in entries:
            found = timed(self._applied, self.wiring, entry, home)
            frames.setdefault(entry.at, []).extend(found)
        for sap, found in frames.items():
            for address in {neighbours.sender(data) for _, data in found}:
                if address is not None:
                    self._owners.setdefault(address, sap)
        if self._silent:
            self._resolve()
        with self._arrived:
            for arrived in self._frames.values():
                arrived.clear()
        begun = send(self._applied, frames)
        self.sent = [
            Sent(sap, begun + due, data)
            for sap, found in frames.items()
            for due, data in sorted(found, key=itemgetter(0))
        ]

    def _resolve(self) -> None:
        """Let routers know their neighbours, so that no frame waits while later ones go on."""
        vias = {route.via for vnf in self._topology.vnfs.values() for route in vnf.routes}
        known = [*dict.fromkeys([*self._owners, *(vias - {None})])][:_MOST_NEIGHBOURS]
        for name, vnf in self._topology.vnfs.items():
            near = [
                (names.interface_device(label), address)
                for label, interface in vnf.interfaces.items()
                for address in known
                for own in interface.ip
                if address in own.network and self._owners.get(address) != name
            ]
            if near:
                resolve(names.node_netns(self.name, name), near, _PATIENCE)
        agentctl.sync(self.name)

    # Asking

    def counted(self) -> Statistics:
        """What has been counted since the beginning."""
        agentctl.sync(self._topology.name)
        return statistics.read(self._applied).since(self._before)

    def execute(self, name: str, command: Sequence[str]) -> Done:
        """Run a command on a host or router to its end."""
        places = inspection.namespaces(self._applied)
        if name not in places:
            raise InputError(f"{name} has no namespace", f"those that have: {listed(places)}")
        with netns.entered(places[name]):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_COMMAND_PATIENCE, check=False
            )
        return Done(done.returncode, done.stdout, done.stderr)


def _held(holder: str) -> None:
    raise KernelError(f"{holder} holds the topology")  # nobody else is here


def _make_surroundings(topology: Topology) -> None:
    """Make what the topology expects of the machine: namespaces of veths and taps, and NICs."""
    saps = topology.saps.values()
    outside = {getattr(sap, "netns", None) for sap in saps} - {None}
    nics = [sap.device for sap in saps if isinstance(sap, NicSap)]
    for name in [*outside, *([_CABLE] if nics else [])]:
        netns.create(str(name), _MARK)
    for device in nics:
        with Netlink() as netlink:
            netlink.add_veth(device, device, peer_netns=_CABLE)
            netlink.set_link(device, up=True)
        with Netlink(_CABLE) as netlink:
            netlink.set_link(device, up=True)


def _owners(topology: Topology) -> Iterator[tuple[Address, str]]:
    """The addresses that are declared, each with its SAP or function."""
    for name, sap in topology.saps.items():
        for address in sap.addresses:
            yield address.ip, name
    for name, vnf in topology.vnfs.items():
        own = getattr(vnf.config, "ip", ())
        for address in [*own, *(ip for one in vnf.interfaces.values() for ip in one.ip)]:
            yield address.ip, name
