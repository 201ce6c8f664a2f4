"""A DHCP server without a network: messages in, answers out, and a clock that tests move."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from nfv.chain.topology import loads
from nfv.functions.dhcp import Dhcp
from nfv.services.dhcp.answers import Answer
from nfv.services.dhcp.leases import KIND4, Lease4, Leases4
from nfv.services.dhcp.plan import Plan
from nfv.services.dhcp.server import Asked, Server
from nfv.services.dhcp.wire import REQUEST, Message, Option, Type

CHAIN = "inside"
SERVER = IPv4Address("10.0.1.2")
START = 1_000_000.0

_TEXT = """
name: bed
saps:
  lan: {{kind: tap}}
  far: {{kind: tap}}
vnfs:
  dhcp:
{config}
chains:
  inside: {{path: [lan, dhcp, far]}}
"""

DEFAULT = """
type: dhcp
ip: 10.0.1.2/24
options: {domain: lab.example, dns: [10.0.1.53]}
subnets:
  - network: 10.0.1.0/24
    pools: [{range: 10.0.1.100-10.0.1.103}]
    options: {routers: 10.0.1.1}
  - network: 10.0.2.0/24
    pools: [{range: 10.0.2.100-10.0.2.199}]
"""


def function(config: str) -> Dhcp:
    """The function that some lines of YAML declare."""
    indented = "\n".join(f"    {line}" for line in config.strip().splitlines())
    found = loads(_TEXT.format(config=indented)).vnfs["dhcp"]
    assert isinstance(found, Dhcp)
    return found


def mac(number: int) -> bytes:
    return b"\2\0\0\0" + number.to_bytes(2, "big")


@dataclass
class Bed:
    """A server, its leases in a file, and what time it is."""

    path: Path
    config: str = DEFAULT
    now: float = START
    leases: Leases4 = field(init=False)
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def plan(self) -> Plan:
        return Plan(function(self.config).config, {CHAIN: []})

    def start(self) -> None:
        """A server that knows what is on the disk, and nothing else."""
        self.leases = Leases4(self.path, KIND4)
        self.server = Server(self.plan(), self.leases, lambda: self.now)

    def configure(self, config: str) -> None:
        self.config = config
        self.server.configure(self.plan())

    def send(self, kind: Type, number: int = 1, **fields: object) -> Answer | None:
        """A message of client `number`; options are given as `o50=...`, all else are fields."""
        options: dict[int, bytes] = {Option.MESSAGE_TYPE: bytes((kind,))}
        others: dict[str, object] = {}
        for key, value in fields.items():
            if key.startswith("o"):
                assert isinstance(value, (bytes, IPv4Address))
                options[int(key[1:])] = value if isinstance(value, bytes) else value.packed
            else:
                others[key] = IPv4Address(value) if isinstance(value, str) else value
        source = others.pop("source", mac(number))
        assert isinstance(source, bytes)
        message = Message(REQUEST, 99, mac(number), options=options, **others)  # type: ignore[arg-type]
        answer = self.server.handle(Asked(message, CHAIN, "lan", source))
        self.leases.commit()
        return answer

    def bind(self, number: int = 1, **fields: object) -> IPv4Address:
        """DISCOVER, OFFER, REQUEST, ACK; the address."""
        offer = self.send(Type.DISCOVER, number, **fields)
        assert offer is not None
        assert offer.message.type is Type.OFFER
        address = offer.message.yiaddr
        server = offer.message.address(Option.SERVER_ID)
        fields = {key: value for key, value in fields.items() if key != "o50"}
        ack = self.send(Type.REQUEST, number, o50=address, o54=server, **fields)
        assert ack is not None
        assert (ack.message.type, ack.message.yiaddr) == (Type.ACK, address)
        return address

    def expire(self) -> None:
        """Free what has run out; there is no fast path that promised more."""
        self.server.expire(lambda lease: lease.ends)
        self.leases.commit()

    def lease(self, address: IPv4Address | str) -> Lease4:
        found = self.leases.at(IPv4Address(address))
        assert found is not None
        return found
