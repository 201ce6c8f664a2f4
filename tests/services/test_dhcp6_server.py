"""What the DHCPv6 server answers, message by message (RFC 9915, section 18.3)."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest

from nfv.services.dhcp.leases import DECLINE_LIFE, State
from nfv.services.dhcp.server import OFFER_LIFE
from nfv.services.dhcp6.server import Asked
from nfv.services.dhcp6.wire import Association, Message, Option, Status, Type
from tests.services.dhcp6bed import (
    DEFAULT,
    SERVER,
    Bed6,
    codes,
    duid,
    held,
    networks,
    prefix,
    relayed,
    wanted,
)

DNS, SEARCH, REFRESH = 23, 24, 32


@pytest.fixture
def bed(tmp_path: Path) -> Bed6:
    return Bed6(tmp_path / "leases.sqlite")


def state(bed: Bed6, network: str) -> State | None:
    lease = bed.leases.at(IPv6Network(network))
    return lease.state if lease else None


def networks_of(association: Association) -> list[str]:
    return [str(one.network).removesuffix("/128") for one in association.granted]


def test_an_address_and_a_prefix_are_given(bed: Bed6) -> None:
    address, delegated = bed.bind(wanted(), prefix())

    (one,) = address.granted
    assert (str(one.network), one.preferred, one.valid) == ("2001:db8:1::100/128", 2000, 3600)
    assert (address.renew, address.rebind) == (1000, 1600)
    assert str(delegated.granted[0].network) == "2001:db8:100::/56"
    lease = bed.leases.at(one.network)
    assert lease is not None
    assert (lease.state, lease.hardware, lease.port) == (State.BOUND, duid(1)[4:], "lan")
    assert lease.ends == bed.now + 3600


def test_the_answer_says_what_the_client_asks_for(bed: Bed6) -> None:
    asked = DNS.to_bytes(2, "big") + (99).to_bytes(2, "big")
    reply = bed.ask(Type.SOLICIT, wanted(), more=[(Option.REQUESTED, asked)])
    all_there_is = bed.ask(Type.SOLICIT, wanted())

    assert reply.get(DNS) == IPv6Address("2001:db8:1::53").packed
    assert reply.get(SEARCH) is None
    assert all_there_is.get(SEARCH) == b"\3lab\7example\0"
    assert reply.get(Option.CLIENT_ID) == duid(1)


def test_an_offer_is_kept_for_its_client_and_not_for_ever(bed: Bed6) -> None:
    offers = [networks(bed.ask(Type.SOLICIT, wanted(), number=number)) for number in range(4)]
    assert len({one for (one,) in offers}) == 4
    assert codes(bed.ask(Type.SOLICIT, wanted(), number=9)) == [Status.NO_ADDRESSES]
    bed.now += OFFER_LIFE + 1
    bed.server.expire()

    assert networks(bed.ask(Type.SOLICIT, wanted(), number=9)) != []


def test_rapid_commit_saves_two_messages(bed: Bed6) -> None:
    rapid = [(int(Option.RAPID_COMMIT), b"")]
    assert bed.ask(Type.SOLICIT, wanted(), more=rapid).type is Type.ADVERTISE
    bed.configure(DEFAULT + "  rapid_commit: true\n  preference: 255\n")
    reply = bed.ask(Type.SOLICIT, wanted(), more=rapid)

    assert reply.type is Type.REPLY
    assert reply.get(Option.RAPID_COMMIT) == b""
    assert state(bed, networks(reply)[0]) is State.BOUND
    assert bed.ask(Type.SOLICIT, wanted(), number=2).get(Option.PREFERENCE) == b"\xff"


@pytest.mark.parametrize(
    ("kind", "server"),
    [
        (Type.SOLICIT, SERVER),
        (Type.CONFIRM, SERVER),
        (Type.REBIND, SERVER),
        (Type.REQUEST, None),
        (Type.RENEW, b"\0\3\0\1other"),
        (Type.RELEASE, None),
        (Type.DECLINE, b"\0\3\0\1other"),
        (Type.INFORMATION_REQUEST, b"\0\3\0\1other"),
        (Type.ADVERTISE, SERVER),
        (Type.REPLY, SERVER),
        (Type.RECONFIGURE, SERVER),
    ],
)
def test_what_is_not_for_this_server_is_left_alone(
    bed: Bed6, kind: Type, server: bytes | None
) -> None:
    assert bed.send(kind, wanted("2001:db8:1::100"), server=server) is None
    assert len(bed.leases) == 0


def test_a_client_must_say_who_it_is(bed: Bed6) -> None:
    for content in (None, b"", b"ab", bytes(131)):
        options = () if content is None else ((int(Option.CLIENT_ID), content),)
        message = Message(Type.SOLICIT, b"abc", options)
        assert bed.server.handle(Asked(message, (), "inside", "lan", bytes(6))) is None


def test_addresses_of_another_link_are_refused(bed: Bed6) -> None:
    reply = bed.ask(Type.REQUEST, wanted("2001:db8:2::100"), server=SERVER)

    assert codes(reply) == [Status.NOT_ON_LINK]


def test_renewing_extends(bed: Bed6) -> None:
    (one,) = bed.bind(wanted())
    bed.now += 1000
    reply = bed.ask(Type.RENEW, one, server=SERVER)
    lease = bed.leases.at(one.granted[0].network)

    assert held(reply) == [one]
    assert lease is not None
    assert (lease.starts, lease.ends) == (bed.now - 1000, bed.now + 3600)
    assert bed.ask(Type.REBIND, one).type is Type.REPLY


def test_what_was_lost_is_bound_again_if_it_is_free(bed: Bed6) -> None:
    """As after the store was put aside: clients keep their addresses."""
    reply = bed.ask(Type.RENEW, wanted("2001:db8:1::102"), server=SERVER)
    other = bed.ask(Type.RENEW, wanted("2001:db8:1::102"), server=SERVER, number=2)

    assert networks(reply) == ["2001:db8:1::102"]
    assert networks(other) == ["2001:db8:1::100", "2001:db8:1::102"]
    assert [one.valid for one in held(other)[0].granted] == [3600, 0]


def test_a_server_that_is_not_authoritative_knows_its_own_only(bed: Bed6) -> None:
    bed.configure(DEFAULT + "authoritative: false\n")

    reply = bed.ask(Type.RENEW, wanted("2001:db8:1::102"), server=SERVER)
    assert codes(reply) == [Status.NO_BINDING]
    assert bed.send(Type.REBIND, wanted("2001:db8:1::102")) is None


def test_addresses_of_another_link_end_when_renewed(bed: Bed6) -> None:
    reply = bed.ask(Type.REBIND, wanted("2001:db8:2::100"))

    assert [(one.preferred, one.valid) for one in held(reply)[0].granted] == [(0, 0)]


def test_a_lease_outside_a_shrunk_pool_runs_out(bed: Bed6) -> None:
    (one,) = bed.bind(wanted())
    bed.configure(DEFAULT.replace("1::100-2001:db8:1::103", "1::102-2001:db8:1::103"))
    bed.now += 600
    reply = bed.ask(Type.RENEW, one, server=SERVER)
    (found,) = held(reply)

    assert networks(reply) == ["2001:db8:1::102", "2001:db8:1::100"]
    assert [one.valid for one in found.granted] == [3600, 3000]
    assert found.granted[1].preferred == 0


def test_confirming(bed: Bed6) -> None:
    here = bed.ask(Type.CONFIRM, wanted("2001:db8:1::77"))
    away = bed.ask(Type.CONFIRM, wanted("2001:db8:1::77"), wanted("2001:db8:2::1", iaid=2))

    assert codes(here) == [Status.SUCCESS]
    assert codes(away) == [Status.NOT_ON_LINK]
    assert bed.send(Type.CONFIRM, wanted()) is None
    assert len(bed.leases) == 0


def test_releasing(bed: Bed6) -> None:
    address, delegated = bed.bind(wanted(), prefix())
    reply = bed.ask(Type.RELEASE, address, delegated, server=SERVER)

    assert codes(reply) == [Status.SUCCESS]
    assert bed.count() == 0
    assert codes(bed.ask(Type.RELEASE, address, server=SERVER)) == [Status.NO_BINDING]
    assert networks(bed.ask(Type.SOLICIT, wanted())) == networks_of(address)


def test_nobody_releases_what_is_anothers(bed: Bed6) -> None:
    (address,) = bed.bind(wanted())

    for kind in (Type.RELEASE, Type.DECLINE):
        reply = bed.ask(kind, address, server=SERVER, number=2)
        assert codes(reply) == [Status.NO_BINDING]
    assert bed.count() == 1


def test_a_declined_address_is_left_alone_for_a_while(bed: Bed6) -> None:
    (address,) = bed.bind(wanted())
    bed.ask(Type.DECLINE, address, server=SERVER)
    assert state(bed, "2001:db8:1::100") is State.DECLINED
    offered = [networks(bed.ask(Type.SOLICIT, wanted(), number=number)) for number in range(2, 6)]
    assert ["2001:db8:1::100"] not in offered
    bed.now += DECLINE_LIFE + 1
    bed.server.expire()

    offered = [networks(bed.ask(Type.SOLICIT, wanted(), number=number)) for number in range(7, 11)]
    assert ["2001:db8:1::100"] in offered


def test_information_without_an_address(bed: Bed6) -> None:
    bed.configure(DEFAULT.replace("search: lab", "refresh: 700, search: lab"))
    reply = bed.ask(Type.INFORMATION_REQUEST)

    assert reply.get(DNS) is not None
    assert reply.get(REFRESH) == (700).to_bytes(4, "big")
    assert bed.ask(Type.SOLICIT, wanted()).get(REFRESH) is None
    assert bed.send(Type.INFORMATION_REQUEST, wanted()) is None


def test_stateless_service(tmp_path: Path) -> None:
    """Without subnets there are options for all, and addresses for nobody."""
    bed = Bed6(
        tmp_path / "leases.sqlite",
        "type: dhcp\nip: 2001:db8:1::2/64\nipv6: {options: {dns: '2001:db8::53'}}",
    )

    assert bed.ask(Type.INFORMATION_REQUEST).get(DNS) == IPv6Address("2001:db8::53").packed
    assert codes(bed.ask(Type.SOLICIT, wanted(), prefix())) == [2, 6]


def test_prefixes_of_the_wanted_length_go_first(bed: Bed6) -> None:
    bed.configure(
        DEFAULT.replace(
            "/54, length: 56}]", "/54, length: 56}, {within: 2001:db8:200::/60, length: 62}]"
        )
    )
    (delegated,) = bed.bind(prefix("::/62"))

    assert networks_of(delegated) == ["2001:db8:200::/62"]


def test_prefixes_run_out(bed: Bed6) -> None:
    found = [bed.bind(prefix(), number=number)[0] for number in range(4)]

    assert len({one.granted[0].network for one in found}) == 4
    assert codes(bed.ask(Type.SOLICIT, prefix(), number=5)) == [Status.NO_PREFIXES]


RESERVED = DEFAULT.replace(
    "      delegate",
    """      reservations:
        - {mac: "02:00:00:00:00:07", ip: 2001:db8:1::7, prefix: 2001:db8:100:100::/56, hostname: me}
        - {duid: "0x00030001:020000000008", ip: 2001:db8:1::100}
        - {interface_id: desk, ip: 2001:db8:1::9}
        - {remote_id: far, ip: 2001:db8:1::a}
      delegate""",
)


def test_reservations(bed: Bed6) -> None:
    bed.configure(RESERVED)
    address, delegated = bed.bind(wanted(), prefix(), number=7)
    (other,) = bed.bind(wanted("2001:db8:1::7"), number=8)
    (stranger,) = bed.bind(wanted("2001:db8:1::7"), number=9)
    lease = bed.leases.at(IPv6Network("2001:db8:1::7"))

    assert networks_of(address) == ["2001:db8:1::7"]
    assert networks_of(delegated) == ["2001:db8:100:100::/56"]
    assert networks_of(other) == ["2001:db8:1::100"]
    assert networks_of(stranger) == ["2001:db8:1::101"]
    assert lease is not None
    assert lease.hostname == "me"
    free = {networks_of(bed.bind(prefix(), number=number)[0])[0] for number in range(20, 23)}
    assert free == {"2001:db8:100::/56", "2001:db8:100:200::/56", "2001:db8:100:300::/56"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"o18": b"desk"}, "2001:db8:1::9"),
        ({"o37": b"\0\0\0\1far"}, "2001:db8:1::a"),
        ({"o79": b"\0\1\2\0\0\0\0\7"}, "2001:db8:1::7"),
        ({}, "2001:db8:1::101"),
    ],
)
def test_what_a_relay_agent_says_of_a_client(
    bed: Bed6, options: dict[str, bytes], expected: str
) -> None:
    bed.configure(RESERVED)
    agent = relayed("2001:db8:1::1", **options)

    assert networks(bed.ask(Type.SOLICIT, wanted(), relays=[agent])) == [expected]


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (["2001:db8:2::1"], "2001:db8:2::100"),
        (["::", "2001:db8:2::1"], "2001:db8:2::100"),
        (["2001:db8:1::1", "2001:db8:2::1"], "2001:db8:2::100"),
        (["2001:db8:1::1", "::"], "2001:db8:1::100"),
    ],
)
def test_the_link_is_the_nearest_agents_that_knows(
    bed: Bed6, links: list[str], expected: str
) -> None:
    agents = [relayed(link) for link in links]

    assert networks(bed.ask(Type.SOLICIT, wanted(), relays=agents)) == [expected]
    assert {lease.port for lease in bed.leases} <= set(links)


def test_a_relay_agent_of_no_subnet_gets_nothing(bed: Bed6) -> None:
    reply = bed.ask(Type.SOLICIT, wanted(), relays=[relayed("2001:db8:77::1")])

    assert codes(reply) == [Status.NO_ADDRESSES]


def test_one_access_point_cannot_take_all(bed: Bed6) -> None:
    bed.configure(DEFAULT + "limit: 2\n")
    first = [networks(bed.ask(Type.SOLICIT, wanted(), number=number)) for number in range(4)]
    elsewhere = bed.ask(Type.SOLICIT, wanted(), number=9, relays=[relayed("2001:db8:2::1")])

    assert [len(one) for one in first] == [1, 1, 0, 0]
    assert networks(elsewhere) == ["2001:db8:2::100"]


def test_names_are_the_clients(bed: Bed6) -> None:
    name = (int(Option.FQDN), b"\1\7printer\3lab\0")
    asked = (int(Option.REQUESTED), int(Option.FQDN).to_bytes(2, "big"))
    reply = bed.ask(Type.REQUEST, wanted(), server=SERVER, more=[name, asked])
    lease = bed.leases.at(IPv6Network(networks(reply)[0]))

    assert lease is not None
    assert lease.hostname == "printer"
    assert reply.get(Option.FQDN) == b"\1\7printer\3lab\0"


def test_leases_are_there_when_the_server_starts_again(bed: Bed6) -> None:
    before = bed.bind(wanted(), prefix())
    bed.start()

    assert held(bed.ask(Type.RENEW, *before, server=SERVER)) == before
    assert networks(bed.ask(Type.SOLICIT, wanted(), number=2)) == ["2001:db8:1::101"]


def test_what_runs_out_is_free(bed: Bed6) -> None:
    for number in range(4):
        bed.bind(wanted(), number=number)
    bed.now += 3601
    bed.server.expire()

    assert networks(bed.ask(Type.SOLICIT, wanted(), number=9)) != []
    assert bed.server.release(IPv6Network("2001:db8:1::103")) is None


def test_a_lease_is_released_by_hand(bed: Bed6) -> None:
    (one,) = bed.bind(prefix())

    assert bed.server.release(one.granted[0].network) is not None
    assert bed.count() == 0
