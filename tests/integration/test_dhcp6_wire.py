"""What the function dhcp says by DHCPv6 on the wire, to clients that behave and to others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers import dhcp6
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.integration.helpers.dhcp6wire import (
    association,
    client,
    code,
    duid,
    given,
    message,
    relayed,
    station6,
)
from tests.integration.helpers.dhcpwire import Station, counted, mac
from tests.integration.helpers.lab import Lab, applied
from tests.integration.test_dhcp import leases

pytestmark = pytest.mark.root

NO_ADDRESSES, NO_BINDING, NOT_ON_LINK, NO_PREFIXES = 2, 3, 4, 6
ELSEWHERE = "2001:db8:77::1"

TOPOLOGY = """
name: wire6
saps:
  one: {kind: host, ip: "2001:db8:1::9/64"}
  far: {kind: host, ip: "2001:db8:1::66/64"}
vnfs:
  dhcp:
    type: dhcp
    ip: 2001:db8:1::2/64
    lease: 600
    ipv6:
      preferred: 400
      rapid_commit: true
      options: {dns: "2001:db8:1::53", search: lab.example}
      subnets:
        - network: 2001:db8:1::/64
          pools: [{range: "2001:db8:1::100-2001:db8:1::1ff"}]
          delegate: [{within: "2001:db8:100::/63", length: 64}]
        - {network: "2001:db8:2::/64", pools: [{range: "2001:db8:2::1-2001:db8:2::1"}]}
chains:
  wire: {path: [one, dhcp, far]}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(TOPOLOGY, "wire6") as made:
        yield made


@pytest.fixture
def one(lab: Lab) -> Iterator[Station]:
    with station6(lab, "one") as made:
        yield made


@pytest.fixture
def server(one: Station) -> Any:
    """The option that says who the server is."""
    (found,) = one.told(message(dhcp6.DHCP6_InfoRequest(trid=1) / client(1), 1))
    return dhcp6.DHCP6OptServerId(duid=found[dhcp6.DHCP6OptServerId].duid)


def bind(one: Station, number: int) -> str:
    """An address by a rapid commit."""
    content = dhcp6.DHCP6_Solicit(trid=5) / client(number) / association()
    (reply,) = one.told(message(content / dhcp6.DHCP6OptRapidCommit(), number))
    assert dhcp6.DHCP6OptRapidCommit in reply[dhcp6.DHCP6_Reply]
    (address,) = given(reply)
    return address


def test_an_advertisement_and_a_reply(lab: Lab, one: Station, server: Any) -> None:
    """RFC 9915, sections 18.3.9 and 18.3.10; T1 and T2 by section 21.4."""
    wanted = dhcp6.DHCP6OptOptReq(reqopts=[23]) / association(iaid=7)
    (offer,) = one.told(message(dhcp6.DHCP6_Solicit(trid=9) / client(2) / wanted, 2))
    content = dhcp6.DHCP6_Request(trid=10) / client(2) / server / wanted
    (reply,) = one.told(message(content, 2))
    (again,) = one.told(message(content, 2))
    told = reply[dhcp6.DHCP6_Reply]

    assert (offer[dhcp6.DHCP6_Advertise].trid, told.trid) == (9, 10)
    assert bytes(reply) == bytes(again)
    assert given(offer) == given(reply)
    ((address, times),) = given(reply).items()
    assert (address[:13], times) == ("2001:db8:1::1", (400, 600))
    ia = told[dhcp6.DHCP6OptIA_NA]
    assert (ia.iaid, ia.T1, ia.T2) == (7, 200, 320)
    assert bytes(told[dhcp6.DHCP6OptClientId].duid) == bytes(duid(2))
    assert told[dhcp6.DHCP6OptServerId].duid == server.duid
    assert told[dhcp6.DHCP6OptDNSServers].dnsservers == ["2001:db8:1::53"]
    assert dhcp6.DHCP6OptDNSDomains not in told
    assert (reply.dst, reply[IPv6].dst, reply[UDP].sport) == (mac(2), "fe80::2", 547)
    assert reply[IPv6].src.startswith("fe80::")
    sum_, reply[UDP].chksum = reply[UDP].chksum, None
    assert Ether(bytes(reply))[UDP].chksum == sum_
    assert leases(lab)[address]["state"] == "bound"


