"""A router's namespace and maps made by hand, and a reader of the maps that is not the agent's.

`lookup` finds what XDP would do with a packet, as nfv/ebpf/functions/router.c does it.
"""

from __future__ import annotations

import ipaddress
import mmap
import os
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nfv.chain.topology import loads
from nfv.dataplane import state, wiring
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.bpf import F_MMAPABLE, Map, MapType
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.resident import agentctl
from nfv.dataplane.routing.egress import JUMP
from nfv.dataplane.routing.fib import OWN_WORDS
from nfv.dataplane.routing.targets import GROUP, PLACES
from nfv.dataplane.wiring import Wiring
from nfv.ebpf.tableshape import Shape

TEXT = """\
name: {name}
saps:
  lan: {{kind: host, ip: 10.0.1.10/24, gateway: 10.0.1.1}}
  wan: {{kind: host, ip: 192.0.2.254/24, gateway: 192.0.2.1}}
vnfs:
  fw: {{type: firewall, connections: {connections}, default: accept}}
  gw:
    type: router
    interfaces:
      lan: {{ip: [10.0.1.1/24, "2001:db8:1::1/64"]}}
      wan: {{ip: [192.0.2.1/24, "2001:db8:2::1/64"]}}
chains:
  inside: {{path: [lan, fw, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
"""

LINE = 64  # bytes
BANKS = 2
SHAPE = Shape(16, 14)  # of the tables
ADJACENCIES = 256
OFF = 0xFFFFFFFF
CHILD, BUCKET = 1 << 25, 1 << 24


@dataclass(frozen=True)
class Hop:
    """An adjacency as XDP finds it."""

    action: int
    egress: int = 0
    tx: int = 0
    mtu: int = 0
    dst_mac: str = "00:00:00:00:00:00"
    src_mac: str = "00:00:00:00:00:00"


PUNT, BLACKHOLE, OWN = Hop(0), Hop(2), Hop(3)


