"""The server's rules (RFC 2131, section 4.3), a message at a time."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from nfv.services.dhcp.answers import Answer
from nfv.services.dhcp.leases import DECLINE_LIFE, State
from nfv.services.dhcp.server import OFFER_LIFE
from nfv.services.dhcp.wire import BROADCAST, REPLY, Option, Type
from tests.services.dhcpbed import DEFAULT, SERVER, START, Bed, mac

ALL = IPv4Address("255.255.255.255")
OTHER_SERVER = IPv4Address("10.0.1.3")
RELAY = "10.0.2.1"


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path / "leases.sqlite")


def kind(answer: Answer | None) -> Type | None:
    return answer.message.type if answer else None


def test_an_offer_holds_what_the_file_says(bed: Bed) -> None:
    offer = bed.send(Type.DISCOVER, o55=bytes((3, 1, 15, 6, 42)), o61=b"\1client")

    assert offer is not None
    message = offer.message
    assert (message.op, message.xid, message.chaddr) == (REPLY, 99, mac(1))
    assert dict(message.options) == {
        53: b"\2",
        54: SERVER.packed,
        51: (3600).to_bytes(4, "big"),
        58: (1800).to_bytes(4, "big"),
        59: (3150).to_bytes(4, "big"),
        1: bytes((255, 255, 255, 0)),
        3: bytes((10, 0, 1, 1)),
        15: b"lab.example",
        6: bytes((10, 0, 1, 53)),
        61: b"\1client",  # RFC 6842
    }
    codes = list(message.options)
    assert codes.index(1) < codes.index(3)  # RFC 2132, section 3.3


def test_the_ack_says_what_the_offer_said(bed: Bed) -> None:
    offer = bed.send(Type.DISCOVER)
    assert offer is not None
    ack = bed.send(Type.REQUEST, o50=offer.message.yiaddr, o54=SERVER)

    assert ack is not None
    assert {**ack.message.options, 53: b"\2"} == dict(offer.message.options)
    assert ack.message.yiaddr == offer.message.yiaddr


def test_a_repeated_discover_and_request_change_nothing(bed: Bed) -> None:
    first = bed.send(Type.DISCOVER)
    assert bed.send(Type.DISCOVER) == first
    address = bed.bind()
    again = bed.send(Type.REQUEST, o50=address, o54=SERVER)
    assert (kind(again), len(list(bed.leases))) == (Type.ACK, 1)
    assert bed.lease(address).starts == START


# Which address -----------------------------------------------------------------------------------


def test_a_client_gets_the_address_that_it_had(bed: Bed) -> None:
    address = bed.bind(1)
    bed.bind(2)
    bed.send(Type.RELEASE, 1, ciaddr=str(address), o54=SERVER)
    assert bed.lease(address).state is State.RELEASED
    assert bed.bind(3) != address
    assert bed.bind(1) == address


def test_a_client_gets_the_free_address_that_it_wants(bed: Bed) -> None:
    assert bed.bind(1, o50=IPv4Address("10.0.1.102")) == IPv4Address("10.0.1.102")
    assert bed.bind(2, o50=IPv4Address("10.0.1.102")) != IPv4Address("10.0.1.102")
    assert bed.bind(3, o50=IPv4Address("192.0.2.1")) in map(
        IPv4Address, ("10.0.1.100", "10.0.1.101")
    )


def test_an_exhausted_pool_is_silent_and_counted(bed: Bed) -> None:
    for number in range(4):
        bed.bind(number)

    assert bed.send(Type.DISCOVER, 9) is None
    assert bed.server.counted["no free address"] == 1


def test_an_offer_that_nobody_takes_is_free_again(bed: Bed) -> None:
    for number in range(4):
        assert kind(bed.send(Type.DISCOVER, number)) is Type.OFFER
    assert bed.send(Type.DISCOVER, 9) is None
    bed.now += OFFER_LIFE + 1
    bed.expire()

    assert kind(bed.send(Type.DISCOVER, 9)) is Type.OFFER


def test_the_address_that_was_free_for_longest_is_given_first(bed: Bed) -> None:
    addresses = [bed.bind(number) for number in range(4)]
    for number in (2, 0):
        bed.now += 1
        bed.send(Type.RELEASE, number, ciaddr=str(addresses[number]), o54=SERVER)
    bed.now += 1

    assert [bed.bind(7), bed.bind(8)] == [addresses[2], addresses[0]]


def test_leases_run_out(bed: Bed) -> None:
    address = bed.bind(1)
    bed.now += 3601
    bed.expire()

    assert bed.lease(address).state is State.RELEASED


def test_a_client_is_known_by_its_identifier_before_its_hardware(bed: Bed) -> None:
    """RFC 2131, section 4.2."""
    first, second = bed.bind(1, o61=b"\0one"), bed.bind(1, o61=b"\0two")

    assert first != second
    assert bed.bind(2, o61=b"\0one") == first


def test_a_client_may_ask_for_less_time_and_not_for_more(bed: Bed) -> None:
    for wanted, given in ((600, 600), (86400, 3600), (1, 60)):
        offer = bed.send(Type.DISCOVER, o51=wanted.to_bytes(4, "big"))
        assert offer is not None
        assert int.from_bytes(offer.message.options[51], "big") == given


def test_when_to_renew_and_to_rebind(bed: Bed) -> None:
    """As declared, for leases that are long enough; else as RFC 2131 has it (section 4.4.5)."""
    bed.configure(f"{DEFAULT}renew: 900\nrebind: 1800")
    for wanted, times in ((3600, (900, 1800)), (1200, (900, 1050)), (600, (300, 525))):
        offer = bed.send(Type.DISCOVER, o51=wanted.to_bytes(4, "big"))
        assert offer is not None
        found = tuple(int.from_bytes(offer.message.options[code], "big") for code in (58, 59))
        assert found == times


# REQUEST -----------------------------------------------------------------------------------------


def test_the_offer_of_another_server_frees_ours(bed: Bed) -> None:
    offer = bed.send(Type.DISCOVER)
    assert offer is not None

    assert bed.send(Type.REQUEST, o50=offer.message.yiaddr, o54=OTHER_SERVER) is None
    assert bed.leases.at(offer.message.yiaddr) is None


def test_an_address_that_is_another_clients_is_refused(bed: Bed) -> None:
    address = bed.bind(1)
    nak = bed.send(Type.REQUEST, 2, o50=address, o54=SERVER)

    assert nak is not None
    assert dict(nak.message.options) == {53: b"\6", 54: SERVER.packed, 56: b"address not available"}
    assert (nak.dst, nak.dst_mac, nak.message.yiaddr) == (ALL, b"\xff" * 6, IPv4Address(0))
    assert bed.lease(address).hardware == mac(1)


@pytest.mark.parametrize(
    ("number", "address", "expected"),
    [
        (1, "10.0.1.100", Type.ACK),
        (1, "10.0.1.101", Type.NAK),  # it has another
        (1, "192.0.2.7", Type.NAK),  # wrong subnet
        (2, "10.0.1.101", None),  # not known: section 4.3.2
        (2, "192.0.2.7", Type.NAK),
    ],
)
def test_a_client_that_reboots(bed: Bed, number: int, address: str, expected: Type | None) -> None:
    assert bed.bind(1) == IPv4Address("10.0.1.100")

    assert kind(bed.send(Type.REQUEST, number, o50=IPv4Address(address))) is expected


def test_another_servers_subnets_are_not_refused_if_the_file_says_so(bed: Bed) -> None:
    bed.configure(f"{DEFAULT}authoritative: false")

    assert bed.send(Type.REQUEST, 2, o50=IPv4Address("192.0.2.7")) is None


def test_a_lease_is_renewed(bed: Bed) -> None:
    address = bed.bind()
    bed.now += 1800
    ack = bed.send(Type.REQUEST, ciaddr=str(address))

    assert ack is not None
    assert (kind(ack), ack.message.yiaddr, ack.dst) == (Type.ACK, address, address)
    assert bed.lease(address).ends == START + 1800 + 3600


def test_nobody_renews_what_is_anothers_or_nobodys(bed: Bed) -> None:
    address = bed.bind(1)

    assert kind(bed.send(Type.REQUEST, 2, ciaddr=str(address))) is Type.NAK
    assert bed.send(Type.REQUEST, 2, ciaddr="10.0.1.103") is None


def test_a_lease_outside_a_shrunk_pool_runs_out(bed: Bed) -> None:
    address = bed.bind(1)
    bed.configure(DEFAULT.replace("10.0.1.100-", "10.0.1.102-"))

    assert bed.send(Type.REQUEST, ciaddr=str(address)) is None
    assert bed.lease(address).state is State.BOUND
    assert bed.bind(1) == IPv4Address("10.0.1.102")


# DECLINE, RELEASE, INFORM ------------------------------------------------------------------------


def test_a_declined_address_is_left_alone_for_a_while(bed: Bed) -> None:
    address = bed.bind(1)
    assert bed.send(Type.DECLINE, 1, o50=address, o54=SERVER) is None
    assert bed.lease(address).state is State.DECLINED
    assert bed.bind(1) != address
    assert address not in [bed.bind(number) for number in (2, 3)]
    bed.now += DECLINE_LIFE + 1
    bed.expire()
    assert bed.bind(9) == address


def test_nobody_declines_or_releases_for_another(bed: Bed) -> None:
    address = bed.bind(1)
    bed.send(Type.DECLINE, 2, o50=address, o54=SERVER)
    bed.send(Type.RELEASE, 2, ciaddr=str(address), o54=SERVER)
    bed.send(Type.RELEASE, 1, ciaddr=str(address), o54=OTHER_SERVER)

    assert bed.lease(address).state is State.BOUND


def test_inform_tells_options_and_leases_nothing(bed: Bed) -> None:
    ack = bed.send(Type.INFORM, ciaddr="10.0.1.77", o55=bytes((1, 6)))

    assert ack is not None
    assert dict(ack.message.options) == {
        53: b"\5",
        54: SERVER.packed,
        1: bytes((255, 255, 255, 0)),
        6: bytes((10, 0, 1, 53)),
    }
    assert (ack.message.yiaddr, ack.dst) == (IPv4Address(0), IPv4Address("10.0.1.77"))
    assert len(bed.leases) == 0


# Where answers go (section 4.1) ------------------------------------------------------------------


def test_answers_go_to_the_client_or_to_all_if_it_asks_so(bed: Bed) -> None:
    offer, flagged = bed.send(Type.DISCOVER), bed.send(Type.DISCOVER, flags=BROADCAST)

    assert offer is not None
    assert flagged is not None
    assert (offer.dst, offer.dst_mac, offer.dport) == (offer.message.yiaddr, mac(1), 68)
    assert (flagged.dst, flagged.dst_mac, flagged.dport) == (ALL, b"\xff" * 6, 68)
    assert flagged.message.flags == BROADCAST


def test_a_relay_agent_says_where_the_client_is_and_is_answered(bed: Bed) -> None:
    agent = b"\1\4port"
    offer = bed.send(Type.DISCOVER, giaddr=RELAY, source=mac(77), o82=agent)

    assert offer is not None
    assert offer.message.yiaddr == IPv4Address("10.0.2.100")
    assert (str(offer.dst), offer.dst_mac, offer.dport) == (RELAY, mac(77), 67)
    assert str(offer.message.giaddr) == RELAY
    assert offer.message.options[Option.AGENT] == agent  # RFC 3046, section 2.2


def test_a_refusal_through_a_relay_agent_is_broadcast_there(bed: Bed) -> None:
    nak = bed.send(Type.REQUEST, giaddr=RELAY, source=mac(77), o50=IPv4Address("10.0.1.100"))

    assert nak is not None
    assert (kind(nak), str(nak.dst), nak.message.flags) == (Type.NAK, RELAY, BROADCAST)


def test_a_relay_agent_may_select_another_link(bed: Bed) -> None:
    """RFC 3527: giaddr is only where the answer goes."""
    link = b"\5\4" + IPv4Address("10.0.2.1").packed
    offer = bed.send(Type.DISCOVER, giaddr="192.0.2.1", source=mac(77), o82=link)

    assert offer is not None
    assert (str(offer.message.yiaddr), str(offer.dst)) == ("10.0.2.100", "192.0.2.1")


def test_a_link_without_a_subnet_is_not_served(bed: Bed) -> None:
    assert bed.send(Type.DISCOVER, giaddr="192.0.2.1", source=mac(77)) is None
    assert bed.server.counted["no subnet"] == 1


def test_nobody_asks_for_another_station(bed: Bed) -> None:
    assert bed.send(Type.DISCOVER, 1, source=mac(2)) is None
    assert bed.server.counted["hardware address"] == 1


# Reservations, classes, limits -------------------------------------------------------------------

RESERVED = """
type: dhcp
ip: 10.0.1.2/24
subnets:
  - network: 10.0.1.0/24
    pools: [{range: 10.0.1.7-10.0.1.9}]
    exclude: 10.0.1.9
    options: {dns: 10.0.1.53}
    reservations:
      - {mac: "02:00:00:00:00:07", ip: 10.0.1.7, hostname: printer, options: {dns: 10.0.1.54}}
      - {client_id: "0x00:61", ip: 10.0.1.40}
      - {circuit_id: port-3, ip: 10.0.1.50}
      - {remote_id: "0xff", ip: 10.0.1.51}
