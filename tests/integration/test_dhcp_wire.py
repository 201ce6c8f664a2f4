"""What the function dhcp says on the wire, byte by byte, to clients that behave and to others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.integration.helpers import waiting
from tests.integration.helpers.dhcpwire import (
    EVERYBODY,
    PATIENCE,
    Station,
    counted,
    kind,
    mac,
    message,
    options,
    station,
)
from tests.integration.helpers.lab import Lab, applied
from tests.integration.test_dhcp import leases

pytestmark = pytest.mark.root

LIMIT = 30
LONG = bytes(range(256)) + b"the rest"
SERVER = "10.0.1.2"

TOPOLOGY = f"""
name: wire
saps:
  one: {{kind: host, ip: 10.0.1.9/24}}
  two: {{kind: host, ip: 10.0.1.10/24}}
  few: {{kind: host, ip: 10.0.2.9/24}}
  far: {{kind: host, ip: 10.0.1.66/24}}
  end: {{kind: tap}}
  out: {{kind: tap}}
vnfs:
  dhcp:
    type: dhcp
    ip: [{SERVER}/24, 10.0.2.2/24]
    limit: {LIMIT}
    lease: 600
    rapid_commit: true
    options: {{domain: lab.example, dns: 10.0.1.53, ntp: 10.0.1.54, ipv6_only: 1800}}
    custom: [{{code: 224, type: hex, value: {LONG.hex()}}}]
    classes:
      bios: {{vendor: PXEClient, arch: 0, boot: {{server: 10.0.1.5, file: pxelinux.0}}}}
      uefi: {{vendor: PXEClient, arch: [7, 9], boot: {{server: 10.0.1.6, file: grubx64.efi}}}}
    subnets:
      - network: 10.0.1.0/24
        pools: [{{range: 10.0.1.100-10.0.1.149}}]
        options: {{routers: 10.0.1.1, static_routes: [{{to: 198.51.100.0/24, via: 10.0.1.7}}]}}
        reservations:
          - {{mac: "{mac(40)}", ip: 10.0.1.40, hostname: printer}}
          - {{client_id: phone, ip: 10.0.1.41}}
          - {{circuit_id: port-7, ip: 10.0.1.42}}
          - {{remote_id: "0x0102", ip: 10.0.1.43, options: {{dns: 10.0.1.43}}}}
      - {{network: 10.0.2.0/24, pools: [{{range: 10.0.2.100-10.0.2.101}}]}}
      - {{network: 10.0.7.0/24, pools: [{{range: 10.0.7.100-10.0.7.109}}]}}
