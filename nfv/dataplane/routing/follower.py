"""Follows the routing of one router's namespace, by netlink, into the router's maps.

The kernel does not tell everything: IPv4 routes that go with a device, an address or a next hop
object vanish without a message of their own. After such an event, when messages were lost, and when
they are ambiguous, everything is listed again.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from nfv.dataplane.kernel import netns as namespaces
from nfv.dataplane.kernel.refusal import refused
from nfv.dataplane.kernel.rtsocket import (
    NLM_F_REPLACE,
    Reply,
    Request,
    RtSocket,
    open_socket,
    split,
)
from nfv.dataplane.routing import routemsg
from nfv.dataplane.routing.egress import Egress
from nfv.dataplane.routing.fib import Fib
from nfv.dataplane.routing.rib import NeighbourKey, Rib
from nfv.dataplane.routing.routemsg import (
    ALL_DEVICES,
    WIDTHS,
    Neighbour,
    Prefix,
    Route,
    RouteReader,
    Rule,
    Way,
)
from nfv.errors import KernelError

_RECEIVE_BUFFER = 256 << 20  # bytes; some 200,000 messages, each with the kernel's own overhead
_RECEIVE_SIZE = 1 << 16
_DATAGRAMS_PER_READ = 1024

_DEFAULT_RULES = {
    4: {Rule(4, 0, 255, True), Rule(4, 32766, 254, True), Rule(4, 32767, 253, True)},
    6: {Rule(6, 0, 255, True), Rule(6, 32766, 254, True)},
}

T = TypeVar("T")


class _Overrun(Exception):
    """Messages were lost."""


@dataclass(frozen=True)
class Status:
    """What a follower holds; `why` says what makes the kernel route some of the traffic."""

    ipv4_routes: int
    ipv6_routes: int
    neighbours: int
    adjacencies: int
    why: str | None

    def document(self) -> dict[str, object]:
        """As the control socket tells it."""
        return {**asdict(self), "mode": "kernel" if self.why else "fast"}


class Follower:
    """One router. In step with its namespace after `read` and `flush`.

    `fileno()` becomes readable when something changed. Methods raise `KernelError`.
    """

    def __init__(self, netns: str, pins: Path, egresses: Iterable[Egress], number: int) -> None:
        """Adopt the maps pinned in `pins` and fill them; forwarding goes on meanwhile.

        `number` is the router's in counted paths.
        """
        self._netns = netns
        self._pins = pins
        self._egresses = tuple(egresses)
        self._rib = Rib(self._egresses)
        self._forwarding: dict[tuple[int, int], bool] = {}
        self._custom_rules: dict[int, bool] = {4: False, 6: False}
        self._stale: dict[NeighbourKey, Neighbour] = {}
        self._shown: dict[int, tuple[bytes, bool, Egress]] = {}  # interfaces as the map has them
        self._must_list = True
        self._must_list_rules = True
        self._routes = RouteReader()
        self._fib = Fib(pins, self._rib, number)
        try:
            self._inode = namespaces.inode(netns)
            with namespaces.entered(netns):
                self._events = open_socket(_RECEIVE_BUFFER, routemsg.GROUP_MASK)
                self._requests = RtSocket()
        except KernelError:
            self._fib.abandon()
            self._fib.close()
            raise

    def fileno(self) -> int:
        return self._events.fileno()

    def close(self) -> None:
        """Let go of the namespace and the maps; forwarding goes on as it is."""
        self._events.close()
        self._requests.close()
        self._fib.close()

    def abandon(self) -> None:
        """Leave all to the kernel until everything could be listed again."""
        self._must_list = self._must_list_rules = True
        self._fib.abandon()

    @property
    def is_current(self) -> bool:
        """Whether the namespace and the maps of those names are still the ones in use."""
        try:
            return (
                namespaces.exists(self._netns)
                and namespaces.inode(self._netns) == self._inode
                and self._fib.is_pinned_at(self._pins)
            )
        except KernelError:  # gone between two of these looks
            return False

    def rewire(self, egresses: Iterable[Egress]) -> None:
        """Learn where the interfaces lead from now on."""
        self._egresses = tuple(egresses)
        self._rib.rewire(self._egresses)
        self._shown.clear()

    def read(self) -> bool:
        """Take in what came, or a part of much; False if there was nothing. Never waits."""
        for count in range(_DATAGRAMS_PER_READ):
            try:
                data = self._receive()
            except BlockingIOError:
                return count > 0
            except _Overrun:
                self._must_list = self._must_list_rules = True
                self._discard()
                return True
            for message in split(data):
                self._take(message)
        return True

    def flush(self) -> None:
        """Bring the maps in step with what was read."""
        if self._must_list or self._rib.doubtful:
            self._list()
        if self._must_list_rules:
            self._list_rules()
        self._fib.update()
        self._show_interfaces()
        self._fib.steer({version: self._why(version) is None for version in WIDTHS})
        self._confirm_stale()

    @property
    def why(self) -> str | None:
        """What leaves some of the traffic to the kernel, if anything does."""
        reasons = {version: self._why(version) for version in WIDTHS}
        return "; ".join(f"IPv{version}: {why}" for version, why in reasons.items() if why) or None

    def status(self) -> Status:
        """What there is, for `nfvctl inspect`."""
        return Status(
            ipv4_routes=self._fib.prefixes(4),
            ipv6_routes=self._fib.prefixes(6),
            neighbours=self._rib.neighbours,
            adjacencies=len(self._fib.adjacencies),
            why=self.why,
        )

    @property
    def wanted(self) -> dict[str, int]:
        """Capacities of maps that are too small and could be larger, by name."""
        return self._fib.wanted

    def _why(self, version: int) -> str | None:
        """What keeps a version from the fast path, if anything does."""
        if self._custom_rules[version]:
            return "there are policy rules besides the default ones (ip rule)"
        if not self._fib.is_complete(version):
            return "the table is full"
        if version == 6 and not self._forwarding.get((6, ALL_DEVICES), False):
            return "forwarding is off (net.ipv6.conf.all.forwarding)"
        return None

    # What comes in

    def _receive(self) -> bytes:
        """The next datagram; `BlockingIOError` if there is none, `_Overrun` once for all lost."""
        try:
            return self._events.recv(_RECEIVE_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise _Overrun from error
            raise refused(f"follow changes in namespace {self._netns}", error) from error

    def _discard(self) -> None:
        """Empty the queue: until then one that ran over drops what comes, and says so only once."""
        with suppress(BlockingIOError):
            while True:
                with suppress(_Overrun):
                    self._receive()

    def _take(self, message: Reply) -> None:
        if message.type in _NEEDS_LIST:
            self._must_list = True
        elif message.type in (routemsg.RTM_NEWRULE, routemsg.RTM_DELRULE):
            self._must_list_rules = True
        elif message.type == routemsg.RTM_NEWNEXTHOP:
            self._must_list |= bool(message.flags & NLM_F_REPLACE)
        elif message.type in (routemsg.RTM_NEWROUTE, routemsg.RTM_DELROUTE):
            self._take_route(message)
        elif message.type in (routemsg.RTM_NEWNEIGH, routemsg.RTM_DELNEIGH):
            self._take_neighbour(message)
        elif message.type == routemsg.RTM_NEWLINK:
            self._take_link(message)
        elif message.type == routemsg.RTM_NEWNETCONF:
            self._take_forwarding(message)

    def _take_route(self, message: Reply) -> None:
        found = self._routes.read(message.data)
        if found is None:
            return
        packed, way = found
        route = Route(Prefix(way.version, packed >> 8, packed & 0xFF), way)
        if message.type == routemsg.RTM_NEWROUTE:
            self._rib.add_route(route, replaces=bool(message.flags & NLM_F_REPLACE))
        else:
            self._rib.del_route(route)

    def _take_neighbour(self, message: Reply) -> None:
        neighbour = routemsg.neighbour(message.data)
        if neighbour is None:
            return
        if message.type == routemsg.RTM_NEWNEIGH:
            self._rib.set_neighbour(neighbour)
            self._note_stale(neighbour)
        else:
            self._rib.del_neighbour(neighbour)

    def _take_link(self, message: Reply) -> None:
        link = routemsg.link(message.data)
        if link is None:
            return
        before = self._rib.links.get(link.ifindex)
        if before is None or (before.running and not link.running):
            self._must_list = True
        self._rib.set_link(link)

    def _take_forwarding(self, message: Reply) -> None:
        setting = routemsg.forwarding(message.data)
        if setting is not None:
            self._forwarding[setting.version, setting.ifindex] = setting.enabled

    # Listing

    def _list(self) -> None:
        """Read everything.

        Links come first: the kernel lists them when it is done with the change that it announced,
        whose silent effects on routes the later lists then have.
        """
        links = self._dump(routemsg.RTM_GETLINK, routemsg.link_request(), routemsg.link)
        self._forwarding = {
            (setting.version, setting.ifindex): setting.enabled
            for version in WIDTHS
            for setting in self._dump(
                routemsg.RTM_GETNETCONF, routemsg.forwarding_request(version), routemsg.forwarding
            )
        }
        neighbours = self._dump(
            routemsg.RTM_GETNEIGH, routemsg.neighbour_request(), routemsg.neighbour
        )
        self._rib.replace(links, self._listed_routes(), neighbours)
        for neighbour in neighbours:
            self._note_stale(neighbour)
        self._must_list = False

    def _listed_routes(self) -> Iterator[tuple[int, Way]]:
        what = f"list the routes of namespace {self._netns}"
        for version in WIDTHS:
            body = routemsg.route_request(version)
            for data in self._requests.messages(routemsg.RTM_GETROUTE, body, what):
                found = self._routes.read(data)
                if found is not None:
                    yield found

    def _list_rules(self) -> None:
        for version, expected in _DEFAULT_RULES.items():
            rules = self._dump(routemsg.RTM_GETRULE, routemsg.rule_request(version), routemsg.rule)
            self._custom_rules[version] = bool(rules) and set(rules) != expected
        self._must_list_rules = False

    def _dump(self, type_: int, body: bytes, decode: Callable[[bytes], T | None]) -> list[T]:
        what = f"list the routing of namespace {self._netns}"
        found = (decode(reply.data) for reply in self._requests.dump(type_, body, what))
        return [item for item in found if item is not None]

    # What goes out

    def _show_interfaces(self) -> None:
        links = {link.name: link for link in self._rib.links.values()}
        for ordinal, egress in enumerate(self._egresses):
            link = links.get(egress.device)
            mac, up = bytes(6), False
            if link is not None:
                mac = link.mac
                up = link.running and self._forwarding.get((4, link.ifindex), False)
            if self._shown.get(ordinal) != (mac, up, egress):
                self._fib.set_interface(ordinal, mac, up, egress)
                self._shown[ordinal] = mac, up, egress

    def _note_stale(self, neighbour: Neighbour) -> None:
        key = neighbour.ifindex, neighbour.address
        if neighbour.stale:
            self._stale[key] = neighbour
        else:
            self._stale.pop(key, None)

    def _confirm_stale(self) -> None:
        """Have the kernel probe neighbours that XDP sends to: it does not see those packets."""
        for neighbour in self._stale.values():
            if self._fib.adjacencies.uses((neighbour.ifindex, neighbour.address)):
                request = Request(
                    "confirm a neighbour", routemsg.RTM_NEWNEIGH, 0, routemsg.use_request(neighbour)
                )
                with suppress(KernelError):  # it went meanwhile, as an event will tell
                    self._requests.request([request])
        self._stale.clear()


_NEEDS_LIST = frozenset({routemsg.RTM_DELLINK, routemsg.RTM_DELADDR, routemsg.RTM_DELNEXTHOP})
