"""What must hold between the parts of a topology."""

from __future__ import annotations

import pytest

from nfv.chain import names
from nfv.chain.topology import loads
from nfv.errors import Problem, TopologyError

BASE = """\
name: base
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64], gateway: [10.0.1.1, 2001:db8:1::1]}
  wan: {kind: host, ip: 10.0.2.10/24, gateway: 10.0.2.1}
  vm: {kind: tap}
  port: {kind: nic, device: eth1}
  peer: {kind: veth, netns: container, device: eth0}
vnfs:
  fw: {type: firewall, rules: [{action: accept, proto: tcp, dport: 80}]}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: 10.0.2.1/24}
    routes: [{to: 0.0.0.0/0, via: 10.0.2.10}]
chains:
  inside: {path: [lan, fw, "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
  wire: {path: [vm, port]}
"""


def problems(text: str) -> list[Problem]:
    with pytest.raises(TopologyError) as caught:
        loads(text)
    return list(caught.value.problems)


def edited(*edits: tuple[str, str]) -> str:
    text = BASE
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} must occur once"
        text = text.replace(old, new)
    return text


def test_base_is_valid() -> None:
    assert list(loads(BASE).chains) == ["inside", "outside", "wire"]


INSIDE = '[lan, fw, "gw:lan"]'
LAN_IP = "ip: [10.0.1.10/24, 2001:db8:1::10/64]"
LAN_GATEWAY = "gateway: [10.0.1.1, 2001:db8:1::1]"
GW_LAN = "lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}"
GW_WAN = "wan: {ip: 10.0.2.1/24}"
ROUTE = "{to: 0.0.0.0/0, via: 10.0.2.10}"
RULE = "{action: accept, proto: tcp, dport: 80}"
TAP = "vm: {kind: tap}"
NIC = "{kind: nic, device: eth1}"
WIRE = "wire: {path: [vm, port]}"

PATHS = [
    ('[lna, fw, "gw:lan"]', "chains.inside.path[0]", "no SAP or function 'lna'", "'lan'"),
    ('[lan, fww, "gw:lan"]', "chains.inside.path[1]", "no SAP or function 'fww'", "'fw'"),
    ('[lan, zzz, "gw:lan"]', "chains.inside.path[1]", "no SAP or function 'zzz'", "declared are"),
    (
        "[lan, fw, gw]",
        "chains.inside.path[2]",
        "'gw' needs an interface",
        "write one of gw:lan, gw:wan",
    ),
    ('[lan, "gw:lna"]', "chains.inside.path[1]", "'gw' has no interface 'lna'", "'gw:lan'"),
    ('["lan:eth0", "gw:lan"]', "chains.inside.path[0]", "'lan' is a SAP", "write 'lan'"),
    ("[lan, fw]", "chains.inside.path[1]", "a path cannot end at 'fw'", "end it at a SAP"),
    ('[fw, "gw:lan"]', "chains.inside.path[0]", "a path cannot end at 'fw'", "end it at a SAP"),
    ("[lan]", "chains.inside.path", "runs from one attachment to another", "write it as"),
    ("[]", "chains.inside.path", "runs from one attachment to another", "write it as"),
    ("[lan, fw, lan]", "chains.inside.path[2]", "both ends of the path are lan", ""),
    ('[lan, fw, fw, "gw:lan"]', "chains.inside.path[2]", "'fw' stands in this path twice", ""),
    ('[lan, gw, "gw:lan"]', "chains.inside.path[1]", "'gw' has interfaces and stands", "another"),
    ('[lan, "gw:wan", "gw:lan"]', "chains.inside.path[1]", "'gw' has interfaces", "another"),
    ('[lan, peer, "gw:lan"]', "chains.inside.path[1]", "SAP 'peer' stands inside", "end the path"),
    ('[lan, "fw:x", "gw:lan"]', "chains.inside.path[1]", "a firewall has no interfaces", "'fw'"),
    ("[lan, gw: lan]", "chains.inside.path[1]", "is a mapping", 'write "gw:lan"'),
    ("[lan, 7]", "chains.inside.path[1]", "7 is a number", "quote it"),
    ("[lan, Gw]", "chains.inside.path[1]", "'Gw' is not a valid name", "'gw'"),
]


