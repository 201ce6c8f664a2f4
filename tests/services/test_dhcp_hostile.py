"""Clients that misbehave: the server goes on, keeps its limits, and serves the next good one."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from nfv.services.dhcp.server import Asked
from nfv.services.dhcp.wire import Malformed, Message, Option, Type, build, parse
from nfv.services.packets import Datagram, build_udp, parse_udp
from tests.services.dhcpbed import CHAIN, DEFAULT, Bed, mac

LIMIT = 3

# Values that mean something to the server, so that messages get far, and any others.
addresses = st.sampled_from(
    [IPv4Address(text) for text in ("0.0.0.0", "10.0.1.2", "10.0.1.100", "10.0.1.101", "10.0.2.1")]
) | st.integers(0, 0xFFFFFFFF).map(IPv4Address)
contents = st.binary(max_size=60) | addresses.map(lambda address: address.packed)
options = st.dictionaries(st.sampled_from([*Option]).map(int) | st.integers(1, 254), contents)
messages = st.builds(
    Message,
    st.sampled_from([1, 1, 1, 2]),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 4).map(mac) | st.binary(max_size=16),
    st.sampled_from([1, 1, 6]),
    flags=st.sampled_from([0, 0x8000, 0xFFFF]),
    ciaddr=addresses,
    giaddr=addresses,
    options=st.builds(
        lambda kind, others: {**others, Option.MESSAGE_TYPE: bytes((kind,))},
        st.integers(0, 9),
        options,
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(messages, min_size=1, max_size=20))
def test_no_message_ends_the_server_or_exceeds_the_limit(found: list[Message]) -> None:
    with TemporaryDirectory() as directory:
        bed = Bed(Path(directory) / "leases.sqlite", f"{DEFAULT}limit: {LIMIT}")
        for message in found:
            try:
                read = parse(build(message, room=1472))
            except Malformed:
                continue
            answer = bed.server.handle(Asked(read, CHAIN, "lan", message.chaddr))
            bed.leases.commit()
            if answer is not None:
                assert len(build(answer.message, answer.room)) <= max(answer.room, 300)
        assert bed.leases.taken("lan") <= LIMIT
        held = [lease.address for lease in bed.leases]
        assert len(held) == len(set(held))
        bed.configure(DEFAULT)  # the limit of this access point may be reached
        bed.now += 100_000
        bed.expire()
        assert bed.bind(77) in map(IPv4Address, (f"10.0.1.{100 + i}" for i in range(4)))
        bed.leases.close()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), st.data())
def test_no_frame_is_taken_for_another(payload: bytes, data: st.DataObject) -> None:
    """Whatever bit of a datagram is turned, it is not read, or its payload is the same."""
    ends = IPv4Address("10.0.1.9"), IPv4Address("10.0.1.2")
    frame = bytearray(build_udp(Datagram(mac(1), mac(2), *ends, 68, 67, payload)))
    at = data.draw(st.integers(12 * 8, len(frame) * 8 - 1))
    frame[at // 8] ^= 1 << at % 8
    found = parse_udp(bytes(frame))

    assert found is None or found.payload == payload


def test_a_flood_of_strangers_leaves_the_known_client_its_lease(tmp_path: Path) -> None:
    bed = Bed(tmp_path / "leases.sqlite")
    address = bed.bind(1)
    for number in range(2, 500):
        bed.send(Type.DISCOVER, number)
    ack = bed.send(Type.REQUEST, 1, ciaddr=str(address))

    assert ack is not None
    assert ack.message.type is Type.ACK
    assert len(bed.leases) == 4  # the pool
