"""DHCPv6 clients that misbehave: the server goes on, keeps its limits, serves the next good one."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from nfv.services.dhcp6.server import Asked
from nfv.services.dhcp6.wire import (
    Association,
    Granted,
    Malformed,
    Message,
    Option,
    Relay,
    Type,
    build,
    build_association,
    parse,
)
from tests.services.dhcp6bed import DEFAULT, SERVER, Bed6, duid, wanted
from tests.services.dhcpbed import CHAIN, mac

LIMIT = 3

# Values that mean something to the server, so that messages get far, and any others.
numbers = st.integers(0, (1 << 128) - 1)
known = st.sampled_from(["2001:db8:1::100", "2001:db8:1::101", "2001:db8:100::", "2001:db8:2::1"])
addresses = known.map(IPv6Address) | numbers.map(IPv6Address) | st.just(IPv6Address(0))
prefixes = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    addresses,
    st.sampled_from([0, 56, 128]) | st.integers(0, 128),
)
associations = st.builds(
    Association,
    st.sampled_from([int(Option.IA_NA), int(Option.IA_PD)]),
    st.integers(0, 2).map(lambda number: number.to_bytes(4, "big")),
    st.lists(st.builds(Granted, prefixes), max_size=3).map(tuple),
).map(build_association)
duids = st.integers(0, 4).map(duid) | st.binary(max_size=140)
options = (
    associations
    | st.tuples(st.just(int(Option.CLIENT_ID)), duids)
    | st.tuples(st.just(int(Option.SERVER_ID)), st.just(SERVER) | duids)
    | st.tuples(st.sampled_from([*Option]).map(int) | st.integers(0, 65535), st.binary(max_size=60))
)
messages = st.builds(
    Message,
    st.sampled_from([*Type]).filter(lambda kind: kind < Type.RELAY_FORW),
    st.binary(min_size=3, max_size=3),
    st.lists(options, max_size=8).map(tuple),
)
agents = st.lists(
    st.builds(Relay, st.integers(0, 255), addresses, addresses, st.lists(options, max_size=3)),
    max_size=2,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(messages, agents), min_size=1, max_size=20))
def test_no_message_ends_the_server_or_exceeds_the_limit(
    found: list[tuple[Message, list[Relay]]],
) -> None:
    with TemporaryDirectory() as directory:
        bed = Bed6(Path(directory) / "leases.sqlite", f"{DEFAULT}limit: {LIMIT}")
        for message, around in found:
            try:
                relays, read = parse(build(message, around, Type.RELAY_FORW))
            except Malformed:
                continue
            answer = bed.server.handle(Asked(read, relays, CHAIN, "lan", mac(1)))
            bed.leases.commit()
            if answer is not None:
                parse(build(answer, [relay.answering() for relay in relays]))
        assert all(bed.leases.taken(lease.port) <= LIMIT for lease in bed.leases)
        bed.configure(DEFAULT)  # the limit of this access point may be reached
        bed.now += 100_000
        bed.server.expire()
        bed.leases.commit()
        assert bed.bind(wanted(), number=77)[0].granted != ()
        bed.leases.close()


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_end_the_parser(data: bytes) -> None:
    try:
        relays, message = parse(data)
    except Malformed:
        return
    assert build(message, relays, Type(data[0]) if relays else Type.RELAY_REPL)


def test_a_flood_of_strangers_leaves_the_known_client_its_lease(tmp_path: Path) -> None:
    bed = Bed6(tmp_path / "leases.sqlite")
    (address,) = bed.bind(wanted())
    for number in range(2, 500):
        bed.send(Type.SOLICIT, wanted(), number=number)

    assert bed.ask(Type.RENEW, address, server=SERVER).type is Type.REPLY
    assert len(bed.leases) == 4  # the pool


def test_more_associations_than_a_client_has_are_refused(tmp_path: Path) -> None:
    bed = Bed6(tmp_path / "leases.sqlite")

    assert bed.send(Type.SOLICIT, *(wanted(iaid=number) for number in range(17))) is None
    assert len(bed.leases) == 0
