"""From a file to a Topology: values, words of errors, equality."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import FrozenInstanceError
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nfv import functions
from nfv.chain.match import Match
from nfv.chain.pattern import Direction, Pattern
from nfv.chain.route import Route
from nfv.chain.topology import Attachment, HostSap, TapSap, Topology, load, loads
from nfv.errors import InputError, Problem, TopologyError
from nfv.functions.base import Function
from nfv.functions.firewall import Firewall
from nfv.functions.router import Router

TOPOLOGIES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))
QUICKSTART = next(file for file in TOPOLOGIES if file.name == "quickstart.yaml")


def problems(text: str) -> list[Problem]:
    with pytest.raises(TopologyError) as caught:
        loads(text)
    return list(caught.value.problems)


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.name)
def test_every_example_is_valid_and_named_as_its_file(file: Path) -> None:
    assert load(file).name == file.stem


def test_quickstart() -> None:
    topology = load(QUICKSTART)
    lan = topology.saps["lan"]
    assert isinstance(lan, HostSap)
    assert lan.name == "lan"
    assert lan.ip == (ip_interface("10.0.1.10/24"), ip_interface("2001:db8:1::10/64"))
    assert lan.gateways == (ip_address("10.0.1.1"), ip_address("2001:db8:1::1"))
    assert (lan.kind, lan.mtu, lan.mac) == ("host", 1500, None)
    gw, fw = topology.vnfs["gw"], topology.vnfs["fw"]
    assert isinstance(gw, Router)
    assert isinstance(fw, Firewall)
    assert (gw.type, gw.name, list(gw.interfaces)) == ("router", "gw", ["lan", "wan"])
    assert gw.config.routes[0].to == ip_network("0.0.0.0/0")
    assert fw.interfaces == {}
    assert fw.patterns[0] == Pattern(protocols=(6,), dports=((23, 23),))
    inside = topology.chains["inside"]
    assert inside.near == Attachment("lan")
    assert inside.far == Attachment("gw", "lan")
    assert str(inside.far) == "gw:lan"
    assert inside.functions == ("fw",)
    assert inside.match is None


MINIMAL = """\
name: t
saps:
  a: {kind: tap, mtu: 1400, mac: 02:00:00:00:00:AB}
  b: {kind: tap, mtu: 1400}
chains:
  c: {path: [a, b]}
"""


def test_a_wire_needs_no_functions() -> None:
    topology = loads(MINIMAL)
    tap = topology.saps["a"]
    assert isinstance(tap, TapSap)
    assert tap.mac == "02:00:00:00:00:ab"
    assert topology.vnfs == {}


def test_topologies_are_immutable() -> None:
    topology = loads(MINIMAL)
    with pytest.raises(FrozenInstanceError):
        topology.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        topology.saps["a"].mtu = 1500  # type: ignore[misc]


def test_equality_ignores_the_layout_of_the_file() -> None:
    other = """
# the same in other words
"chains":
  c: {"path": ["a", 'b']}
saps:
  b:
    mtu: 0x578
    kind: tap
  a:
    mac: "02:00:00:00:00:ab"
    kind: tap
    mtu: 1400