@pytest.mark.parametrize(
    ("kind", "addresses", "named", "expected"),
    [
        (dhcp6.DHCP6_Confirm, ["2001:db8:1::123"], False, 0),
        (dhcp6.DHCP6_Confirm, [ELSEWHERE], False, NOT_ON_LINK),
        (dhcp6.DHCP6_Request, [ELSEWHERE], True, NOT_ON_LINK),
        (dhcp6.DHCP6_Release, ["2001:db8:1::123"], True, NO_BINDING),
        (dhcp6.DHCP6_Decline, ["2001:db8:1::123"], True, NO_BINDING),
    ],
)
def test_statuses(
    one: Station, server: Any, kind: Any, addresses: list[str], named: bool, expected: int
) -> None:
    """RFC 9915, sections 18.3.2, 18.3.3, 18.3.7 and 18.3.8."""
    content = kind(trid=11) / client(3)
    content = content / server if named else content
    (reply,) = one.told(message(content / association(*addresses), 3))

    assert code(reply[dhcp6.DHCP6_Reply]) == expected


@pytest.mark.parametrize("kind", [dhcp6.DHCP6_Renew, dhcp6.DHCP6_Rebind])
def test_extending(lab: Lab, one: Station, server: Any, kind: Any) -> None:
    """RFC 9915, sections 18.3.4 and 18.3.5: what is of another link ends."""
    address = bind(one, 4)
    content = kind(trid=12) / client(4)
    content = content / server if kind is dhcp6.DHCP6_Renew else content
    kept, ended = one.told(
        message(content / association(address), 4), message(content / association(ELSEWHERE), 4)
    )

    assert given(kept) == {address: (400, 600)}
    assert given(ended) == {ELSEWHERE: (0, 0)}


def test_giving_back(lab: Lab, one: Station, server: Any) -> None:
    address, used = bind(one, 5), bind(one, 6)
    release = dhcp6.DHCP6_Release(trid=13) / client(5) / server / association(address)
    decline = dhcp6.DHCP6_Decline(trid=14) / client(6) / server / association(used)
    answers = one.told(message(release, 5), message(decline, 6))

    assert [code(answer[dhcp6.DHCP6_Reply]) for answer in answers] == [0, 0]
    rows = leases(lab)
    assert (rows[address]["state"], rows[used]["state"]) == ("released", "declined")
    assert bind(one, 6) != used


def test_relay_agents_around_one_another(one: Station) -> None:
    """RFC 9915, sections 19.1.2 and 19.3; the link is the nearest agent's that knows one."""
    solicit = dhcp6.DHCP6_Solicit(trid=15) / client(7) / association()
    near = relayed(solicit, "2001:db8:2::fe", "fe80::7", port=b"port")
    far = relayed(near, "2001:db8:1::fe", "2001:db8:2::fe", hops=1, port=b"line")
    frame = message(far, 7, dst="2001:db8:1::2", src="2001:db8:1::fe", sport=547)
    second = dhcp6.DHCP6_Solicit(trid=16) / client(8) / association()
    other = relayed(second, "2001:db8:2::fe", "fe80::8")
    answer, refusal = one.told(
        frame, message(other, 8, dst="2001:db8:1::2", src="2001:db8:1::fe", sport=547)
    )
    outer = answer[dhcp6.DHCP6_RelayReply]
    inner = dhcp6.DHCP6_RelayReply(bytes(outer[dhcp6.DHCP6OptRelayMsg].message))

    assert (answer[IPv6].src, answer[IPv6].dst) == ("2001:db8:1::2", "2001:db8:1::fe")
    assert (answer[UDP].sport, answer[UDP].dport) == (547, 547)
    shown = (outer.hopcount, outer.linkaddr, outer.peeraddr)
    assert shown == (1, "2001:db8:1::fe", "2001:db8:2::fe")
    assert outer[dhcp6.DHCP6OptIfaceId].ifaceid == b"line"
    assert (inner.hopcount, inner.linkaddr, inner.peeraddr) == (0, "2001:db8:2::fe", "fe80::7")
    assert inner[dhcp6.DHCP6OptIfaceId].ifaceid == b"port"
    offer = dhcp6.DHCP6_Advertise(bytes(inner[dhcp6.DHCP6OptRelayMsg].message))
    assert list(given(offer)) == ["2001:db8:2::1"]
    refused = bytes(refusal[dhcp6.DHCP6_RelayReply][dhcp6.DHCP6OptRelayMsg].message)
    assert code(dhcp6.DHCP6_Advertise(refused)) == NO_ADDRESSES


