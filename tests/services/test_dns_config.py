"""What is said of zones that are wrong, and where; what the directory knows."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import dns.name
import pytest
from dns.rdatatype import RdataType

from nfv.chain.topology import load, loads
from nfv.errors import TopologyError
from nfv.functions.dns import Dns
from nfv.services.dns import directory
from nfv.services.dns.recursion import local_zones

TOPOLOGY = """
name: test
saps:
  lan: {{kind: host, ip: [10.0.0.10/24, 2001:db8::10/64]}}
  wan: {{kind: host, ip: [10.0.1.10/25]}}
vnfs:
  dns:
    type: dns
    ip: [10.0.0.53/24]
    {more}
  gw:
    type: router
    interfaces:
      lan: {{ip: [10.0.0.1/24, 2001:db8::1/64]}}
      wan: {{ip: 10.0.1.1/25}}
chains:
  inside: {{path: [lan, dns, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
"""

HEAD = "@ 5 SOA ns h 1 2 3 4 5\n@ 5 NS ns\nns 5 A 192.0.2.1\n"


def _problems(more: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        loads(TOPOLOGY.format(more=more))
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("record", "where", "message"),
    [
        ("{name: a, type: A, data: x}", "data", "the data does not fit"),
        ("{name: a, type: A, data: [192.0.2.1, 192.0.2.300]}", "data[1]", ""),
        ("{name: a, type: WHAT, data: x}", "type", "'WHAT' is not a record type"),
        ("{name: a..b, type: A, data: 192.0.2.1}", "data", "label"),
        ("{name: a.test., type: A, data: 192.0.2.1}", "data", "a.test. is not in the zone"),
        ('{name: "@", type: CNAME, data: a}', "data", "has a CNAME and other records"),
        ("{name: a, type: SOA, data: a b 1 2 3 4 5}", "data", "belongs to the zone's own name"),
        ('{name: "*", type: NS, data: ns}', "data", "a wildcard cannot have NS records"),
        ("{name: a, type: NS, data: b}", "data", "the name server b.example.org. has no address"),
        ("{name: a, type: CNAME, data: a}", "data", "is an alias of itself"),
        ("{name: a, type: OPT, data: x}", "data", ""),
        ("{name: a, type: RRSIG, data: x}", "data", ""),
        ('{name: a, type: TXT, data: "x\\ny"}', "data", "must be one line"),
        ("{name: a, type: A, data: 192.0.2.1, ttl: -1}", "ttl", "too small"),
    ],
)
def test_records_are_checked(record: str, where: str, message: str) -> None:
    found = _problems(f"zones: {{example.org: {{records: [{record}]}}}}")
    assert len(found) == 1
    assert f"zones.example.org.records[0].{where}" in found[0]
    assert message in found[0]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("zone: '*.x'", "vnfs.dns.zone: '*.x' cannot be the name of a zone"),
        ("zones: {lab.example: {records: [{type: TXT, data: x}]}}", "zones.lab.example"),
        ("zones: {a.b: {}}", "zones.a.b: the zone is empty"),
        ("zones: {a.b: {file: x}}", "zones.a.b.file: there is no directory to read x from"),
        ("transfer: {notify: 192.0.2.1}", "vnfs.dns.transfer: everybody could have the zones"),
        ("transfer: {key: k}", "vnfs.dns.transfer.key: no key 'k'"),
        ("tsig: {k: {secret: '#'}}", "vnfs.dns.tsig.k.secret: the secret is not base 64"),
        ("tsig: {k: {secret: AAAA}}", "vnfs.dns.tsig.k.secret: the secret has 3 bytes"),
        ("forward: {}", "vnfs.dns.forward: there is nobody to ask"),
        ("forward: {to: x}", "vnfs.dns.forward.to: 'x' is not an IPv4 or IPv6 address"),
        ("forward: {to: '192.0.2.1@x'}", "vnfs.dns.forward.to: 'x' is not a port"),
        ("forward: {to: '192.0.2.1@65536'}", "vnfs.dns.forward.to: '65536' is not a port"),
        ("forward: {to: 192.0.2.1, filter_private: 1}", "forward.filter_private: must be true"),
        ("forward: {domains: {'..': 192.0.2.1}}", "'..' is not a domain name"),
        ("mac: '01:00:00:00:00:00'", "vnfs.dns.mac: "),
        ("gateway: 10.9.9.9", "vnfs.dns.gateway: gateway 10.9.9.9 is in no connected subnet"),
    ],
)
def test_keys_are_checked(more: str, problem: str) -> None:
    (found,) = _problems(more)
    assert problem in found


def test_an_address_is_unique_on_its_segment() -> None:
    text = TOPOLOGY.format(more="").replace("10.0.0.53", "10.0.0.10")
    with pytest.raises(TopologyError) as caught:
        loads(text)
    (problem,) = caught.value.problems
    assert problem.message == "10.0.0.10 is the address of lan too, on the same segment"


@pytest.mark.parametrize(
    ("files", "place", "message"),
    [
        ({"z": HEAD + "\nwww 5 A 192.0.2\n"}, ("z", 5), ""),
        ({"z": HEAD + "www 5 (\n A\n 192.0.2.1 )\nbad 5 B 1\n"}, ("z", 7), "unknown rdatatype"),
        (
            {"z": HEAD + "$INCLUDE y\n", "y": "www 5 CNAME ns\nwww 5 A 192.0.2.1\n"},
            ("y", 1),
            "CNAME",
        ),
        ({"z": HEAD + "$INCLUDE y\n"}, ("z", 4), "cannot read y: no such file"),
        ({"z": HEAD + "\n\n$INCLUDE ../z\n"}, ("z", 6), "not below the directory"),
        ({"z": HEAD + "$INCLUDE /etc/passwd\n"}, ("z", 4), "not below the directory"),
        ({"z": HEAD + "$INCLUDE z\n"}, ("z", 4), "files include each other"),
        ({"z": HEAD + "$GENERATE 1-9 a$ A 192.0.2.$\n"}, ("z", 4), "is not allowed"),
        ({"z": "@ 5 NS ns\nns 5 A 192.0.2.1\n"}, ("lab.yaml", 10), "has no SOA record"),
    ],
)
def test_zone_files_are_checked(
    files: dict[str, str], place: tuple[str, int], message: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "lab.yaml").write_text(TOPOLOGY.format(more="zones: {example.org: {file: z}}"))
    with pytest.raises(TopologyError) as caught:
        load(tmp_path / "lab.yaml")
    problem = caught.value.problems[0]
    assert (problem.position.file, problem.position.line) == (str(tmp_path / place[0]), place[1])
    assert message in problem.message


def test_a_topology_with_another_zone_file_is_another(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(TOPOLOGY.format(more="zones: {example.org: {file: z}}"))
    (tmp_path / "z").write_text(HEAD)
    first = load(tmp_path / "lab.yaml")
    assert first == load(tmp_path / "lab.yaml")
    assert first.files == {"z": HEAD}
    again = loads(first.source.text, first.source.file, first.files)
    assert again == first
    (tmp_path / "z").write_text(HEAD + "www 5 A 192.0.2.1\n")
    second = load(tmp_path / "lab.yaml")
    assert second.vnfs["dns"] != first.vnfs["dns"]
    assert second.vnfs["gw"] == first.vnfs["gw"]


def test_a_zone_of_records_gets_its_own_head() -> None:
    zones = "zones: {example.org: {ttl: 60, records: [{name: www, type: A, data: 192.0.2.1}]}}"
    function = loads(TOPOLOGY.format(more=zones)).vnfs["dns"]
    assert isinstance(function, Dns)
    (zone,) = function.zones.values()
    texts = {f"{name} {found}" for name, found in zone}
    assert "ns.example.org. 60 IN A 10.0.0.53" in texts
    assert "example.org. 60 IN NS ns.example.org." in texts
    assert zone.negative.ttl == 60


def test_the_directory_has_every_address_forward_and_reverse() -> None:
    topology = loads(TOPOLOGY.format(more="zone: lab.test"))
    origin = dns.name.from_text("lab.test")
    server = dns.name.from_text("dns.lab.test")
    zones = directory.zones(directory.hosts(topology, origin), origin, server, 7)
    found = {
        f"{name} {rdata}"
        for zone in zones
        for name, records in zone
        for rdata in records
        if records.rdtype in (RdataType.A, RdataType.AAAA, RdataType.PTR)
    }
    assert found == {
        "lan.lab.test. 10.0.0.10",
        "lan.lab.test. 2001:db8::10",
        "wan.lab.test. 10.0.1.10",
        "dns.lab.test. 10.0.0.53",
        "gw.lab.test. 10.0.0.1",
        "gw.lab.test. 10.0.1.1",
        "gw.lab.test. 2001:db8::1",
        "lan.gw.lab.test. 10.0.0.1",
        "lan.gw.lab.test. 2001:db8::1",
        "wan.gw.lab.test. 10.0.1.1",
        "10.0.0.10.in-addr.arpa. lan.lab.test.",
        "10.1.0.10.in-addr.arpa. wan.lab.test.",
        "53.0.0.10.in-addr.arpa. dns.lab.test.",
        "1.0.0.10.in-addr.arpa. lan.gw.lab.test.",
        "1.1.0.10.in-addr.arpa. wan.gw.lab.test.",
        f"{ip_address('2001:db8::10').reverse_pointer}. lan.lab.test.",
        f"{ip_address('2001:db8::1').reverse_pointer}. lan.gw.lab.test.",
    }
    assert {zone.origin.to_text() for zone in zones} == {
        "lab.test.",
        "0.0.10.in-addr.arpa.",
        "1.0.10.in-addr.arpa.",
        f"{'0.' * 8}8.b.d.0.1.0.0.2.ip6.arpa.",
    }


@pytest.mark.parametrize(
    ("subnet", "zones"),
    [
        ("10.0.0.1/23", ["0.0.10.in-addr.arpa.", "1.0.10.in-addr.arpa."]),
        ("10.0.0.1/32", ["0.0.10.in-addr.arpa."]),
        ("10.0.0.1/8", ["10.in-addr.arpa."]),
        ("2001:db8::1/32", ["8.b.d.0.1.0.0.2.ip6.arpa."]),
        ("2001:db8::1/31", ["8.b.d.0.1.0.0.2.ip6.arpa.", "9.b.d.0.1.0.0.2.ip6.arpa."]),
    ],
)
def test_subnets_are_cut_where_the_reverse_tree_is(subnet: str, zones: list[str]) -> None:
    text = (
        TOPOLOGY.format(more="")
        .replace("10.0.1.10/25", subnet)
        .replace("10.0.1.1/25", "10.9.9.9/32")
    )
    text = text.replace("[10.0.0.10/24, 2001:db8::10/64]", "10.7.7.7/24")
    text = text.replace("[10.0.0.1/24, 2001:db8::1/64]", "10.7.7.1/24").replace(
        "10.0.0.53/24", "10.7.7.53/24"
    )
    origin = dns.name.from_text("lab.test")
    made = directory.zones(directory.hosts(loads(text), origin), origin, origin, 7)
    others = {"lab.test.", "7.7.10.in-addr.arpa.", "9.9.10.in-addr.arpa."}
    assert sorted({zone.origin.to_text() for zone in made} - others) == zones


@pytest.mark.parametrize(
    ("name", "domains", "is_local"),
    [
        ("10.in-addr.arpa", "{}", True),
        ("64.100.in-addr.arpa", "{}", True),
        ("127.100.in-addr.arpa", "{}", True),
        ("128.100.in-addr.arpa", "{}", False),
        ("63.100.in-addr.arpa", "{}", False),
        ("home.arpa", "{}", True),
        ("arpa", "{}", False),
        ("home.arpa", "{home.arpa: 192.0.2.1}", False),
        ("home.arpa", "{den.home.arpa: 192.0.2.1}", False),
    ],
)
def test_which_zones_nobody_else_is_asked_about(name: str, domains: str, is_local: bool) -> None:
    """RFC 6303, RFC 7793 and RFC 8375, but for what is forwarded by name."""
    more = f"forward: {{to: 192.0.2.53, domains: {domains}}}"
    function = loads(TOPOLOGY.format(more=more)).vnfs["dns"]
    assert isinstance(function, Dns)
    origins = {zone.origin for zone in local_zones(function)}
    assert (dns.name.from_text(name) in origins) == is_local
