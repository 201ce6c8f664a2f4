"""A DHCPv6 server without a network: messages in, answers out, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

from nfv.services.dhcp.leases import KIND6, Leases, Leases6
from nfv.services.dhcp6.plan import Plan
from nfv.services.dhcp6.server import Asked, Server
from nfv.services.dhcp6.wire import (
    Association,
    Granted,
    Message,
    Option,
    Relay,
    Type,
    build_association,
    found,
    parse_association,
    parse_options,
)
from tests.services.dhcpbed import CHAIN, START, function, mac

SERVER = bytes.fromhex("00030001020000000002")

DEFAULT = """
type: dhcp
ip: 2001:db8:1::2/64
lease: 3600
ipv6:
  options: {dns: 2001:db8:1::53, search: lab.example}
  preferred: 2000
  subnets:
    - network: 2001:db8:1::/64
      pools: [{range: 2001:db8:1::100-2001:db8:1::103}]
      delegate: [{within: 2001:db8:100::/54, length: 56}]
    - network: 2001:db8:2::/64
      pools: [{range: 2001:db8:2::100-2001:db8:2::1ff}]
"""


def duid(number: int) -> bytes:
    return b"\0\3\0\1" + mac(number)


def address(text: str) -> Granted:
    return Granted(IPv6Network(text))


def wanted(*networks: str, kind: int = Option.IA_NA, iaid: int = 1) -> Association:
    """An association that asks for addresses or prefixes, or for any."""
    return Association(kind, iaid.to_bytes(4, "big"), tuple(map(address, networks)))


def prefix(*networks: str, iaid: int = 1) -> Association:
    return wanted(*networks, kind=Option.IA_PD, iaid=iaid)


@dataclass
class Bed6:
    """A server, its leases in a file, and what time it is."""

    path: Path
    config: str = DEFAULT
    now: float = START
    leases: Leases6 = field(init=False)
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def plan(self) -> Plan:
        return Plan(function(self.config).config, {CHAIN: []})

    def start(self) -> None:
        """A server that knows what is on the disk, and nothing else."""
        self.leases = Leases(self.path, KIND6)
        self.server = Server(self.plan(), SERVER, self.leases, lambda: self.now)

    def configure(self, config: str) -> None:
        self.config = config
        self.server.configure(self.plan(), SERVER)

    def send(
        self,
        kind: Type,
        *associations: Association,
        number: int = 1,
        server: bytes | None = None,
        more: Sequence[tuple[int, bytes]] = (),
        relays: Sequence[Relay] = (),
    ) -> Message | None:
        """A message of client `number`."""
        options = [(int(Option.CLIENT_ID), duid(number)), *more]
        if server is not None:
            options.append((Option.SERVER_ID, server))
        options += [build_association(one) for one in associations]
        message = Message(kind, b"abc", tuple(options))
        answer = self.server.handle(Asked(message, relays, CHAIN, "lan", mac(number)))
        self.leases.commit()
        return answer

    def ask(self, kind: Type, *associations: Association, **how: object) -> Message:
        """A message that is answered."""
        answer = self.send(kind, *associations, **how)  # type: ignore[arg-type]
        assert answer is not None
        assert answer.transaction == b"abc"
        assert answer.get(Option.SERVER_ID) == SERVER
        return answer

    def bind(self, *associations: Association, number: int = 1) -> list[Association]:
        """Solicit, Advertise, Request, Reply: what the associations get."""
        offer = self.ask(Type.SOLICIT, *associations, number=number)
        assert offer.type is Type.ADVERTISE
        offered = held(offer)
        reply = self.ask(Type.REQUEST, *offered, number=number, server=SERVER)
        assert reply.type is Type.REPLY
        assert [one.granted for one in held(reply)] == [one.granted for one in offered]
        return held(reply)

    def count(self) -> int:
        """Leases in force."""
        return sum(lease.is_taken(self.now) for lease in self.leases)


def held(message: Message) -> list[Association]:
    """The associations of a message."""
    kinds = (Option.IA_NA, Option.IA_PD)
    return [parse_association(code, one) for code, one in message.options if code in kinds]


def networks(message: Message) -> list[str]:
    """What a message gives, addresses without their length."""
    granted = [one for association in held(message) for one in association.granted]
    return [str(one.network).removesuffix("/128") for one in granted]


def codes(message: Message) -> list[int]:
    """The status of each association, 0 if it says none; of the message if it has none."""
    areas = [one[12:] for code, one in message.options if code in (Option.IA_NA, Option.IA_PD)]
    options = [parse_options(area) for area in areas] or [message.options]
    words = [found(one, Option.STATUS) for one in options]
    return [int.from_bytes(one[:2], "big") if one else 0 for one in words]


def relayed(link: str, **options: bytes) -> Relay:
    """What a relay agent puts around a message; options are given as `o18=...`."""
    kept = tuple((int(key[1:]), content) for key, content in options.items())
    return Relay(0, IPv6Address(link), IPv6Address("fe80::1"), kept)
