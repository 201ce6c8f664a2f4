"""DHCPv4 messages as bytes: compared with Scapy's, and with what nobody should send."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from nfv.services.dhcp import wire
from nfv.services.dhcp.wire import Malformed, Message, Option, Type, build, parse
from nfv.services.packets import Datagram, build_udp, parse_udp

MAC = bytes.fromhex("020000000007")
HEADER = 236

contents = st.dictionaries(
    st.integers(1, 254).filter(lambda code: code != Option.OVERLOAD),
    st.binary(max_size=40),
    max_size=8,
)
addresses = st.integers(0, 0xFFFFFFFF).map(IPv4Address)


def scapy_message(options: list[Any], **fields: Any) -> bytes:
    return bytes(BOOTP(chaddr=MAC, xid=7, **fields) / DHCP(options=options))


def padded(data: bytes) -> bytes:
    return data.ljust(wire.LEAST_LENGTH, b"\0")


def test_a_message_of_scapy_is_read() -> None:
    asked = [("message-type", "request"), ("requested_addr", "10.0.1.7"), ("hostname", b"printer")]
    message = parse(scapy_message([*asked, "end"], ciaddr="10.0.1.9", giaddr="10.0.2.1", flags="B"))

    assert message.type is Type.REQUEST
    assert message.address(Option.REQUESTED_ADDRESS) == IPv4Address("10.0.1.7")
    assert message.options[Option.HOSTNAME] == b"printer"
    assert (message.xid, message.chaddr, message.flags) == (7, MAC, wire.BROADCAST)
    assert (str(message.ciaddr), str(message.giaddr)) == ("10.0.1.9", "10.0.2.1")


def test_a_message_is_what_scapy_builds() -> None:
    options: dict[int, bytes] = {53: b"\5", 54: bytes([10, 0, 1, 2]), 51: (600).to_bytes(4, "big")}
    message = Message(wire.REPLY, 7, MAC, yiaddr=IPv4Address("10.0.1.7"), options=options)
    expected = [("message-type", "ack"), ("server_id", "10.0.1.2"), ("lease_time", 600), "end"]

    assert build(message) == padded(scapy_message(expected, op=2, yiaddr="10.0.1.7"))


@given(contents, addresses, addresses, st.integers(0, 0xFFFFFFFF), st.integers(0, 16))
def test_what_is_built_is_read_again(
    options: dict[int, bytes], ciaddr: IPv4Address, giaddr: IPv4Address, xid: int, length: int
) -> None:
    message = Message(
        wire.REQUEST, xid, MAC[:length], ciaddr=ciaddr, giaddr=giaddr, options=options
    )
    read = parse(build(message, room=1472))

    assert read == message


@given(st.binary(max_size=700))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    for candidate in (data, scapy_message([]) + data):
        try:
            message = parse(candidate)
        except Malformed:
            continue
        assert sum(map(len, message.options.values())) <= len(candidate)
        assert message.room >= wire.DEFAULT_LENGTH


@pytest.mark.parametrize("cut", [0, 100, HEADER, HEADER + 3])
def test_a_message_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(Malformed, match="shorter"):
        parse(scapy_message([("message-type", "discover"), "end"])[:cut])


def test_an_option_beyond_the_end_is_refused() -> None:
    with pytest.raises(Malformed, match="option 12 goes beyond"):
        parse(scapy_message([]) + bytes((12, 200)) + b"short")


def test_a_hardware_address_longer_than_its_field_is_refused() -> None:
    with pytest.raises(Malformed):
        parse(scapy_message([("message-type", "discover"), "end"], hlen=17))


def test_long_options_are_sent_in_parts_and_put_together() -> None:
    """RFC 3396."""
    content = bytes(range(256)) * 2
    data = build(Message(wire.REPLY, 1, MAC, options={119: content}), room=1472)

    assert data.count(bytes((119, 255))) == 2
    assert parse(data).options[119] == content


def test_options_overflow_into_the_fields_for_names() -> None:
    """RFC 2132, section 9.3; a message of the least size that every client takes."""
    options = {224 + number: bytes(size) for number, size in enumerate((100, 120, 110, 50))}
    data = build(Message(wire.REPLY, 1, MAC, options={53: b"\5", **options}))

    assert len(data) <= wire.DEFAULT_LENGTH
    assert data[HEADER + 4] == Option.OVERLOAD
    assert parse(data).options == {
        Option.OVERLOAD: data[HEADER + 6 : HEADER + 7],
        53: b"\5",
        **options,
    }


def test_the_agents_option_is_last_and_always_fits() -> None:
    """RFC 3046, section 2.1: it is echoed as the last of all."""
    options = {82: b"\1\4port", **{200 + number: bytes(60) for number in range(12)}}
    data = build(Message(wire.REPLY, 1, MAC, options=options, file=b"boot", sname=b"server"))

    assert len(data) <= wire.DEFAULT_LENGTH
    assert data.rstrip(b"\0").endswith(bytes((82, 6)) + b"\1\4port\xff")


# Datagrams -------------------------------------------------------------------------------------


def frame_of(payload: bytes) -> Any:
    return (
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / IP(src="10.0.1.2", dst="10.0.1.7", flags="DF", id=0)
        / UDP(sport=67, dport=68)
        / payload
    )


@given(st.binary(max_size=600))
def test_datagrams_are_as_scapy_has_them(payload: bytes) -> None:
    source, target = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
    ips = IPv4Address("10.0.1.2"), IPv4Address("10.0.1.7")
    datagram = Datagram(source, target, *ips, 67, 68, payload)
    frame = bytes(frame_of(payload))

    assert build_udp(datagram) == frame
    assert parse_udp(frame) == datagram
    assert parse_udp(frame + bytes(9)) == datagram  # padding


@given(st.binary(max_size=200))
def test_other_frames_are_no_datagrams(data: bytes) -> None:
    found = parse_udp(data)

    assert found is None or len(found.payload) <= len(data)


@pytest.mark.parametrize("at", [14, 16, 24, 38, 40, 45])
def test_a_damaged_datagram_is_none(at: int) -> None:
    frame = bytearray(bytes(frame_of(b"payload")))
    frame[at] ^= 0x15

    assert parse_udp(bytes(frame)) is None