"""


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"number": 7}, "10.0.1.7"),
        ({"number": 1}, "10.0.1.8"),
        ({"number": 1, "o61": b"\0a"}, "10.0.1.40"),
        ({"number": 1, "o82": b"\1\6port-3"}, "10.0.1.50"),
        ({"number": 1, "o82": b"\2\1\xff"}, "10.0.1.51"),
    ],
)
def test_reservations(tmp_path: Path, fields: dict[str, object], expected: str) -> None:
    bed = Bed(tmp_path / "leases.sqlite", RESERVED)

    assert str(bed.bind(**fields)) == expected  # type: ignore[arg-type]


def test_a_reserved_address_and_what_is_told_with_it_are_one_clients(tmp_path: Path) -> None:
    bed = Bed(tmp_path / "leases.sqlite", RESERVED)
    offer = bed.send(Type.DISCOVER, 7)
    assert offer is not None
    assert (offer.message.options[6], offer.message.options[12]) == (
        bytes((10, 0, 1, 54)),
        b"printer",
    )
    assert str(bed.bind(1, o50=IPv4Address("10.0.1.7"))) == "10.0.1.8"
    assert bed.send(Type.DISCOVER, 2) is None  # 10.0.1.9 is excluded
    assert kind(bed.send(Type.REQUEST, 2, o50=IPv4Address("10.0.1.7"), o54=SERVER)) is Type.NAK


CLASSES = """
type: dhcp
ip: 10.0.1.2/24
classes:
  uefi: {vendor: PXEClient, arch: [7, 9], boot: {server: 10.0.1.5, file: boot.efi}}
  bios: {vendor: PXEClient, boot: {server: 10.0.1.5, file: boot.0}}
  ipxe: {user: iPXE, options: {boot_file: "http://10.0.1.5/menu"}}
