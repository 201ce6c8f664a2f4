"""A firewall, as docs/functions/firewall.md and docs/architecture.md say what it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.property.model import connections, rules
from tests.property.model.packets import ARP, TCP, UDP, Fragment, Packet
from tests.property.model.verdicts import NEXT, Action, Count, Verdict, drop

DEFAULT = "default"

Datagram = tuple[int, int, int, int, int]


class Firewall:
    """Ordered rules; unless stateless, connections that the first packet's rule has admitted."""

    def __init__(
        self, name: str, config: Mapping[str, Any], places: Mapping[str, int], count: Count
    ) -> None:
        """`config` is what the topology file says; for `places` see `configure`."""
        self.name = name
        self._count = count
        self.is_stateless = bool(config.get("stateless"))
        self._size = int(config.get("connections", 65536))
        self.clear()
        self.configure(config, places)

    def configure(self, config: Mapping[str, Any], places: Mapping[str, int]) -> None:
        """Other rules; connections stay, and count for the rule that admitted them.

        `places` has the number under which each rule is counted, which connections keep.
        """
        lists = {key: rules.many(value) for key, value in config.get("prefix_lists", {}).items()}
        self._rules = [
            (rules.read(rule, lists), rule["action"], places[rule["name"]])
            for rule in config.get("rules", ())
        ]
        self._default = config.get("default", "drop")
        self._default_place = places[DEFAULT]
        self._names = {place: name for name, place in places.items()}

    def clear(self) -> None:
        """Forget connections and datagrams."""
        self.tables = {version: connections.Table(self._size) for version in (4, 6)}
        self._datagrams: dict[Datagram, int] = {}

    def process(self, packet: Packet, forward: bool) -> Verdict:
        """Treat a packet that goes along the chain's path, or against it."""
        if packet.ethertype == ARP:
            return NEXT
        if not packet.family:
            return NEXT if self._default == "accept" else drop("ethertype")
        if packet.is_discovery:
            return NEXT
        if self.is_stateless:
            return self._judge(packet, forward)[0]
        return self._track(packet, forward)

    def _count_for(self, place: int, packet: Packet) -> None:
        if place in self._names:
            self._count(("rule", self.name, self._names[place]), len(packet.frame))

    def _judge(self, packet: Packet, forward: bool) -> tuple[Verdict, int]:
        """What the first rule that matches says, and its place."""
        action, place = self._default, self._default_place
        for conditions, its_action, its_place in self._rules:
            if conditions.hold(packet, forward):
                action, place = its_action, its_place
                break
        self._count_for(place, packet)
        if action == "accept":
            return NEXT, place
        if action == "reject":
            return Verdict(Action.REJECT, "rejected"), place
        return drop("rule"), place

    def _track(self, packet: Packet, forward: bool) -> Verdict:
        if packet.fragment is Fragment.LATER:
            return self._pass_later(packet)
        # RFC 1858: a transport header cut short hides its ports.
        if not packet.complete and (packet.is_icmp or packet.protocol in (TCP, UDP)):
            return drop("malformed")
        if connections.has_bad_flags(packet):
            return drop("invalid")
        verdict, place = self._admit(packet, forward)
        if verdict is NEXT and packet.fragment is Fragment.FIRST:
            self._datagrams[_datagram(packet)] = place
        return verdict

    def _pass_later(self, packet: Packet) -> Verdict:
        """Later fragments have no ports: they go the way of their datagram's first."""
        place = self._datagrams.get(_datagram(packet))
        if place is None:
            return drop("fragment")
        self._count_for(place, packet)
        return NEXT

    def _admit(self, packet: Packet, forward: bool) -> tuple[Verdict, int]:
        """By a connection, or else by the rules; with the place of the rule that decided."""
        table = self.tables[packet.family]
        if connections.is_error(packet):
            quoted = connections.quoted_name(packet)
            known = table.find(quoted) if quoted else None
            return self._belong(packet, known) if known else (drop("invalid"), 0)
        name = connections.name_of(packet)
        known = table.find(name) if self._has_connection(packet) else None
        if known and not connections.begins_anew(packet, known):
            connections.follow(packet, known)
            return self._belong(packet, known)
        if connections.is_answer(packet):
            return drop("invalid"), 0
        verdict, place = self._judge(packet, forward)
        if verdict is NEXT and connections.begins(packet) and not table.add(name, place):
            return drop("table_full"), place
        return verdict, place

    def _has_connection(self, packet: Packet) -> bool:
        """Of ICMP, only echoes have connections."""
        return not packet.is_icmp or connections.is_echo(packet)

    def _belong(self, packet: Packet, known: connections.Connection) -> tuple[Verdict, int]:
        """A packet of a connection is counted for the rule that admitted it."""
        self._count_for(known.counter, packet)
        return NEXT, known.counter


def _datagram(packet: Packet) -> Datagram:
    """What fragments share: RFC 791, section 3.2; RFC 8200, section 4.5, without the protocol."""
    protocol = packet.protocol if packet.family == 4 else 0
    return packet.family, packet.src, packet.dst, packet.ident, protocol