chains:
  one: {{path: [one, dhcp, far]}}
  two: {{path: [two, dhcp, end]}}
  few: {{path: [few, dhcp, out]}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(TOPOLOGY, "wire") as made:
        yield made


@pytest.fixture
def one(lab: Lab) -> Iterator[Station]:
    with station(lab, "one") as made:
        yield made


def ended(lab: Lab, reason: str) -> int:
    """How many packets have ended at the function for a reason."""
    found = lab.statistics().vnfs["dhcp"].ended.get(reason)
    return found.packets if found else 0


def bind(one: Station, number: int, *more: Any, **fields: Any) -> str:
    """DISCOVER to ACK; the address."""
    (offer,) = one.told(message("discover", number, *more, **fields))
    address = str(offer[BOOTP].yiaddr)
    wanted = [("requested_addr", address), ("server_id", SERVER)]
    (ack,) = one.told(message("request", number, *wanted, *more, **fields))
    assert (kind(offer), kind(ack), ack[BOOTP].yiaddr) == ("offer", "ack", address)
    return address


def check_sound(answer: Any) -> None:
    """Lengths and both checksums are those that Scapy works out; RFC 1542, section 2.1."""
    again = Ether(bytes(answer))
    sums = again[IP].chksum, again[UDP].chksum
    del again[IP].chksum, again[UDP].chksum, again[IP].len, again[UDP].len
    made = Ether(bytes(again))
    assert (made[IP].chksum, made[UDP].chksum) == sums
    assert (made[IP].len, made[UDP].len) == (answer[IP].len, answer[UDP].len)
    assert len(bytes(answer[BOOTP])) >= 300


@pytest.mark.parametrize(
    ("flags", "to_mac", "to"),
    [("B", EVERYBODY, "255.255.255.255"), (0, mac(1), None)],
    ids=["broadcast", "unicast"],
)
def test_an_offer(one: Station, flags: object, to_mac: str, to: str | None) -> None:
    """RFC 2131, section 4.1 and table 3; RFC 6842; the mask before the router (RFC 2132, 3.3)."""
    identifier = b"\0client"
    asked = [("client_id", identifier), ("param_req_list", [3, 15, 6, 1])]
    (offer,) = one.told(message("discover", 1, *asked, flags=flags))
    told = options(offer)

    check_sound(offer)
    assert (offer.dst, offer[IP].dst) == (to_mac, to or offer[BOOTP].yiaddr)
    assert (offer[IP].src, offer[UDP].sport, offer[UDP].dport) == (SERVER, 67, 68)
    assert (offer[BOOTP].giaddr, offer[BOOTP].ciaddr, offer[BOOTP].xid) == ("0.0.0.0",) * 2 + (2,)
    assert told == [
        (53, b"\2"),
        (54, bytes((10, 0, 1, 2))),
        (51, (600).to_bytes(4, "big")),
        (58, (300).to_bytes(4, "big")),
        (59, (525).to_bytes(4, "big")),
        (1, bytes((255, 255, 255, 0))),
        (3, bytes((10, 0, 1, 1))),
        (15, b"lab.example"),
        (6, bytes((10, 0, 1, 53))),
        (61, identifier),
    ]


def test_a_repeated_message_is_answered_the_same(one: Station) -> None:
    discover = message("discover", 2)
    first, second = one.told(discover, discover)
    wanted = [("requested_addr", first[BOOTP].yiaddr), ("server_id", SERVER)]
    request = message("request", 2, *wanted)
    third, fourth = one.told(request, request)

    assert bytes(first) == bytes(second)
    assert bytes(third) == bytes(fourth)
    assert kind(third) == "ack"


def test_routes_take_the_place_of_the_router(one: Station) -> None:
    """RFC 3442: for clients that ask for both; RFC 8925: 108 only for those that ask for it."""
    both = options(one.told(message("discover", 3, ("param_req_list", [1, 3, 121, 108])))[0])
    neither = options(one.told(message("discover", 3))[0])

    assert dict(both)[121] == bytes((24, 198, 51, 100, 10, 0, 1, 7))
    assert dict(both)[108] == (1800).to_bytes(4, "big")
    assert 3 not in dict(both)
    assert 108 not in dict(neither)


@pytest.mark.parametrize("most", [None, 576, 1500])
def test_long_options(one: Station, most: int | None) -> None:
    """In parts (RFC 3396), if need be where no names are (option 52), as long as 57 allows."""
    size = [("max_dhcp_size", most)] if most else []
    (offer,) = one.told(message("discover", 4, ("param_req_list", [6, 15, 42, 224]), *size))
    told = options(offer)

    check_sound(offer)
    assert offer[IP].len <= (most or 576)
    assert b"".join(held for code, held in told if code == 224) == LONG
    assert (52 in dict(told)) == (most != 1500)


def test_options_in_the_fields_for_names_are_read(lab: Lab, one: Station) -> None:
    """RFC 2132, section 9.3."""
    fields = {"file": b"\x0c\4desk\xff", "sname": b"\x3d\5\0name\xff"}
    address = bind(one, 5, (52, b"\3"), **fields)
    row = leases(lab)[address]

    assert (row["hostname"], row["client_id"]) == ("desk", b"\0name".hex())


def test_a_relay_agent_selects_the_link(one: Station) -> None:
    """RFC 3527; the answer goes to the agent, option 82 as it came and last (RFC 3046)."""
    agent = b"\1\4port\5\4" + bytes((10, 0, 7, 0))
    fields = {"giaddr": "10.0.1.200", "hops": 1}
    asked = [("param_req_list", [6]), (82, agent)]
    (offer,) = one.told(message("discover", 6, *asked, src="10.0.1.200", **fields))

    check_sound(offer)
    assert offer[BOOTP].yiaddr.startswith("10.0.7.10")
    assert (offer[IP].dst, offer[UDP].dport, offer.dst) == ("10.0.1.200", 67, mac(6))
    assert options(offer)[-1] == (82, agent)


def test_a_client_without_a_relay_agent_selects_no_link(one: Station) -> None:
    (offer,) = one.told(message("discover", 7, (82, b"\5\4" + bytes((10, 0, 7, 0)))))

    assert offer[BOOTP].yiaddr.startswith("10.0.1.1")


def test_a_client_that_starts_again(one: Station) -> None:
    """RFC 2131, section 4.3.2: silence for the unknown, a refusal on another link."""
    address = bind(one, 8)
    unknown = message("request", 9, ("requested_addr", "10.0.1.140"))
    foreign = message("request", 9, ("requested_addr", "192.0.2.1"))
    known = message("request", 8, ("requested_addr", address))
    nak, ack = one.told(unknown, foreign, known)

    assert (kind(nak), nak[BOOTP].xid, nak.dst) == ("nak", 10, EVERYBODY)
    assert (nak[BOOTP].yiaddr, nak[BOOTP].ciaddr) == ("0.0.0.0", "0.0.0.0")
    assert (kind(ack), ack[BOOTP].yiaddr) == ("ack", address)


def test_what_names_another_server_is_not_answered(lab: Lab, one: Station) -> None:
    before = counted(lab, "another server's")
    wanted = [("requested_addr", "10.0.1.141"), ("server_id", "10.0.1.66")]

    assert one.told(message("request", 10, *wanted)) == []
    assert counted(lab, "another server's") == before + 1


def test_a_declined_address_is_left_alone(lab: Lab, one: Station) -> None:
    address = bind(one, 11)
    declined = [("requested_addr", address), ("server_id", SERVER)]

    assert one.told(message("decline", 11, *declined)) == []
    assert leases(lab)[address]["state"] == "declined"
    (offer,) = one.told(message("discover", 11, ("requested_addr", address)))
    assert offer[BOOTP].yiaddr != address


def test_nobody_gives_back_what_is_anothers(lab: Lab, one: Station) -> None:
    address = bind(one, 12)
    release = message("release", 12, ("server_id", SERVER), ciaddr=address, src=address)
    forged = release.copy()
    forged.src = mac(13)
    one.told(forged)
    assert leases(lab)[address]["state"] == "bound"
    assert one.told(release) == []
    assert leases(lab)[address]["state"] == "released"


@pytest.mark.parametrize(
    ("number", "marks", "address", "told"),
    [
        (40, [], "10.0.1.40", (12, b"printer")),
        (41, [("client_id", b"phone")], "10.0.1.41", (6, bytes((10, 0, 1, 53)))),
        (42, [(82, b"\1\6port-7")], "10.0.1.42", (6, bytes((10, 0, 1, 53)))),
        (43, [(82, b"\2\2\1\2")], "10.0.1.43", (6, bytes((10, 0, 1, 43)))),
    ],
    ids=["mac", "client-id", "circuit-id", "remote-id"],
)
def test_reservations(
    one: Station, number: int, marks: list[Any], address: str, told: tuple[int, bytes]
) -> None:
    (offer,) = one.told(message("discover", number, *marks))

    assert offer[BOOTP].yiaddr == address
    assert told in options(offer)


def test_rapid_commit(lab: Lab, one: Station) -> None:
    """RFC 4039."""
    (ack,) = one.told(message("discover", 44, (80, b"")))

    assert (kind(ack), dict(options(ack))[80]) == ("ack", b"")
    assert leases(lab)[ack[BOOTP].yiaddr]["state"] == "bound"


def test_a_client_says_its_whole_name(lab: Lab, one: Station) -> None:
    """RFC 4702: in DNS form (E), the client would update (S is 0): the server does it instead."""
    name = b"\4desk\3lab\7example\0"
    address = bind(one, 45, (81, b"\4\0\0" + name))
    (ack,) = one.told(message("request", 45, (81, b"\4\0\0" + name), ciaddr=address, src=address))

    assert dict(options(ack))[81] == b"\7\xff\xff" + name
    assert leases(lab)[address]["hostname"] == "desk"


def test_inform(one: Station) -> None:
    """RFC 2131, section 4.3.5: no address, no times."""
    asked = ("param_req_list", [6])
    (ack,) = one.told(message("inform", 14, asked, ciaddr="10.0.1.33", src="10.0.1.33"))

    check_sound(ack)
    assert (ack[IP].dst, ack[BOOTP].ciaddr, ack[BOOTP].yiaddr) == ("10.0.1.33",) * 2 + ("0.0.0.0",)
    assert {1, 6, 53, 54} == set(dict(options(ack)))


def test_an_exhausted_pool_is_silent_and_counted(lab: Lab) -> None:
    before = counted(lab, "no free address")
    with station(lab, "few") as few:
        offers = few.told(*(message("discover", number) for number in range(20, 24)))

    assert {offer[BOOTP].yiaddr for offer in offers} == {"10.0.2.100", "10.0.2.101"}
    assert counted(lab, "no free address") == before + 2


@pytest.mark.parametrize(
    ("arch", "server", "file"),
    [
        (0, "10.0.1.5", b"pxelinux.0"),
        (7, "10.0.1.6", b"grubx64.efi"),
        (9, "10.0.1.6", b"grubx64.efi"),
        (11, "0.0.0.0", b""),
    ],
)
def test_where_to_boot_from(one: Station, arch: int, server: str, file: bytes) -> None:
    """RFC 4578."""
    vendor = [(60, b"PXEClient:Arch:%05d" % arch), (93, arch.to_bytes(2, "big"))]
    (offer,) = one.told(message("discover", 15, ("param_req_list", [66, 67]), *vendor))

    assert (offer[BOOTP].siaddr, offer[BOOTP].file.rstrip(b"\0")) == (server, file)


@pytest.mark.parametrize("sport", [67, 1067])
def test_another_server_is_not_heard(lab: Lab, one: Station, sport: int) -> None:
    before = ended(lab, "rogue")
    offer: Any = Ether(dst=EVERYBODY) / IP(src="10.0.1.66", dst="255.255.255.255")
    offer /= UDP(sport=sport, dport=68) / BOOTP(op=2, yiaddr="10.0.1.99", xid=7)
    with station(lab, "far") as far:
        far.send([offer / DHCP(options=[("message-type", "offer"), "end"])])
    waiting.until(lambda: ended(lab, "rogue") == before + 1, PATIENCE)

    assert one.told() == []


def test_messages_that_are_none_harm_nobody(lab: Lab, one: Station) -> None:
    """Cut, too long, contradicting themselves, or of random bytes; the next client is served."""
    good = bytes(message("discover", 16)[UDP].payload)
    tail = good[:240]
    draw = random.Random(2131)
    payloads = [good[:length] for length in (0, 1, 27, 239, 240, 242)]
    payloads += [tail + bytes((code, 255)) for code in (12, 53, 61, 82)]
    payloads += [tail + b"\x35\1\1" + bytes((code, 0, 255)) for code in (50, 52, 57, 61, 81, 82)]
    payloads += [tail + b"\x35\1\1" + b"\x0c\xff" + bytes(255) + b"\xff", good + bytes(900)]
    payloads += [bytes((1, 1, 255)) + good[3:], bytes((1, 6, 0)) + good[3:]]
    payloads += [draw.randbytes(draw.randrange(600)) for _ in range(30)]
    payloads += [tail + draw.randbytes(draw.randrange(300)) for _ in range(30)]
    head = Ether(src=mac(16), dst=EVERYBODY) / IP(src="0.0.0.0", dst="255.255.255.255")
    before = counted(lab, "malformed")
    one.told(*(head / UDP(sport=68, dport=67) / payload for payload in payloads))
    wrong = [head / UDP(sport=68, dport=67, len=length) / good for length in (0, 7, 8, 9999)]
    one.told(*wrong, head / UDP(sport=68, dport=67, chksum=0x1234) / good)

    assert counted(lab, "malformed") >= before + 10
    assert bind(one, 17).startswith("10.0.1.1")


def test_a_lease_outside_a_shrunk_pool_is_not_renewed(lab: Lab, one: Station) -> None:
    """Nor on the fast path, which has renewed it before."""
    address = "10.0.1.149"
    one.told(message("discover", 50, ("requested_addr", address), (80, b"")))
    renewal = message("request", 50, ("param_req_list", [1, 3]), ciaddr=address, src=address)
    before = ended(lab, "answered")
    answers = [one.told(renewal) for _ in range(3)]
    assert [kind(ack) for (ack,) in answers] == ["ack"] * 3
    assert ended(lab, "answered") == before + 2
    lab.edit("10.0.1.100-10.0.1.149", "10.0.1.100-10.0.1.148")
    lab.apply()

    assert one.told(renewal) == []
    assert leases(lab)[address]["state"] == "bound"


def test_a_flood_keeps_nobody_from_an_address(lab: Lab, one: Station) -> None:
    """Neither the addresses nor the time of the service are one access point's alone."""
    flood = [bytes(message("discover", 0x1000 + number)) for number in range(3000)]

    def is_too_much() -> bool:
        one.send(flood)
        return ended(lab, "limited") > 0

    waiting.until(is_too_much, PATIENCE)
    with station(lab, "two") as two:
        addresses = {bind(two, 30 + number) for number in range(5)}
    held = [row for row in leases(lab).values() if row["state"] != "released"]

    assert len(addresses) == 5
    assert len([row for row in held if row["port"] == "one"]) == LIMIT
