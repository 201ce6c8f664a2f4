"""What a DHCPv6 relay agent hands on, and to whom (RFC 9915, section 19)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest
from scapy.layers import dhcp6 as scapy6

from nfv.services.dhcp6.relay import RelayAgent, Ways
from nfv.services.dhcp6.wire import SERVER_PORT
from nfv.services.packets6 import Datagram6, link_local, parse_udp6

pytestmark = pytest.mark.root  # for the port of servers

OWN, MAC = IPv6Address("2001:db8:1::2"), bytes.fromhex("020000000002")
CLIENT, CLIENT_MAC = IPv6Address("fe80::7"), bytes.fromhex("020000000007")
GROUP = IPv6Address("ff02::1:2")
REMOTE = b"\0\0\x7e\xd9agent"
STAGE = 4
_PATIENCE = 5.0


class Wire:
    """A relay agent between frames and a server's socket."""

    def __init__(self) -> None:
        self.server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.server.bind(("::1", SERVER_PORT))
        self.server.settimeout(_PATIENCE)
        self.out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.out.bind(("::1", 0))
        self.out.setblocking(False)
        self.sent: list[tuple[int, bytes]] = []
        self.agent = RelayAgent(self.out, lambda stage, frame: self.sent.append((stage, frame)))
        ways = Ways([IPv6Address("::1")], {"lan": OWN}, {"lan": STAGE}, REMOTE, MAC)
        self.agent.configure(ways)

    def close(self) -> None:
        self.server.close()
        self.out.close()

    def up(self, message: Any, src: IPv6Address = CLIENT, port: str = "lan") -> Any:
        """What the server gets for a message; None if nothing."""
        before = self.agent.counted["requests"]
        payload = bytes(message)
        self.agent.up(Datagram6(CLIENT_MAC, MAC, src, GROUP, 546, 547, payload), port)
        if self.agent.counted["requests"] == before:
            return None
        return scapy6.DHCP6_RelayForward(self.server.recv(65535))

    def down(self, message: Any) -> list[tuple[int, bytes]]:
        """The frames that leave for a server's message."""
        self.sent.clear()
        self.server.sendto(bytes(message), self.out.getsockname())
        self.agent.down()
        return self.sent


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def reply(peer: IPv6Address = CLIENT, port: bytes = b"lan", message: Any = None) -> Any:
    carried = scapy6.DHCP6_Reply(trid=7) if message is None else message
    header = scapy6.DHCP6_RelayReply(hopcount=0, linkaddr=str(OWN), peeraddr=str(peer))
    return header / scapy6.DHCP6OptIfaceId(ifaceid=port) / scapy6.DHCP6OptRelayMsg(message=carried)


def test_a_clients_message_goes_to_the_server(wire: Wire) -> None:
    told = wire.up(scapy6.DHCP6_Solicit(trid=7))

    assert (told.hopcount, told.linkaddr, told.peeraddr) == (0, str(OWN), str(CLIENT))
    assert told[scapy6.DHCP6OptIfaceId].ifaceid == b"lan"
    remote = told[scapy6.DHCP6OptRemoteID]
    assert (remote.enterprisenum, remote.remoteid) == (32473, b"agent")
    assert told[scapy6.DHCP6OptClientLinkLayerAddr].clladdr == CLIENT_MAC.hex(":")
    assert told[scapy6.DHCP6OptRelayMsg].message.trid == 7


@pytest.mark.parametrize(("src", "link"), [("fe80::9", str(OWN)), ("2001:db8:7::1", "::")])
def test_another_agents_message_goes_on(wire: Wire, src: str, link: str) -> None:
    inner = scapy6.DHCP6_RelayForward(hopcount=3, linkaddr="2001:db8:7::1")
    inner /= scapy6.DHCP6OptRelayMsg(message=scapy6.DHCP6_Solicit(trid=7))
    told = wire.up(inner, IPv6Address(src))

    assert (told.hopcount, told.linkaddr, told.peeraddr) == (4, link, src)
    assert scapy6.DHCP6OptClientLinkLayerAddr not in told
    assert bytes(told[scapy6.DHCP6OptRelayMsg].message) == bytes(inner)


def test_messages_of_an_unknown_type_go_on(wire: Wire) -> None:
    """RFC 7283."""
    assert wire.up(b"\x63abc") is not None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        scapy6.DHCP6_Reply(),
        scapy6.DHCP6_Advertise(),
        scapy6.DHCP6_RelayReply(),
        scapy6.DHCP6_RelayForward(hopcount=8),
    ],
    ids=["empty", "Reply", "Advertise", "Relay-reply", "hops"],
)
def test_what_no_client_sends_is_left_alone(wire: Wire, message: Any) -> None:
    assert wire.up(message) is None


def test_what_comes_from_nowhere_is_left_alone(wire: Wire) -> None:
    assert wire.up(scapy6.DHCP6_Solicit(), port="unknown") is None


def test_an_answer_goes_to_its_client(wire: Wire) -> None:
    wire.up(scapy6.DHCP6_Solicit(trid=7))
    ((stage, frame),) = wire.down(reply())
    datagram = parse_udp6(frame)

    assert datagram is not None
    assert stage == STAGE
    assert (datagram.dst_mac, datagram.src_mac) == (CLIENT_MAC, MAC)
    assert (datagram.src, datagram.dst) == (link_local(MAC), CLIENT)
    assert (datagram.sport, datagram.dport) == (547, 546)
    assert datagram.payload == bytes(scapy6.DHCP6_Reply(trid=7))


def test_an_answer_goes_to_another_agent(wire: Wire) -> None:
    inner = scapy6.DHCP6_RelayForward(hopcount=0)
    wire.up(inner / scapy6.DHCP6OptRelayMsg(message=scapy6.DHCP6_Solicit()))
    ((_, frame),) = wire.down(reply(message=scapy6.DHCP6_RelayReply()))
    datagram = parse_udp6(frame)

    assert datagram is not None
    assert datagram.dport == 547


@pytest.mark.parametrize(
    "message",
    [
        b"\x0d",
        scapy6.DHCP6_Reply(),
        reply(IPv6Address("fe80::8")),
        reply(port=b"other"),
        reply(message=b""),
    ],
    ids=["cut", "Reply", "stranger", "port", "empty"],
)
def test_other_answers_go_nowhere(wire: Wire, message: Any) -> None:
    wire.up(scapy6.DHCP6_Solicit())

    assert wire.down(message) == []
