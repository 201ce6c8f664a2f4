"""A router's tables, written at once and by whoever has them alone."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network

import numpy as np

from nfv.chain.fields import Address
from nfv.chain.topology import Topology
from nfv.dataplane.routing.egress import Egress, egresses
from nfv.dataplane.routing.fib import OWN_WORDS, own_bits
from nfv.dataplane.routing.rib import RESERVED
from nfv.dataplane.routing.routemsg import WIDTHS, Prefix
from nfv.dataplane.routing.targets import GROUP, PLACES, shares
from nfv.dataplane.wiring import Wiring
from nfv.ebpf.prefixes import Prefixes
from nfv.ebpf.tables import Maps
from nfv.ebpf.tableshape import LINE_WORDS, NODE_BITS, shape_of

PUNT, FORWARD, BLACKHOLE, OWN = range(4)  # enum self_action


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
        self._groups = 0
        self._own: list[Prefix] = []
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
        egress = self._egresses[name]
        value = self._maps.layout("interfaces").pack(
            mac=self.mac(name), up=up, check=egress.check, port=egress.port
        )
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

    def share(self, prefix: str, next_hops: Sequence[tuple[int, int]]) -> None:
        """Lead a prefix to several adjacencies, given with their weights."""
        places = [next_hops[at][0] for at in shares([weight for _, weight in next_hops], PLACES)]
        number, self._groups = self._groups, self._groups + 1
        self._store("groups", number, struct.pack(f"={PLACES}I", *places))
        self.lead(prefix, number | GROUP)

    def blackhole(self, prefix: str) -> None:
        """Drop what goes to a prefix."""
        self.lead(prefix, self.adjacency(action=BLACKHOLE))

    def connect(self, prefix: str, interface: str) -> None:
        """Leave what goes to a prefix on an interface's link to the kernel."""
        self.lead(prefix, self.adjacency(action=PUNT, egress=self._egresses[interface].port))

    def punt(self, prefix: str) -> None:
        """Leave what goes to a prefix to the kernel."""
        self.lead(prefix, self.adjacency(action=PUNT))

    def own(self, address: Address) -> None:
        """Leave what goes to an address to the kernel; if it is of IPv4, none may come from it."""
        if address.version == 6:
            self.punt(str(address))
            return
        self.lead(str(address), self.adjacency(action=OWN))
        self._own.append(Prefix(4, int(address), WIDTHS[4]))
        bits = struct.pack(f"={OWN_WORDS}Q", *own_bits(self._own))
        self._store("defaults", 0, self._maps.layout("defaults").pack(own=bits))

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

    def punt_reserved(self) -> None:
        """Leave destinations of limited scope to the kernel."""
        for version, prefixes in RESERVED.items():
            kind = IPv4Address if version == 4 else IPv6Address
            for prefix in prefixes:
                self.punt(f"{kind(prefix.key)}/{prefix.length}")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