name: t
vnfs: {}
"""
    assert loads(MINIMAL) == loads(other)
    assert loads(MINIMAL) != loads(MINIMAL.replace("1400", "1401"))


def shared(first: str, second: str) -> Topology:
    return loads(
        "name: t\nsaps: {a: {kind: tap}, b: {kind: tap}, c: {kind: tap}, d: {kind: tap}}\n"
        f"chains:\n  {first}\n  {second}\n  last: {{path: [c, d]}}\n"
    )


def test_the_order_of_chains_counts_only_where_they_share_an_attachment() -> None:
    tcp, udp = "x: {path: [a, b], match: {proto: tcp}}", "y: {path: [b, a], match: {proto: udp}}"
    assert shared(tcp, udp) != shared(udp, tcp)
    alone = "z: {path: [a, b]}"
    moved = alone.replace("[a, b]", "[b, a]")
    assert shared(tcp, alone).chains["z"].precedence == 1
    assert loads(MINIMAL.replace("c: {", "c1: {")) != loads(MINIMAL)
    assert shared(tcp, alone) != shared(tcp, moved)
    one = "name: t\nsaps: {a: {kind: tap}, b: {kind: tap}, c: {kind: tap}, d: {kind: tap}}\n"
    assert loads(one + "chains: {x: {path: [a, b]}, y: {path: [c, d]}}") == loads(
        one + "chains: {y: {path: [c, d]}, x: {path: [a, b]}}"
    )


FIELDS = [
    # a value, where it stands (kind: host), what is wrong with it
    ("ip: 10.0.1.10", "10.0.1.10 has no prefix length", "write 10.0.1.10/24"),
    ("ip: 2001:db8::1", "2001:db8::1 has no prefix length", "write 2001:db8::1/64"),
    ("ip: 10.0.300.1/24", "'10.0.300.1/24' is not an IP address with a prefix length", None),
    ("ip: 10.0.0.1/33", "'10.0.0.1/33' is not an IP address with a prefix length", None),
    ("ip: 10.0.0.1/255.255.255.0", "is not an IP address with", "write the prefix length as a"),
    ('ip: "fe80::1%eth0/64"', "has a zone", "leave out '%'"),
    ("ip: 10", "10 is not an IP address with a prefix length", None),
    ("ip: [10.0.0.1/24, [x]]", "a list is not an IP address", None),
    ("ip: []", "must not be empty", None),
    ("ip: {a: b}", "a mapping is not an IP address with a prefix length", None),
    ("ip: 10.0.0.1/24, gateway: 10.0.0.2/24", "'10.0.0.2/24' has a prefix length", "10.0.0.2"),
    ("ip: 10.0.0.1/24, gateway: gw", "'gw' is not an IPv4 or IPv6 address", None),
    ("ip: 10.0.0.1/24, mtu: 9001", "9001 is too large, the most is 9000", None),
    ("ip: 10.0.0.1/24, mtu: 10", "10 is too small, the least is 576", None),
    ('ip: 10.0.0.1/24, mtu: "1500"', "must be a whole number, not '1500'", "remove the quotes"),
    ("ip: 10.0.0.1/24, mtu: 1.5", "must be a whole number, not 1.5", None),
    ("ip: 10.0.0.1/24, mtu: true", "must be a whole number, not true", None),
    ("ip: 10.0.0.1/24, mac: 02-00-00-00-00-01", "is not a MAC address", "write it as 02:00:00"),
    ("ip: 10.0.0.1/24, mac: 01:00:00:00:00:01", "is a group (multicast) MAC", "as in 00:00:00:"),
    ("ip: 10.0.0.1/24, mac: 00:00:00:00:00:00", "the MAC address is all zero", None),
    ("ip: 10.0.0.1/24, mac: 5", "5 is not a MAC address", None),
    (
        "ip: 10.0.0.1/24, pppoe: true",
        "unknown key 'pppoe'",
        "known here: kind, mtu, ip, gateway, mac, hook, dhcp",
    ),
    ("ip: 10.0.0.1/24, dhcp: true", "10.0.0.1/24 and dhcp: true exclude each other", None),
    ("ip: 10.0.0.1/24, gatway: 10.0.0.2", "unknown key 'gatway'", "did you mean 'gateway'?"),
    ("ip: 10.0.0.1/24, name: x", "unknown key 'name'", "known here: kind"),
    ("mtu: 1500", "a host needs an address", "add `ip:`, or `dhcp: true`"),
]


@pytest.mark.parametrize(("value", "message", "hint"), FIELDS)
def test_words_for_wrong_fields(value: str, message: str, hint: str | None) -> None:
    text = f"name: t\nsaps: {{a: {{kind: host, {value}}}, b: {{kind: tap}}}}\n"
    (problem,) = problems(text + "chains: {c: {path: [a, b]}}\n")
    assert message in problem.message
    assert (hint or "") in (problem.hint or "")


FUNCTIONS = [
    ("type: firewall, default: dropp", "default", "'dropp' is not one of accept, drop, reject"),
    ("type: firewall, stateless: on", "stateless", "must be true or false, not 'on'"),
    ("type: firewall, connections: 0", "connections", "0 is too small, the least is 1"),
    ("type: firewall, rules: accept", "rules", "must be a list, not 'accept'"),
    ("type: firewall, rules: {a: 1}", "rules", "must be a list, not a mapping"),
    ("type: firewall, rules: [accept]", "rules[0]", "must be a mapping"),
    ("type: firewall, rules: [{proto: tcp}]", "rules[0]", "missing key 'action'"),
    ("type: firewall, prefix_lists: [x]", "prefix_lists", "must be a mapping"),
    ("type: firewall, prefix_lists: {A: 10.0.0.0/8}", "prefix_lists.A", "'A' is not a valid name"),
    ("type: firewall, prefix_lists: {a: 10.0.0.1/8}", "prefix_lists.a", "bits set beyond its"),
    ("type: router", "", "missing key 'interfaces'"),
    ("type: router, interfaces: {}", "interfaces", "must not be empty"),
    ("type: router, interfaces: {mtu: {mut: 1}}", "interfaces.mtu.mut", "unknown key 'mut'"),
    ("type: ruter", "type", "unknown type 'ruter'"),
    ("type: [router]", "type", "unknown type a list"),
    ("interfaces: {}", "", "missing key 'type'"),
    ("type: base", "type", "unknown type 'base'"),
]


@pytest.mark.parametrize(("value", "path", "message"), FUNCTIONS)
def test_words_for_wrong_functions(value: str, path: str, message: str) -> None:
    found = problems(f"{MINIMAL}vnfs: {{f: {{{value}}}}}")
    shown = f"vnfs.f.{path}".rstrip(".")
    assert any(one.path == shown and message in one.message for one in found), found


ROUTES = [
    ("{to: default, via: 10.0.0.2}", "'default' does not say", "0.0.0.0/0 for IPv4 or ::/0"),
    ("{to: 10.2.0.1/24, type: blackhole}", "has bits set beyond", "write 10.2.0.0/24"),
    ("{to: 10.2.0.0/24, type: drop}", "'drop' is not one of blackhole, unreachable", ""),
    ("{to: 10.2.0.0/24, via: 10.0.0.2, metric: -1}", "-1 is too small", ""),
    ("{to: 10.2.0.0/24, via: 10.0.0.2, metrc: 1}", "unknown key 'metrc'", "'metric'"),
]


@pytest.mark.parametrize(("route", "message", "hint"), ROUTES)
def test_words_for_wrong_routes(route: str, message: str, hint: str) -> None:
    router = f"{{type: router, interfaces: {{a: {{ip: 10.0.0.1/24}}}}, routes: [{route}]}}"
    (problem,) = problems(f"{MINIMAL}vnfs: {{r: {router}}}")
    assert problem.path.startswith("vnfs.r.routes[0].")
    assert message in problem.message
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("- a", ["must be a mapping (lines of 'key: value'), not a list"]),
        ("name: t", ["missing key 'saps'", "missing key 'chains'"]),
        (
            "name: t\nsaps: [a]\nchains: {}",
            ["must be a mapping (lines of 'key: value'), not a list"],
        ),
        ("name: 7\nsaps: {}\nchains: {}", ["7 is a number, not a name"]),
        ("name: -x\nsaps: {}\nchains: {}", ["'-x' is not a valid name"]),
        (f"name: {'x' * 33}\nsaps: {{}}\nchains: {{}}", [f"'{'x' * 33}' is longer than 32"]),
        ("name: t\nsaps:\nchains: {}", ["has no value"]),
        ("name: t\nsaps: {a: {kind: hst}}\nchains: {}", ["unknown kind 'hst'"]),
        ("name: t\nsaps: {a: {}}\nchains: {}", ["missing key 'kind'"]),
        ("name: t\nsaps: {a: tap}\nchains: {}", ["must be a mapping"]),
        ("name: t\nsaps: {A_b: {kind: tap}}\nchains: {}", ["'A_b' is not a valid name"]),
        ("name: t\nsaps: {}\nchains: {c: [a]}", ["must be a mapping"]),
        ("name: t\nsaps: {}\nchains: {c: {path: a}}", ["must be a list, not 'a'"]),
        ("name: t\nsaps: {}\nchain: {}", ["missing key 'chains'", "unknown key 'chain'"]),
    ],
)
def test_words_for_wrong_files(text: str, messages: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(messages)
    for problem, message in zip(found, messages, strict=True):
        assert message in problem.message


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = """\
name: Bad
saps:
  a: {kind: tap, mtuu: 1}
  a: {kind: tap}
  b: {kind: tap}
