"""DHCPv6 messages as bytes: compared with Scapy's, and with what nobody should send."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import dhcp6 as scapy6
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import Ether

from nfv.services import neighbours6
from nfv.services.dhcp6.wire import (
    MAX_RELAYS,
    Association,
    Granted,
    Malformed,
    Message,
    Option,
    Relay,
    Status,
    Type,
    build,
    build_association,
    parse,
    parse_association,
)
from nfv.services.packets6 import Datagram6, build_udp6, link_local, parse_udp6

MAC = "02:00:00:00:00:07"
DUID = scapy6.DUID_LL(lladdr=MAC)
CLIENT, SERVER = IPv6Address("fe80::7"), IPv6Address("2001:db8:1::2")
OWN_MAC = bytes.fromhex("020000000002")

options = st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=40)), max_size=8).map(tuple)
relays = st.lists(
    st.builds(
        Relay,
        st.integers(0, 255),
        st.integers(0, (1 << 128) - 1).map(IPv6Address),
        st.integers(0, (1 << 128) - 1).map(IPv6Address),
        st.just(((18, b"port"),)),
    ),
    max_size=MAX_RELAYS,
)


def solicit() -> Any:
    address = scapy6.DHCP6OptIAAddress(addr="2001:db8:1::7", preflft=60, validlft=90)
    return (
        scapy6.DHCP6_Solicit(trid=0x616263)
        / scapy6.DHCP6OptClientId(duid=DUID)
        / scapy6.DHCP6OptIA_NA(iaid=5, T1=10, T2=20, ianaopts=[address])
        / scapy6.DHCP6OptIA_PD(
            iaid=6, iapdopt=[scapy6.DHCP6OptIAPrefix(prefix="2001:db8:8::", plen=48)]
        )
        / scapy6.DHCP6OptOptReq(reqopts=[23, 24])
        / scapy6.DHCP6OptRapidCommit()
    )


def test_a_message_of_scapy_is_read() -> None:
    agents, message = parse(bytes(solicit()))

    assert agents == ()
    assert (message.type, message.transaction) == (Type.SOLICIT, b"abc")
    assert message.get(Option.CLIENT_ID) == bytes(DUID)
    assert message.get(Option.RAPID_COMMIT) == b""
    assert parse_association(Option.IA_NA, message.get(Option.IA_NA) or b"") == Association(
        Option.IA_NA, b"\0\0\0\5", (Granted(IPv6Network("2001:db8:1::7"), 60, 90),), 10, 20
    )
    assert parse_association(Option.IA_PD, message.get(Option.IA_PD) or b"").granted == (
        Granted(IPv6Network("2001:db8:8::/48")),
    )


def test_a_message_is_what_scapy_builds() -> None:
    granted = Granted(IPv6Network("2001:db8:1::7"), 60, 90)
    delegated = Granted(IPv6Network("2001:db8:8::/48"), 60, 90)
    refused = Association(Option.IA_NA, b"\0\0\0\7", status=(Status.NO_ADDRESSES, "none"))
    message = Message(
        Type.REPLY,
        b"abc",
        (
            (Option.CLIENT_ID, bytes(DUID)),
            build_association(Association(Option.IA_NA, b"\0\0\0\5", (granted,), 10, 20)),
            build_association(Association(Option.IA_PD, b"\0\0\0\6", (delegated,), 10, 20)),
            build_association(refused),
        ),
    )
    address = scapy6.DHCP6OptIAAddress(addr="2001:db8:1::7", preflft=60, validlft=90)
    prefix = scapy6.DHCP6OptIAPrefix(prefix="2001:db8:8::", plen=48, preflft=60, validlft=90)
    status = scapy6.DHCP6OptStatusCode(statuscode=2, statusmsg=b"none")
    expected = (
        scapy6.DHCP6_Reply(trid=0x616263)
        / scapy6.DHCP6OptClientId(duid=DUID)
        / scapy6.DHCP6OptIA_NA(iaid=5, T1=10, T2=20, ianaopts=[address])
        / scapy6.DHCP6OptIA_PD(iaid=6, T1=10, T2=20, iapdopt=[prefix])
        / scapy6.DHCP6OptIA_NA(iaid=7, T1=0, T2=0, ianaopts=[status])
    )

    assert build(message) == bytes(expected)


def test_relay_agents_are_as_scapy_has_them() -> None:
    inner = scapy6.DHCP6_RelayForward(linkaddr="2001:db8:9::1", peeraddr="fe80::7", hopcount=0)
    inner /= scapy6.DHCP6OptIfaceId(ifaceid=b"port")
    inner /= scapy6.DHCP6OptRelayMsg(message=solicit())
    outer = scapy6.DHCP6_RelayForward(linkaddr="::", peeraddr="2001:db8:9::1", hopcount=1)
    outer /= scapy6.DHCP6OptRelayMsg(message=inner)
    agents, message = parse(bytes(outer))
    answer = build(Message(Type.REPLY, message.transaction), [one.answering() for one in agents])
    read = scapy6.DHCP6_RelayReply(answer)

    assert [str(one.link) for one in agents] == ["::", "2001:db8:9::1"]
    assert [one.hops for one in agents] == [1, 0]
    assert agents[1].get(Option.INTERFACE_ID) == b"port"
    assert (read.hopcount, read.linkaddr, read.peeraddr) == (1, "::", "2001:db8:9::1")
    carried = scapy6.DHCP6_RelayReply(bytes(read[scapy6.DHCP6OptRelayMsg].message))
    assert (carried.hopcount, carried.linkaddr, carried.peeraddr) == (0, "2001:db8:9::1", "fe80::7")
    assert carried[scapy6.DHCP6OptIfaceId].ifaceid == b"port"
    assert carried[scapy6.DHCP6OptRelayMsg].message.trid == 0x616263


@given(st.sampled_from([one for one in Type if one < Type.RELAY_FORW]), options, relays)
def test_what_is_built_is_read_again(kind: Type, held: Any, agents: list[Relay]) -> None:
    message = Message(kind, b"abc", held)

    assert parse(build(message, agents, Type.RELAY_FORW)) == (tuple(agents), message)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1ab",
        b"\16abc",
        b"\1abc\0",
        b"\1abc\0\1\0\5abcd",
        bytes([12, 0]) + bytes(31),
        bytes([12, 0]) + bytes(32),
        bytes([12, 0]) + bytes(32) + b"\0\11\0\0",
    ],
)
def test_what_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)


def test_relay_agents_without_end_are_refused() -> None:
    agents = [Relay(0, IPv6Address(0), IPv6Address(0))] * (MAX_RELAYS + 2)

    with pytest.raises(Malformed):
        parse(build(Message(Type.SOLICIT, b"abc"), agents, Type.RELAY_FORW))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Option.IA_NA, bytes(11)),
        (Option.IA_NA, bytes(12) + b"\0\5\0\2ab"),
        (Option.IA_PD, bytes(12) + b"\0\x1a\0\x18" + bytes(24)),
        (Option.IA_PD, bytes(12) + b"\0\x1a\0\x19" + bytes(8) + b"\x81" + bytes(16)),
    ],
    ids=["association", "address", "prefix", "length"],
)
def test_associations_that_contradict_themselves_are_refused(kind: int, content: bytes) -> None:
    with pytest.raises(Malformed):
        parse_association(kind, content)


# Frames ------------------------------------------------------------------------------------------


def test_datagrams_are_scapys() -> None:
    frame = Ether(src=MAC, dst="33:33:00:01:00:02") / IPv6(
        src=str(CLIENT), dst="ff02::1:2", hlim=64
    )
    frame /= UDP(sport=546, dport=547) / solicit()
    datagram = parse_udp6(bytes(frame))

    assert datagram is not None
    assert (str(datagram.src), str(datagram.dst), datagram.dport) == ("fe80::7", "ff02::1:2", 547)
    assert datagram.payload == bytes(solicit())
    assert build_udp6(datagram) == bytes(frame)


@given(st.binary(max_size=200), st.data())
def test_no_damaged_datagram_is_read(payload: bytes, data: st.DataObject) -> None:
    """Whatever bit is turned behind the hop limit, what is read is what was sent."""
    ends = IPv6Address("fe80::9"), SERVER
    frame = bytearray(build_udp6(Datagram6(bytes(6), OWN_MAC, *ends, 546, 547, payload)))
    at = data.draw(st.integers(22 * 8, len(frame) * 8 - 1))
    frame[at // 8] ^= 1 << at % 8
    found = parse_udp6(bytes(frame))

    assert found is None or found.payload == payload


@pytest.mark.parametrize("own", [SERVER, link_local(OWN_MAC)])
def test_own_addresses_are_advertised(own: IPv6Address) -> None:
    asked: Any = Ether(src=MAC) / IPv6(src="2001:db8:1::7", dst="ff02::1:ff00:2", hlim=255)
    asked /= ICMPv6ND_NS(tgt=str(own)) / ICMPv6NDOptSrcLLAddr(lladdr=MAC)
    frame = neighbours6.answer(bytes(asked), [SERVER, link_local(OWN_MAC)], OWN_MAC)
    assert frame is not None
    told = Ether(frame)

    assert (told.dst, told.src) == (MAC, "02:00:00:00:00:02")
    assert (told[IPv6].src, told[IPv6].dst, told[IPv6].hlim) == (str(own), "2001:db8:1::7", 255)
    assert (told.tgt, told.R, told.S, told.O, told.lladdr) == (str(own), 0, 1, 1, told.src)
    again = Ether(frame)
    del again[IPv6].payload.cksum
    assert bytes(again) == frame


def test_who_is_about_to_take_an_own_address_is_told_too() -> None:
    asked = Ether(src=MAC) / IPv6(src="::", dst="ff02::1:ff00:2", hlim=255)
    frame = neighbours6.answer(bytes(asked / ICMPv6ND_NS(tgt=str(SERVER))), [SERVER], OWN_MAC)
    assert frame is not None
    told = Ether(frame)

    assert (told.dst, told[IPv6].dst, told.S) == ("33:33:00:00:00:01", "ff02::1", 0)


@pytest.mark.parametrize(
    ("target", "limit"), [("2001:db8:1::3", 255), (str(SERVER), 64)], ids=["another", "far"]
)
def test_other_solicitations_are_not_answered(target: str, limit: int) -> None:
    asked = Ether(src=MAC) / IPv6(src="2001:db8:1::7", dst="ff02::1:ff00:2", hlim=limit)

    assert neighbours6.answer(bytes(asked / ICMPv6ND_NS(tgt=target)), [SERVER], OWN_MAC) is None


def test_own_addresses_are_pinged() -> None:
    asked = Ether(src=MAC) / IPv6(src="2001:db8:1::7", dst=str(SERVER))
    asked /= ICMPv6EchoRequest(id=3, seq=4, data=b"odd")
    frame = neighbours6.answer(bytes(asked), [SERVER], OWN_MAC)
    assert frame is not None
    told = Ether(frame)

    assert (told[IPv6].src, told[IPv6].dst) == (str(SERVER), "2001:db8:1::7")
    assert (told[IPv6].payload.type, told.id, told.seq, told.data) == (129, 3, 4, b"odd")
    again = Ether(frame)
    del again[IPv6].payload.cksum
    assert bytes(again) == frame