class Bed:
    """One topology with a router `gw` and a firewall `fw`, in namespaces and maps of its own."""

    def __init__(self, name: str, *, shape: Shape = SHAPE, adjacencies: int = ADJACENCIES) -> None:
        self.name = name
        self.netns = f"nfv.{name}.gw"
        self.pins = state.pins(name) / "vnf" / "gw"
        self.sizes = {
            "fib4": (BANKS * shape.capacity * LINE, 1),
            "fib6": (BANKS * Shape(16, shape.pool_bits).capacity * LINE, 1),
            "adjacencies": (64, adjacencies),
            "interfaces": (16, 2),
            "groups": (4 * PLACES, 8),
            "defaults": (8 + 8 * OWN_WORDS, 1),
        }
        self.connections = 64
        self.ports: dict[str, int] = {}  # port numbers; by default in the order of the file

    def build(self) -> None:
        """Make and pin the maps, the namespace and its interfaces, and record the state."""
        self.make_maps()
        self.make_namespace()
        self.store()

    def make_maps(self) -> None:
        self.pins.mkdir(parents=True)
        for name, (size, count) in self.sizes.items():
            self._pin(self.pins / name, MapType.ARRAY, 4, size, count, F_MMAPABLE)
        self._pin(
            self.pins / "routed", MapType.PERCPU_ARRAY, 4, 16, self.sizes["adjacencies"][1], 0
        )
        firewall = self.pins.with_name("fw")
        firewall.mkdir()
        self._pin(firewall / "connections4", MapType.HASH, 16, 16, self.connections, 0)
        self._pin(firewall / "connections6", MapType.HASH, 40, 16, self.connections, 0)

    @staticmethod
    def _pin(pin: Path, type_: MapType, key: int, value: int, count: int, flags: int) -> None:
        made = Map.create(type_, key, value, count, flags=flags, name=pin.name)
        made.pin(pin)
        made.close()

    def make_namespace(self) -> None:
        netns.create(self.netns, f"nfv:{self.name}")
        with Netlink(self.netns) as netlink:
            for port in self.wiring().of("gw"):
                assert port.inner is not None
                assert port.mac is not None
                device = port.inner.name
                netlink.add_veth(device, f"{device}-far", mac=port.mac)
                netlink.set_link(f"{device}-far", up=True)
                netlink.set_link(device, up=True)
            for device, *addresses in (
                ("lan", "10.0.1.1/24", "2001:db8:1::1/64"),
                ("wan", "192.0.2.1/24", "2001:db8:2::1/64"),
            ):
                for address in addresses:
                    netlink.add_address(device, address)
        for version in ("ipv4", "ipv6"):
            self.sysctl(f"net/{version}/conf/all/forwarding", 1)

    def wiring(self) -> Wiring:
        topology = loads(self.text)
        return wiring.wire(topology, wiring.number_ports(topology, self.ports))

    @property
    def text(self) -> str:
        return TEXT.format(name=self.name, connections=self.connections)

    def store(self) -> None:
        ports = {str(place): port.number for place, port in self.wiring().ports.items()}
        numbers = {"gw": 1, "fw": 2}
        state.store(state.State(self.name, "test.yaml", self.text, ports, functions=numbers))

    def remove(self) -> None:
        agentctl.stop(self.name)
        if netns.exists(self.netns):
            netns.delete(self.netns)
        self.remove_maps()
        state.remove(self.name)

    def remove_maps(self) -> None:
        shutil.rmtree(state.pins(self.name), ignore_errors=True)

    def ip(self, arguments: str) -> str:
        """Run iproute2 in the router's namespace."""
        command = ["ip", "-n", self.netns, *arguments.split()]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def batch(self, commands: list[str]) -> None:
        """Run many at once."""
        subprocess.run(
            ["ip", "-n", self.netns, "-batch", "-"],
            input="\n".join(commands),
            check=True,
            capture_output=True,
            text=True,
        )

    def sysctl(self, path: str, value: int) -> None:
        with netns.entered(self.netns):
            netns.write_sysctl(path, value)

    def sync(self) -> None:
        """Return when the agent has taken in all that the kernel has told."""
        agentctl.sync(self.name)

    def port(self, place: str) -> int:
        return next(port.number for at, port in self.wiring().ports.items() if str(at) == place)

    def mac(self, interface: str) -> str:
        with Netlink(self.netns) as netlink:
            return str(netlink.links()[interface].mac)

    def via(self, interface: str, mac: str, mtu: int = 1500) -> Hop:
        """The hop out of an interface to a MAC: lan leads to a firewall, wan straight to a SAP."""
        number = self.port(f"gw:{interface}")
        tx = self.port("wan") if interface == "wan" else JUMP | wiring.jump(number)
        return Hop(1, number, tx, mtu, mac, self.mac(interface))

    def lookup(self, address: str) -> Hop:
        """What XDP does with a packet to an address."""
        return self._hop(self._number(address))

    def _number(self, address: str) -> int:
        """What the table says for an address; 0 is the kernel."""
        destination = ipaddress.ip_address(address)
        version = destination.version
        with _opened(self.pins / "defaults") as defaults:
            default = struct.unpack_from("=2I", defaults[0])[version == 6]
        if default == OFF:
            return 0
        with _opened(self.pins / f"fib{version}") as table:
            words = table.memory()
            half = table.value_size // BANKS
            bank = half * (default >> 31)
            root_bits = 24 if version == 4 and half > 1 << 26 else 16
            number = _longest_match(words, bank, root_bits, destination) or default & 0x3FFFFFFF
            words.close()
        return number

    def shares(self, address: str) -> Counter[Hop]:
        """How many places of a group each next hop has."""
        number = self._number(address)
        assert number & GROUP, "there is one next hop"
        with _opened(self.pins / "groups") as groups:
            members = struct.unpack(f"={PLACES}I", groups[number ^ GROUP])
        return Counter(map(self._hop, members))

    def _hop(self, number: int) -> Hop:
        """What an adjacency says."""
        with _opened(self.pins / "adjacencies") as adjacencies:
            fields = struct.unpack("=4I6s6s36x", adjacencies[number])
        action, egress, tx, mtu, *macs = fields
        if action == PUNT.action:  # what else it says is of a former neighbour
            return PUNT
        return Hop(action, egress, tx, mtu, *(mac.hex(":") for mac in macs))

    def interface(self, ordinal: int) -> tuple[str, int]:
        """MAC and `up` of an interface."""
        with _opened(self.pins / "interfaces") as interfaces:
            mac, up = struct.unpack_from("=6sB", interfaces[ordinal])
        return mac.hex(":"), up

    def router(self) -> dict[str, object]:
        """The agent's own view of the router."""
        status = agentctl.status(self.name)
        assert status is not None
        routers = status["routers"]
        assert isinstance(routers, dict)
        found: dict[str, object] = routers["gw"]
        return found

    def agent_pid(self) -> int:
        status = agentctl.status(self.name)
        assert status is not None
        return int(str(status["pid"]))


def scratch_name(test: str) -> str:
    """A topology name that no other test process uses."""
    return f"e-{test}-{os.getpid()}"[:32]


@contextmanager
def running_bed(test: str, *, shape: Shape = SHAPE) -> Iterator[Bed]:
    """A bed with its agent, as long as the block."""
    bed = Bed(scratch_name(test), shape=shape)
    try:
        bed.build()
        agentctl.start(bed.name)
        yield bed
    finally:
        bed.remove()


@contextmanager
def _opened(pin: Path) -> Iterator[Map]:
    found = Map.open(pin)
    try:
        yield found
    finally:
        found.close()


def _longest_match(
    words: mmap.mmap,
    start: int,
    root_bits: int,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> int:
    """The entry that an address leads to in a table that starts at some byte; see prefixes.h."""

    def word(line: int, at: int) -> int:
        return int(struct.unpack_from("=I", words, start + line * LINE + at * 4)[0])

    key = int(address) << 128 - address.max_prefixlen
    entry, used = word(0, key >> 128 - root_bits), root_bits
    while entry & CHILD:
        line = (1 << root_bits) // 16 + entry % BUCKET
        if not entry & BUCKET:
            used += 8
            entry = word(line, key >> 128 - used & 255)
            continue
        half = key >> 64 if used < 64 else key % (1 << 64)
        entry = word(line, 10)
        for place in range(5):
            found = word(line, 11 + place)
            prefix = word(line, 2 * place) | word(line, 2 * place + 1) << 32
            if not (half ^ prefix) >> (found >> 26):
                entry = found % (1 << 26)
        used = 64
    return entry