subnets:
  - network: 10.0.1.0/24
    pools: [{range: 10.0.1.200-10.0.1.201, classes: bios}, {range: 10.0.1.100-10.0.1.101}]
"""


def test_classes_say_where_to_boot_from(tmp_path: Path) -> None:
    bed = Bed(tmp_path / "leases.sqlite", CLASSES)
    bios = bed.send(Type.DISCOVER, 1, o60=b"PXEClient:Arch:00000", o93=b"\0\0")
    uefi = bed.send(Type.DISCOVER, 2, o60=b"PXEClient:Arch:00007", o93=b"\0\7")
    ipxe = bed.send(Type.DISCOVER, 3, o77=b"\4iPXE")
    plain = bed.send(Type.DISCOVER, 4)

    assert bios is not None
    assert uefi is not None
    assert ipxe is not None
    assert plain is not None
    assert (bios.message.file, str(bios.message.siaddr)) == (b"boot.0", "10.0.1.5")
    assert str(bios.message.yiaddr) == "10.0.1.200"
    assert uefi.message.file == b"boot.efi"  # also of the class bios; the first one's word holds
    assert ipxe.message.options[67] == b"http://10.0.1.5/menu"
    assert (plain.message.file, str(plain.message.yiaddr)[:8]) == (b"", "10.0.1.1")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"o124": b"\0\0\0\x09\1a\0\0\x11\x8b\2bc"}, True),
        ({"o125": b"\0\0\x11\x8b\0"}, True),
        ({"o124": b"\0\0\0\x09\5\0\0\x11\x8b\0"}, False),
        ({"o124": b"\0\0\x11\x8b"}, False),
        ({}, False),
    ],
    ids=["class", "options", "another", "cut", "none"],
)
def test_vendors_are_told_by_their_enterprise(
    tmp_path: Path, options: dict[str, object], expected: bool
) -> None:
    config = CLASSES.replace("  ipxe: {user: iPXE,", "  cable: {enterprise: 4491,")
    bed = Bed(tmp_path / "leases.sqlite", config)
    offer = bed.send(Type.DISCOVER, 1, **options)

    assert offer is not None
    assert (67 in offer.message.options) is expected


def test_leases_of_one_access_point_are_limited(bed: Bed) -> None:
    bed.configure(f"{DEFAULT}limit: 2")
    first = bed.bind(1)
    bed.bind(2)

    assert bed.send(Type.DISCOVER, 3) is None
    assert bed.send(Type.REQUEST, 3, o50=IPv4Address("10.0.1.103"), o54=SERVER) is None
    assert bed.server.counted["too many leases"] == 2
    assert bed.bind(1) == first


def test_rapid_commit(bed: Bed) -> None:
    """RFC 4039: only if the file allows it."""
    assert kind(bed.send(Type.DISCOVER, o80=b"")) is Type.OFFER
    bed.configure(f"{DEFAULT}rapid_commit: true")
    ack = bed.send(Type.DISCOVER, o80=b"")

    assert ack is not None
    assert (kind(ack), ack.message.options[80]) == (Type.ACK, b"")
    assert bed.lease(ack.message.yiaddr).state is State.BOUND


def test_routes_take_the_place_of_the_router(bed: Bed) -> None:
    """RFC 3442."""
    bed.configure(
        DEFAULT.replace(
            "{routers: 10.0.1.1}",
            "{routers: 10.0.1.1, static_routes: [{to: 0.0.0.0/0, via: 10.0.1.1}, "
            "{to: 192.168.4.0/22, via: 10.0.1.9}]}",
        )
    )
    offer = bed.send(Type.DISCOVER, o55=bytes((3, 121)))
    old = bed.send(Type.DISCOVER, o55=bytes((3,)))

    assert offer is not None
    assert old is not None
    assert offer.message.options[121] == bytes.fromhex("00 0a000101 16 c0a804 0a000109")
    assert 3 not in offer.message.options
    assert (3 in old.message.options, 121 in old.message.options) == (True, False)


def test_names_that_clients_give_themselves(bed: Bed) -> None:
    encoded = b"\4\0\0\7printer\3lab\0"  # RFC 4702, flag E
    for number, options, name in (
        (1, {"o12": b"laptop"}, "laptop"),
        (2, {"o81": encoded}, "printer"),
        (3, {"o12": b"../../etc"}, ""),
        (4, {"o12": b"UPPER.example.org"}, "upper"),
    ):
        assert bed.lease(bed.bind(number, **options)).hostname == name
    offer = bed.send(Type.DISCOVER, 2, o81=encoded)
    assert offer is not None
    assert offer.message.options[81] == b"\7\xff\xff" + encoded[3:]