def test_prefixes_run_out(one: Station) -> None:
    solicits = [
        dhcp6.DHCP6_Solicit(trid=20 + number) / client(10 + number) / dhcp6.DHCP6OptIA_PD(iaid=1)
        for number in range(3)
    ]
    answers = one.told(*(message(content, 10 + at) for at, content in enumerate(solicits)))

    assert [code(answer[dhcp6.DHCP6_Advertise]) for answer in answers] == [0, 0, NO_PREFIXES]


def test_messages_that_are_not_for_the_server(lab: Lab, one: Station, server: Any) -> None:
    """RFC 9915, section 16: each is dropped, and counted."""
    other = dhcp6.DHCP6OptServerId(duid=duid(99))
    solicit = dhcp6.DHCP6_Solicit(trid=30)
    wrong: list[tuple[str, Any, dict[str, Any]]] = [
        ("without a client", solicit / association(), {}),
        ("another server's", solicit / client(20) / server / association(), {}),
        ("another server's", dhcp6.DHCP6_Request() / client(20) / other / association(), {}),
        ("for no server", dhcp6.DHCP6_Renew() / client(20) / association(), {}),
        ("not a request", dhcp6.DHCP6_Advertise() / client(20) / server, {}),
        ("not a request", dhcp6.DHCP6_Reconf() / client(20) / server, {}),
        ("not a request", dhcp6.DHCP6_InfoRequest() / client(20) / association(), {}),
        ("unicast", solicit / client(20) / association(), {"dst": "2001:db8:1::2"}),
    ]
    before = {why: counted(lab, why) for why, *_ in wrong}
    answers = one.told(*(message(content, 20, **fields) for _, content, fields in wrong))

    assert answers == []
    for why, number in before.items():
        assert counted(lab, why) == number + [found for found, *_ in wrong].count(why)


def test_another_server_is_not_heard(lab: Lab, one: Station) -> None:
    content = dhcp6.DHCP6_Advertise(trid=40) / client(21)
    frame: Any = Ether(dst="33:33:00:00:00:01") / IPv6(src="fe80::66", dst="ff02::1")
    frame /= UDP(sport=1547, dport=546) / content
    with station6(lab, "far") as far:
        far.send([frame])
        assert far.told() == []  # the frame before is through

    assert one.told() == []
    assert lab.statistics().vnfs["dhcp"].ended["rogue"].packets == 1


def test_messages_that_are_none_harm_nobody(lab: Lab, one: Station) -> None:
    draw = random.Random(9915)
    good = bytes(dhcp6.DHCP6_Solicit(trid=50) / client(22) / association())
    deep: Any = dhcp6.DHCP6_Solicit(trid=51) / client(22) / association()
    for hops in range(12):
        deep = relayed(deep, "2001:db8:1::fe", "fe80::7", hops)
    payloads = [good[:length] for length in range(len(good) - 1)]
    payloads += [bytes(deep), good + b"\0\3\xff\xff", good + bytes(1000), good * 12]
    payloads += [b"\1abc" + draw.randbytes(draw.randrange(400)) for _ in range(20)]
    payloads += [b"\x0c" + draw.randbytes(draw.randrange(400)) for _ in range(20)]
    many = [association(iaid=iaid) for iaid in range(80)]
    payloads.append(bytes(dhcp6.DHCP6_Solicit(trid=52) / client(22)) + b"".join(map(bytes, many)))
    before = counted(lab, "malformed")
    one.told(*(message(payload, 22) for payload in payloads))

    assert counted(lab, "malformed") >= before + 40
    assert bind(one, 23).startswith("2001:db8:1::1")