@pytest.mark.parametrize(("path", "place", "message", "hint"), PATHS)
def test_paths(path: str, place: str, message: str, hint: str) -> None:
    (problem,) = problems(edited((INSIDE, path)))
    assert problem.path == place
    assert message in problem.message
    assert hint in (problem.hint or "")


EDITS = [
    # addresses of an interface
    (LAN_IP, "ip: 10.0.1.0/24", "saps.lan.ip", "10.0.1.0 is the network address"),
    (LAN_IP, "ip: 10.0.1.255/24", "saps.lan.ip", "10.0.1.255 is the broadcast address"),
    (LAN_IP, "ip: 2001:db8:1::0/64", "saps.lan.ip", "the subnet-router anycast address"),
    (LAN_IP, "ip: 224.0.0.5/24", "saps.lan.ip", "224.0.0.5 is a multicast address"),
    (LAN_IP, 'ip: "ff02::5/64"', "saps.lan.ip", "ff02::5 is a multicast address"),
    (LAN_IP, "ip: 127.0.0.1/8", "saps.lan.ip", "127.0.0.1 is a loopback address"),
    (LAN_IP, 'ip: "::1/128"', "saps.lan.ip", "::1 is a loopback address"),
    (LAN_IP, "ip: 0.0.0.0/8", "saps.lan.ip", "the unspecified address"),
    (LAN_IP, "ip: 255.255.255.255/32", "saps.lan.ip", "the limited broadcast address"),
    (LAN_IP, "ip: [10.0.1.10/24, 10.0.1.10/16]", "saps.lan.ip[1]", "10.0.1.10 stands here twice"),
    (GW_WAN, "wan: {ip: 10.0.2.255/24}", "vnfs.gw.interfaces.wan.ip", "broadcast address"),
    # MTU
    (
        GW_LAN,
        GW_LAN[:-1] + ", mtu: 9000}",
        "chains.inside.path",
        "the ends differ in MTU: lan has 1500, gw:lan has 9000",
    ),
    # gateways
    (LAN_GATEWAY, "gateway: 10.0.9.1", "saps.lan.gateway", "10.0.9.1 is in no connected subnet"),
    (LAN_GATEWAY, "gateway: 10.0.1.10", "saps.lan.gateway", "this access point's own address"),
    (LAN_GATEWAY, "gateway: [10.0.1.1, 10.0.1.2]", "saps.lan.gateway[1]", "a second IPv4 gateway"),
    (
        "wan: {kind: host, ip: 10.0.2.10/24, gateway: 10.0.2.1}",
        "wan: {kind: host, ip: 10.0.2.10/24, gateway: 2001:db8::1}",
        "saps.wan.gateway",
        "2001:db8::1 is in no connected subnet",
    ),
    # addresses on a segment
    (LAN_IP, "ip: 10.0.1.1/24", "vnfs.gw.interfaces.lan.ip[0]", "the address of lan too"),
    # router
    *(
        (GW_WAN, f"wan: {{ip: 10.0.2.1/24, {keys}}}", f"vnfs.gw.interfaces.wan.{place}", message)
        for keys, place, message in [
            (
                'neighbours: [{ip: 10.0.9.9, mac: "02:00:00:00:00:09"}]',
                "neighbours[0].ip",
                "10.0.9.9 is in no subnet of the interface",
            ),
            (
                'neighbours: [{ip: 10.0.2.1, mac: "02:00:00:00:00:09"}]',
                "neighbours[0].ip",
                "10.0.2.1 is the interface's own address",
            ),
            (
                'neighbours: [{ip: "fe80::9", mac: "02:00:00:00:00:09"}]',
                "neighbours[0].ip",
                "fe80::9 is in no subnet of the interface",
            ),
            (
                'neighbours: [{ip: 10.0.2.9, mac: "02:00:00:00:00:09"}, '
                '{ip: 10.0.2.9, mac: "02:00:00:00:00:08"}]',
                "neighbours[1].ip",
                "neighbours[0] is 10.0.2.9 too",
            ),
            ("proxy_ndp: [10.0.3.9]", "proxy_ndp[0]", "10.0.3.9 is no IPv6 unicast address"),
            ('proxy_ndp: ["2001:db8::1", "2001:db8::1"]', "proxy_ndp[1]", "is there twice"),
        ]
    ),
    (
        GW_WAN,
        'wan: {ip: "2001:db8::1/64", proxy_arp: true}',
        "vnfs.gw.interfaces.wan.proxy_arp",
        "the interface has no IPv4 address",
    ),
    (GW_WAN, "wan: {ip: [10.0.2.1/24, 10.0.1.2/25]}", "vnfs.gw.interfaces.wan.ip[1]", "share a"),
    (ROUTE, "{to: 0.0.0.0/0}", "vnfs.gw.routes[0]", "leads nowhere"),
    (ROUTE, "{to: 0.0.0.0/0, via: 10.9.9.9}", "vnfs.gw.routes[0].via", "in no connected subnet"),
    (ROUTE, "{to: 0.0.0.0/0, via: 10.0.2.1}", "vnfs.gw.routes[0].via", "router's own address"),
    (ROUTE, "{to: 0.0.0.0/0, via: 2001:db8:1::10}", "vnfs.gw.routes[0].via", "be an IPv4 address"),
    (ROUTE, "{to: 2001:db8::/32, via: fe80::1}", "vnfs.gw.routes[0].via", "is link-local"),
    (ROUTE, "{to: 10.9.0.0/16, interface: wna}", "vnfs.gw.routes[0].interface", "no interface"),
    (
        ROUTE,
        "{to: 0.0.0.0/0, via: 10.0.1.10, interface: wan}",
        "vnfs.gw.routes[0].via",
        "in no connected subnet",
    ),
    (
        ROUTE,
        "{to: 10.9.0.0/16, type: blackhole, via: 10.0.2.10}",
        "vnfs.gw.routes[0].via",
        "type: blackhole and via exclude each other",
    ),
    (ROUTE, f"{ROUTE}, {ROUTE}", "vnfs.gw.routes[1].to", "routes[0] leads to 0.0.0.0/0 with the"),
    (
        ROUTE,
        f'{ROUTE}, {{to: "::/0", via: 2001:db8:1::10}}, '
        '{to: "::/0", via: 2001:db8:1::11, metric: 1024}',
        "vnfs.gw.routes[2].to",
        "routes[1] leads to ::/0 with the same metric",
    ),
    # MAC addresses
    (
        TAP,
        "vm: {kind: tap, mac: 02:00:00:00:00:01}\n  vn: {kind: tap, mac: 02:00:00:00:00:01}",
        "saps.vn.mac",
        "is the MAC address of vm too",
    ),
    # names and devices
    (TAP, f"{TAP}\n  gw: {{kind: tap}}", "vnfs.gw", "'gw' is the name of a SAP too"),
    (TAP, f"{TAP}\n  lo: {{kind: tap}}", "saps.lo", "device name that the kernel uses"),
    (GW_WAN, f"{GW_WAN}\n      all: {{ip: 10.7.0.1/24}}", "vnfs.gw.interfaces.all", "the kernel"),
    (NIC, "{kind: nic, device: lo}", "saps.port.device", "device name that the kernel uses"),
    (NIC, f"{NIC}\n  port2: {NIC}", "saps.port2.device", "'eth1' is used by SAP 'port' too"),
    (NIC, "{kind: nic, device: base-vm}", "saps.port.device", "'base-vm' is used by SAP 'vm' too"),
    (
        TAP,
        f"{TAP}\n  tap2: {{kind: tap, netns: container, device: eth0}}",
        "saps.peer.device",
        "device 'eth0' in namespace 'container' is used by SAP 'tap2' too",
    ),
    # rules
    (RULE, "{action: accept, dport: 80}", "vnfs.fw.rules[0].dport", "needs a proto that has ports"),
    (RULE, "{action: drop, proto: gre, sport: 80}", "vnfs.fw.rules[0].sport", "that has ports"),
    (RULE, "{action: drop, icmp_type: 8}", "vnfs.fw.rules[0].icmp_type", "icmp_type needs proto"),
    (
        RULE,
        "{action: drop, proto: [icmp, icmpv6], icmp_type: 8}",
        "vnfs.fw.rules[0].icmp_type",
        "one of them alone",
    ),
    (
        RULE,
        "{action: drop, proto: icmp, icmp_type: packet-too-big}",
        "vnfs.fw.rules[0].icmp_type",
        "'packet-too-big' is not a type of this proto",
    ),
    (RULE, "{action: drop, tcp_flags: syn}", "vnfs.fw.rules[0].tcp_flags", "needs proto: tcp"),
    (
        RULE,
        '{action: drop, src: 10.0.0.0/8, dst: "::/0"}',
        "vnfs.fw.rules[0].dst",
        "src and dst leave no packet",
    ),
    (
        RULE,
        "{action: drop, family: ipv6, src: 10.0.0.0/8}",
        "vnfs.fw.rules[0].src",
        "family and src leave no packet",
    ),
    (
        RULE,
        "{action: drop, proto: icmp, family: ipv6}",
        "vnfs.fw.rules[0].family",
        "proto and family leave no packet",
    ),
    (RULE, "{action: drop, src: offce}", "vnfs.fw.rules[0].src", "neither a prefix nor a prefix"),
    (
        RULE,
        "{name: a, action: drop}, {name: a, action: accept}",
        "vnfs.fw.rules[1].name",
        "rules[0] is named 'a' too",
    ),
    # classifiers
    (WIRE, "wire: {path: [vm, peer]}\n  x: {path: [port, vm]}", "chains.wire", "takes all packets"),
    (WIRE, f"{WIRE[:-1]}, match: {{dport: 80}}}}", "chains.wire.match.dport", "that has ports"),
    (
        WIRE,
        f'{WIRE[:-1]}, match: {{src: 10.0.0.0/8, dst: "::/0"}}}}',
        "chains.wire.match.dst",
        "src and dst leave no packet",
    ),
]