vnfs:
  fw: {type: firewall, rules: [{action: accept, dport: 80}]}
chains:
  c: {path: [aa, fw, b]}
"""
    found = problems(text)
    assert [problem.position.line for problem in found] == [1, 3, 4, 7, 9]
    assert found[1].source == "  a: {kind: tap, mtuu: 1}"
    assert found[1].path == "saps.a.mtuu"
    assert (found[1].position.column, found[1].hint) == (18, "did you mean 'mtu'?")


CONDITIONS: list[tuple[str, Pattern]] = [
    ("{}", Pattern()),
    ("{proto: tcp}", Pattern(protocols=(6,))),
    ("{proto: [udp, 132]}", Pattern(protocols=(17, 132))),
    ("{proto: tcp, dport: 80}", Pattern(protocols=(6,), dports=((80, 80),))),
    (
        "{proto: udp, sport: 1000-2000, dport: [53, '5000-5999']}",
        Pattern(protocols=(17,), sports=((1000, 2000),), dports=((53, 53), (5000, 5999))),
    ),
    (
        "{proto: icmp, icmp_type: echo-request}",
        Pattern(protocols=(1,), dports=((0x0800, 0x08FF),)),
    ),
    (
        "{proto: icmpv6, icmp_type: [echo-request, 1/4]}",
        Pattern(protocols=(58,), dports=((0x8000, 0x80FF), (0x0104, 0x0104))),
    ),
    ("{proto: icmp, icmp_type: 3}", Pattern(protocols=(1,), dports=((0x0300, 0x03FF),))),
    ("{proto: tcp, tcp_flags: syn}", Pattern(protocols=(6,), tcp_flags=(2, 2))),
    (
        '{proto: tcp, tcp_flags: "syn,ack/syn,ack,rst,fin"}',
        Pattern(protocols=(6,), tcp_flags=(0x17, 0x12)),
    ),
    ("{proto: tcp, tcp_flags: none/syn}", Pattern(protocols=(6,), tcp_flags=(2, 0))),
    ("{family: ipv6}", Pattern(families=(6,))),
    (
        "{src: 10.0.0.1, dst: [10.0.0.0/8, 2001:db8::/32]}",
        Pattern(
            src=(ip_network("10.0.0.1/32"),),
            dst=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")),
        ),
    ),
]


@pytest.mark.parametrize(("match", "pattern"), CONDITIONS)
def test_patterns_of_classifiers(match: str, pattern: Pattern) -> None:
    chain = loads(MINIMAL.replace("[a, b]", f"[a, b], match: {match}")).chains["c"]
    assert isinstance(chain.match, Match)
    assert chain.match.pattern() == pattern


def test_patterns_of_rules() -> None:
    rules = (
        "[{action: drop, src: [site, 192.0.2.1], direction: reverse}], "
        "prefix_lists: {site: [10.0.0.0/8, 2001:db8::/32]}"
    )
    firewall = loads(f"{MINIMAL}vnfs: {{fw: {{type: firewall, rules: {rules}}}}}").vnfs["fw"]
    assert isinstance(firewall, Firewall)
    prefixes = ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32")
    assert firewall.patterns == (
        Pattern(src=tuple(map(ip_network, prefixes)), directions=(Direction.REVERSE,)),
    )


@pytest.mark.parametrize(
    ("match", "message", "hint"),
    [
        ("{proto: TCP}", "'TCP' is not an IP protocol", "did you mean 'tcp'?"),
        ("{proto: 256}", "256 is not an IP protocol", "a number 1 to 255"),
        ("{proto: tcp, dport: http}", "'http' is not a port", "write 80, 1000-2000 or a list"),
        ("{proto: tcp, dport: '80,443'}", "'80,443' is not a port", "a list: [80, 443]"),
        ("{proto: tcp, dport: 65536}", "port 65536 is too large", ""),
        ("{proto: tcp, dport: 90-80}", "the range 90-80 is empty", "write 80-90"),
        ("{proto: tcp, dport: true}", "true is not a port", ""),
        ("{proto: icmp, icmp_type: echo}", "'echo' is not an ICMP type", ""),
        ("{proto: icmp, icmp_type: 3/256}", "'3/256' is not an ICMP type", "type/code"),
        ("{proto: tcp, tcp_flags: sny}", "'sny' is not a TCP flag", "did you mean 'syn'?"),
        ("{proto: tcp, tcp_flags: syn/ack}", "flags set that are not examined", "syn/ack,syn"),
        ("{proto: tcp, tcp_flags: 2}", "2 is not a list of TCP flags", ""),
        ("{family: 4}", "4 is not one of ipv4, ipv6", ""),
        ("{src: [site]}", "'site' is not an IP prefix", ""),
        ("{prot: tcp}", "unknown key 'prot'", "did you mean 'proto'?"),
    ],
)
def test_words_for_wrong_conditions(match: str, message: str, hint: str) -> None:
    (problem,) = problems(MINIMAL.replace("[a, b]", f"[a, b], match: {match}"))
    assert message in problem.message
    assert hint in (problem.hint or "")


def test_priority_of_routes_is_what_linux_makes_of_the_metric() -> None:
    def priority(to: str, metric: int | None) -> int:
        return Route.model_validate({"to": to, "type": "blackhole", "metric": metric}).priority

    assert [priority("10.0.0.0/8", metric) for metric in (None, 0, 7)] == [0, 0, 7]
    assert [priority("2001:db8::/32", metric) for metric in (None, 0, 7)] == [1024, 1024, 7]


def test_functions_are_found_by_module_name() -> None:
    assert functions.find("router") is Router
    for name in functions.known():
        assert issubclass(functions.find(name), Function)
        assert functions.find(name).type == name
    with pytest.raises(InputError, match="unknown function type 'firewal'") as caught:
        functions.find("firewal")
    assert caught.value.hint == "did you mean 'firewall'?"
    with pytest.raises(InputError):
        functions.find("base")


def test_the_import_error_of_a_function_surfaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.setattr(functions, "__path__", [*functions.__path__, str(tmp_path)])
    functions.known.cache_clear()
    try:
        with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
            functions.find("broken")
    finally:
        functions.known.cache_clear()


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["lan", "gw:lan", "fw", "10.0.0.1/24", "::/0", "tcp", "router", "tap", "a:"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "ip", "type", "kind", "path", "match", "rules", "lan", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places(data: Any) -> list[tuple[Any, str | int]]:
    """Every container of a document with each of its keys or indexes."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    found: list[tuple[Any, str | int]] = []
    for key, value in list(items) if isinstance(data, (dict, list)) else []:
        found.append((data, key))
        if isinstance(value, (dict, list)):
            found += places(value)
    return found


