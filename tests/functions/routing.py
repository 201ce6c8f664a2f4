"""A router's tables, written as the agent writes them, from what a topology declares."""

from __future__ import annotations

<<<<<<< HEAD
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

import numpy as np

from nfv.chain.sap import HostSap
from nfv.chain.topology import Topology
from nfv.dataplane.egress import Egress, egresses
from nfv.dataplane.rib import RESERVED
from nfv.dataplane.routemsg import WIDTHS
from nfv.dataplane.targets import GROUP, PLACES
from nfv.dataplane.wiring import Wiring
from nfv.ebpf.prefixes import Prefixes
from nfv.ebpf.tables import Maps
from nfv.ebpf.tableshape import LINE_WORDS, NODE_BITS, shape_of

PUNT, FORWARD, BLACKHOLE = 0, 1, 2  # enum self_action

Address = IPv4Address | IPv6Address


class RouterTables:
    """Interfaces, adjacencies and routes of one router."""

    def __init__(self, topology: Topology, wiring: Wiring, vnf: str, maps: Maps) -> None:
        self.topology = topology
        self.wiring = wiring
        self.vnf = vnf
        self._maps = maps
        self._ports = {str(port.attachment.interface): port for port in wiring.of(vnf)}
        self._egresses: dict[str, Egress] = dict(
            zip(self._ports, egresses(topology, wiring, vnf), strict=True)
        )
        for name in self._ports:
            self.interface(name, up=True)
        self.clear()

    def clear(self) -> None:
        """Begin with empty tables."""
        self._adjacencies = 1  # 0 is the kernel
        self._tables = {version: self._table(version) for version in WIDTHS}
        self._store("defaults", 0, self._maps.layout("defaults").pack())

    def _table(self, version: int) -> Prefixes:
        words = np.frombuffer(self._maps.memory(f"fib{version}"), np.uint32)
        first = words[: len(words) // 2]
        shape = shape_of(version, len(first) // LINE_WORDS)
        return Prefixes(first, WIDTHS[version], shape.root_bits, NODE_BITS[version])

    def _store(self, name: str, index: int, value: bytes) -> None:
        self._maps.memory(name)[index * len(value) : (index + 1) * len(value)] = value

    def interface(self, name: str, *, up: bool) -> None:
        """Say whether packets that come in by an interface are forwarded."""
        value = self._maps.layout("interfaces").pack(mac=self.mac(name), up=up)
        self._store("interfaces", list(self._ports).index(name), value)

    def mac(self, interface: str) -> bytes:
        """The MAC address of an interface."""
        return _mac(str(self._ports[interface].mac))

    def route(self, prefix: str, interface: str, mac: str, mtu: int = 1500) -> None:
        """Lead a prefix to a neighbour."""
        self.lead(prefix, self.next_hop(interface, mac, mtu))

    def next_hop(self, interface: str, mac: str, mtu: int = 1500) -> int:
        """Add the adjacency of a neighbour; return its number."""
        egress = self._egresses[interface]
        return self.adjacency(
            action=FORWARD,
            egress=egress.port,
            tx=egress.tx,
            mtu=mtu,
            dst_mac=_mac(mac),
            src_mac=self.mac(interface),
        )

    def group(self, prefix: str, places: list[int]) -> None:
        """Lead a prefix to several adjacencies, by their numbers, one for each place."""
        self._store("groups", 0, struct.pack(f"={PLACES}I", *places))
        self.lead(prefix, GROUP)

    def blackhole(self, prefix: str) -> None:
        """Drop what goes to a prefix."""
        self.lead(prefix, self.adjacency(action=BLACKHOLE))

    def punt(self, prefix: str) -> None:
        """Leave what goes to a prefix to the kernel."""
        self.lead(prefix, self.adjacency(action=PUNT))

    def adjacency(self, **values: int | bytes) -> int:
        """Add an adjacency; return its number."""
        number, self._adjacencies = self._adjacencies, self._adjacencies + 1
        self._store("adjacencies", number, self._maps.layout("adjacencies").pack(**values))
        return number

    def lead(self, prefix: str, number: int) -> None:
        """Lead a prefix to an adjacency that is there."""
        network = ip_network(prefix)
        table = self._tables[network.version]
        table.set(int(network.network_address), network.prefixlen, number)
=======
from nfv.dataplane.offline import addresses
from nfv.dataplane.routertables import RouterTables

__all__ = ["RouterTables", "fill_from_topology"]
>>>>>>> main


def fill_from_topology(router: RouterTables) -> None:
    """Every neighbour that the topology declares is resolved, every static route is there.

    The router's own addresses and what is reserved go to the kernel.
    """
    router.punt_reserved()
    function = router.topology.vnfs[router.vnf]
    known = dict(addresses(router.topology, router.wiring))
    for name, interface in function.interfaces.items():
        own = [address.ip for address in interface.ip]
        for address in own:
            router.punt(str(address))
        for address, mac in known.items():
            if address not in own and any(address in net.network for net in interface.ip):
                router.route(str(address), name, mac, interface.mtu)
                for route in function.routes:
                    if route.via == address:
                        router.route(str(route.to), name, mac, interface.mtu)