@pytest.mark.parametrize(("old", "new", "path", "message"), EDITS)
def test_violations(old: str, new: str, path: str, message: str) -> None:
    found = problems(edited((old, new)))
    assert any(problem.path == path and message in problem.message for problem in found), found


ALLOWED = [
    (LAN_IP, "ip: [10.0.1.10/24, 10.0.1.11/24, 2001:db8:1::10/64]"),  # one subnet, one interface
    (GW_WAN, "wan: {ip: [10.0.2.1/24, fe80::1/64]}"),
    (GW_WAN, "wan: {ip: [10.0.2.1/24, 10.9.9.0/31]}"),  # RFC 3021
    (GW_WAN, "wan: {ip: [10.0.2.1/24, 10.9.9.9/32]}"),
    (LAN_GATEWAY, 'gateway: [10.0.1.1, "fe80::1"]'),
    (ROUTE, f"{ROUTE}, {{to: 0.0.0.0/0, via: 10.0.2.11, metric: 5}}"),
    (ROUTE, "{to: 2001:db8::/32, via: fe80::1, interface: lan}"),
    (ROUTE, "{to: 10.9.0.0/16, interface: wan}"),
    (ROUTE, "{to: 10.0.0.0/8, type: prohibit}"),
    (NIC, f"{NIC}\n  unused: {{kind: tap}}"),
    (NIC, f"{NIC}\n  other: {{kind: tap, netns: elsewhere, device: eth1}}"),
    (RULE, "{action: drop, proto: [icmp, icmpv6], family: ipv6}"),
    (RULE, "{action: drop, src: [10.0.0.0/8, 2001:db8::/32], dst: 2001:db8::/32}"),
    (RULE, "{action: drop, proto: [tcp, sctp, 17, 33, udplite], dport: 7}"),
    (WIRE, "wire: {path: [vm, fw, port]}"),  # a function in several chains
    (WIRE, "a: {path: [vm, port], match: {proto: tcp}}\n  b: {path: [vm, peer]}"),
]