@settings(deadline=None)  # the machine may be busy
@given(st.data())
def test_any_mutation_is_read_or_refused_with_words_of_our_own(draw: st.DataObject) -> None:
    data = yaml.safe_load(draw.draw(st.sampled_from(TOPOLOGIES)).read_text())
    for _ in range(draw.draw(st.integers(1, 3))):
        container, key = draw.draw(st.sampled_from(places(data)))
        change = draw.draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "replace":
            container[key] = draw.draw(JUNK)
        elif change == "remove":
            del container[key]
        elif isinstance(container, dict):
            container[draw.draw(st.text(max_size=6))] = draw.draw(JUNK)
        else:
            container.append(draw.draw(JUNK))
        if not places(data):
            break
    try:
        loads(yaml.safe_dump(data, allow_unicode=True))
    except TopologyError as error:
        for problem in error.problems:
            assert problem.position.line >= 1
            for leak in ("pydantic", "Input should", "IPv4Network", "dict", "tuple", "NoneType"):
                assert leak not in problem.message


@settings(deadline=None)  # the machine may be busy
@given(st.data())
def test_any_edit_of_the_text_is_read_or_refused(draw: st.DataObject) -> None:
    text = draw.draw(st.sampled_from(TOPOLOGIES)).read_text()
    start = draw.draw(st.integers(0, len(text)))
    end = draw.draw(st.integers(start, min(len(text), start + 20)))
    with suppress(TopologyError):
        loads(text[:start] + draw.draw(st.text(max_size=5)) + text[end:])


