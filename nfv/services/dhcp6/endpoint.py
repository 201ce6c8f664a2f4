"""DHCPv6 at a function's tap: from frames to the server and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from nfv.chain.topology import Topology
from nfv.functions.dhcp import DhcpConfig
from nfv.services import neighbours6
from nfv.services.base import Place
from nfv.services.dhcp.leases import KIND6, Lease6, Leases, Leases6
from nfv.services.dhcp.links import ends6
from nfv.services.dhcp6.own import show_link_local
from nfv.services.dhcp6.plan import Plan
from nfv.services.dhcp6.server import Asked, Server
from nfv.services.dhcp6.wire import CLIENT_PORT, SERVER_PORT, Malformed, build, parse
from nfv.services.frames import Frame, answers_at
from nfv.services.packets6 import Datagram6, build_udp6, link_local, parse_udp6

_DUID = bytes((0, 3, 0, 1))  # link-layer address, of Ethernet (RFC 9915, section 11.4)


@dataclass(frozen=True)
class Reply:
    """An answer that waits until the leases are on the disk."""

    stage: int
    frame: bytes


class Endpoint:
    """The DHCPv6 part of a function's service; it has no tap or timer of its own."""

    def __init__(self, place: Place, store: str, clock: Callable[[], float]) -> None:
        """Raises `NfvError` if the leases cannot be read."""
        self._place = place
        self._clock = clock
        self.leases: Leases6 = Leases(place.data / store, KIND6)
        self.server: Server | None = None
        self._own: tuple[IPv6Address, ...] = ()  # the link-local one last
        self._mac = b""

    def configure(
        self, topology: Topology, config: DhcpConfig, chains: Iterable[str], mac: bytes
    ) -> None:
        """Take over a configuration; without the key `ipv6`, DHCPv6 is not served."""
        self._own = (*(one.ip for one in config.ip6), link_local(mac))
        self._mac = mac
        show_link_local(self._place.maps, mac)
        if config.ipv6 is None:
            self.server = None
            return
        plan, duid = Plan(config, {chain: ends6(topology, chain) for chain in chains}), _DUID + mac
        if self.server is None:
            self.server = Server(plan, duid, self.leases, self._clock)
        else:
            self.server.configure(plan, duid)

    def take(self, frame: Frame, chain: str, port: str) -> Reply | None:
        """Treat a frame; what it is answered with must wait for the leases."""
        datagram = parse_udp6(frame.data)
        if datagram is None:
            answer = neighbours6.answer(frame.data, self._own, self._mac)
            if answer:
                self._place.send(answers_at(frame.stage), answer)
            return None
        if self.server is None or datagram.dport != SERVER_PORT:
            return None
        answered = self._treat(self.server, datagram, chain, port)
        return Reply(answers_at(frame.stage), answered) if answered else None

    def _treat(self, server: Server, datagram: Datagram6, chain: str, port: str) -> bytes | None:
        try:
            relays, message = parse(datagram.payload)
        except Malformed:
            server.counted["malformed"] += 1
            return None
        if not relays and not datagram.dst.is_multicast:
            server.counted["unicast"] += 1  # clients use the group (section 18)
            return None
        reply = server.handle(Asked(message, relays, chain, port, datagram.src_mac))
        if reply is None:
            return None
        near = self._own[0] if relays else self._own[-1]
        return build_udp6(
            Datagram6(
                self._mac,
                datagram.src_mac,
                near if datagram.dst.is_multicast else datagram.dst,
                datagram.src,
                SERVER_PORT,
                SERVER_PORT if relays else CLIENT_PORT,
                build(reply, [relay.answering() for relay in relays]),
            )
        )

    def release(self, network: IPv6Network) -> Lease6 | None:
        """Free an address or prefix by hand; None if there is no lease of it in force."""
        return self.server.release(network) if self.server else None

    def expire(self) -> None:
        """Free what has run out."""
        if self.server:
            self.server.expire()

    @property
    def counted(self) -> Mapping[str, int]:
        """Messages by type, and what was not answered, why."""
        return self.server.counted if self.server else {}