@pytest.mark.parametrize(("old", "new"), ALLOWED)
def test_allowed(old: str, new: str) -> None:
    loads(edited((old, new)))


def test_mtu_of_ipv6_is_at_least_1280() -> None:
    text = edited((GW_LAN, GW_LAN[:-1] + ", mtu: 1000}"), (LAN_IP, f"{LAN_IP}, mtu: 1000"))
    assert [problem.path for problem in problems(text)] == [
        "saps.lan.mtu",
        "vnfs.gw.interfaces.lan.mtu",
    ]
    loads(
        edited((GW_WAN, GW_WAN[:-1] + ", mtu: 576}"), ("10.0.2.10/24,", "10.0.2.10/24, mtu: 576,"))
    )


def test_only_the_last_chain_at_an_attachment_may_lack_a_match() -> None:
    chains = (
        "a: {path: [vm, port], match: {proto: tcp}}\n"
        "  b: {path: [vm, peer]}\n"
        "  c: {path: [vm, port], match: {proto: udp}}\n"
        "  d: {path: [vm, fw, port]}"
    )
    (problem,) = problems(edited((WIRE, chains)))
    assert problem.path == "chains.b"
    assert "none are left for chain 'c'" in problem.message


def test_addresses_are_unique_on_a_segment_of_several_chains() -> None:
    text = edited(
        (TAP, f"{TAP}\n  lan2: {{kind: host, ip: 10.0.1.10/24}}"),
        (
            f"inside: {{path: {INSIDE}}}",
            f"inside: {{path: {INSIDE}, match: {{src: 10.0.1.10}}}}\n"
            '  second: {path: [lan2, "gw:lan"]}',
        ),
    )
    (problem,) = problems(text)
    assert problem.path == "saps.lan2.ip"
    assert problem.message == "10.0.1.10 is the address of lan too, on the same segment"