def test_a_topology_of_sixty_nodes_loads_fast() -> None:
    saps, vnfs, chains = [], [], []
    for n in range(30):
        saps.append(f"  h{n}: {{kind: host, ip: [10.{n}.1.10/24, 2001:db8:{n}::10/64]}}")
        vnfs.append(f"  r{n}: {{type: router, interfaces: {{h: {{ip: 10.{n}.1.1/24}},")
        vnfs.append(f"    up: {{ip: 10.{n}.2.1/24}}, down: {{ip: 10.{n}.3.2/24}}}},")
        vnfs.append(f"    routes: [{{to: 0.0.0.0/0, via: 10.{n}.2.9}}]}}")
        chains.append(f'  c{n}: {{path: [h{n}, "r{n}:h"]}}')
    lines = ["name: sixty", "saps:", *saps, "vnfs:", *vnfs, "chains:", *chains]
    text = "\n".join(lines)

    def seconds() -> float:
        start = time.perf_counter()
        assert len(loads(text).vnfs) == 30
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.15


def test_the_model_imports_nothing_that_touches_the_kernel() -> None:
    code = (
        "import sys, nfv.chain.topology, nfv.chain.schema\n"
        "from nfv import functions\n"
        "[functions.find(name) for name in functions.known()]\n"
        "print(*sorted({'bcc', 'pyroute2', 'nfv.dataplane'} & sys.modules.keys()))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.stem)
def test_a_topology_can_be_given_to_another_process(file: Path) -> None:
    topology = load(file)
    assert pickle.loads(pickle.dumps(topology)) == topology