def test_devices_that_become_the_same_are_refused() -> None:
    long = "a-name-of-16-chr"
    same = names.sap_device(long)
    text = edited((TAP, f"{TAP}\n  {long}: {{kind: tap}}\n  {same}: {{kind: tap}}"))
    (problem,) = problems(text)
    assert problem.path == f"saps.{same}"
    assert problem.message == f"becomes device '{same}', as {long} does"


def test_parts_are_checked_where_their_neighbours_cannot_be_read() -> None:
    text = edited(
        (RULE, "{action: acept}, {action: drop, dport: 80}"),
        (GW_WAN, "wan: {ip: 10.0.2.255/24, mtu: no}"),
        (GW_LAN, "lan: {ip: [10.0.1.0/24]}"),
    )
    assert [problem.path for problem in problems(text)] == [
        "vnfs.fw.rules[0].action",
        "vnfs.fw.rules[1].dport",
        "vnfs.gw.interfaces.lan.ip[0]",
        "vnfs.gw.interfaces.wan.mtu",
    ]


def test_an_unknown_prefix_list_is_compared_with_those_there_are() -> None:
    rules = "[{action: drop, src: offce}], prefix_lists: {office: [10.0.0.0/8]}"
    (problem,) = problems(edited((f"[{RULE}]", rules)))
    assert problem.path == "vnfs.fw.rules[0].src"
    assert problem.hint == "did you mean 'office'?"


def test_families_are_checked_with_prefix_lists_in_place() -> None:
    rules = "[{action: drop, src: v4, dst: v6}], prefix_lists: {v4: 10.0.0.0/8, v6: 2001:db8::/32}"
    (problem,) = problems(edited((f"[{RULE}]", rules)))
    assert problem.path == "vnfs.fw.rules[0].dst"
    assert "src and dst leave no packet" in problem.message


def test_no_follow_up_errors_from_a_part_that_cannot_be_read() -> None:
    text = edited(("type: router", "type: ruter"))
    (problem,) = problems(text)
    assert problem.message == "unknown type 'ruter'"
    assert problem.hint == "did you mean 'router'?"


def test_a_chain_has_no_more_functions_than_its_port_has_programs() -> None:
    names = [f"f{number}" for number in range(25)]
    functions = "".join(f"  {name}: {{type: firewall}}\n" for name in names)
    text = (
        "name: long\nsaps:\n  a: {kind: tap}\n  b: {kind: tap}\n"
        f"vnfs:\n{functions}chains:\n  c: {{path: [a, {', '.join(names)}, b]}}\n"
    )
    with pytest.raises(TopologyError) as caught:
        loads(text)
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == (
        "chains.c.path",
        "25 functions in one chain, the most is 24",
    )
