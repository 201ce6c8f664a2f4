"""Rules of nftables become those of a firewall; what does not map is named."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from nfv.chain import nftables
from nfv.errors import InputError


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def field(protocol: str, name: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": name}}


ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
INNER: dict[str, Any] = {"jump": {"target": "In_1"}}
DPORT, SADDR = field("tcp", "dport"), field("ip", "saddr")
STATE = {"ct": {"key": "state"}}
BLOCKED = [{"prefix": {"addr": "192.0.2.0", "len": 24}}, {"elem": {"val": "198.51.100.7"}}]

MAPPED: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]] = [
    ([match(STATE, ["established", "related"], "in"), ACCEPT], []),
    ([match(STATE, "invalid", "in"), DROP], []),
    (
        [{"vmap": {"key": STATE, "data": {"set": [["established", ACCEPT], ["invalid", DROP]]}}}],
        [],
    ),
    ([match(SADDR, "@blocked"), DROP], [{"action": "drop", "src": ["blocked"]}]),
    (
        [match(DPORT, {"set": [22, {"range": [80, 90]}]}), {"counter": {}}, ACCEPT],
        [{"action": "accept", "proto": "tcp", "dport": [22, "80-90"]}],
    ),
    (
        [match(DPORT, 1024, ">="), {"log": {"prefix": "x"}}, DROP],
        [{"action": "drop", "proto": "tcp", "dport": ["1024-65535"], "log": 1}],
    ),
    (
        [{"limit": {"rate": 5, "burst": 9, "per": "minute"}}, {"reject": {"type": "tcp reset"}}],
        [{"action": "reject", "limit": {"rate": "5/minute", "burst": 9}}],
    ),
    (
        [match(SADDR, {"range": ["10.0.0.1", "10.0.0.2"]}, "!="), ACCEPT],
        [{"action": "accept", "family": "ipv4", "unless": {"src": ["10.0.0.1/32", "10.0.0.2/32"]}}],
    ),
    (
        [{"vmap": {"key": DPORT, "data": {"set": [[22, INNER], [80, DROP]]}}}],
        [
            {"action": "jump", "to": "in-1", "proto": "tcp", "dport": [22]},
            {"action": "drop", "proto": "tcp", "dport": [80]},
        ],
    ),
]  # fmt: skip

UNMAPPED: list[tuple[list[dict[str, Any]], str]] = [
    ([match({"meta": {"key": "iifname"}}, "eth0"), ACCEPT], "direction tells apart"),
    ([match({"meta": {"key": "mark"}}, 5), ACCEPT], "meta mark has no equivalent"),
    ([match({"concat": []}, 5), ACCEPT], "concat has no equivalent"),
    ([match(SADDR, "@timed"), DROP], "set timed is not one of fixed addresses"),
    ([match(SADDR, "@empty"), DROP], "set empty is not one of fixed addresses"),
    ([match(field("ip6", "nexthdr"), "tcp"), DROP], "ip6 nexthdr has no equivalent"),
    ([match(field("vlan", "id"), 5), DROP], "vlan id has no equivalent"),
    ([match(STATE, "invalid", "in"), ACCEPT], "dropped before the rules"),
    ([match(STATE, ["established"], "in"), DROP], "known connections are always accepted"),
    ([match(DPORT, 99999), DROP], "a value does not fit"),
    ([match(DPORT, 22), match(DPORT, 23), DROP], "several conditions on dport"),
    ([{"log": None}, match(DPORT, 22), DROP], "a condition behind a limit or a log"),
    ([{"limit": {"rate": 1, "per": "second", "inv": True}}, DROP], "this limit has no equivalent"),
    ([{"limit": {"rate": 1, "per": "week"}}, ACCEPT], "a limit per week"),
    ([{"goto": {"target": "In_1"}}], "goto has no equivalent"),
    ([{"return": None}], "return has no equivalent"),
    ([{"jump": {"target": "forward"}}], "does not lead back"),
    ([{"jump": {"target": "nowhere"}}], "it is not understood"),
    ([{"vmap": {"key": DPORT, "data": "@map"}}], "a named map has no equivalent"),
]


def rule_set(*rules: list[dict[str, Any]]) -> str:
    """One chain with these rules, one that returns at its end, and some sets."""
    table = {"family": "inet", "table": "filter"}
    addresses = {**table, "type": "ipv4_addr"}
    objects = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "filter"}},
        {"set": {**addresses, "name": "blocked", "flags": ["interval"], "elem": BLOCKED}},
        {"set": {**addresses, "name": "timed", "flags": ["timeout"], "elem": ["10.0.0.1"]}},
        {"set": {**addresses, "name": "empty"}},
        {"chain": {**table, "name": "In_1"}},
        {"chain": {**table, "name": "forward", "hook": "forward", "policy": "drop"}},
        {"rule": {**table, "chain": "In_1", "handle": 1, "expr": [match(DPORT, 23), DROP]}},
        {"rule": {**table, "chain": "In_1", "handle": 2, "expr": [{"return": None}]}},
    ]
    for handle, expr in enumerate(rules, 3):
        objects.append({"rule": {**table, "chain": "forward", "handle": handle, "expr": expr}})
    return json.dumps({"nftables": objects})


@pytest.mark.parametrize(("statements", "wanted"), MAPPED)
def test_what_maps(statements: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    found = nftables.read(rule_set(statements, [ACCEPT]), "FORWARD")
    assert found.missing == []
    assert found.default == "drop"
    assert found.rules == [*wanted, {"action": "accept"}]
    assert found.stateless == ('"ct"' not in json.dumps(statements))
    if "jump" in json.dumps(statements):
        assert found.groups == {"in-1": [{"action": "drop", "proto": "tcp", "dport": [23]}]}
    if "@blocked" in json.dumps(statements):
        assert found.prefix_lists == {"blocked": ["192.0.2.0/24", "198.51.100.7"]}


@pytest.mark.parametrize(("statements", "reason"), UNMAPPED)
def test_what_does_not_map_is_named(statements: list[dict[str, Any]], reason: str) -> None:
    found = nftables.read(rule_set(statements, [ACCEPT]), "inet filter forward")
    (missing,) = found.missing
    assert missing.place == "chain forward handle 3"
    assert reason in missing.reason
    assert found.rules == [{"action": "accept"}]
    assert found.groups == {}


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text(rule_set([match({"meta": {"key": "mark"}}, 5), ACCEPT], [DROP]))
    command = [".venv/bin/nfvctl", "import", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert yaml.safe_load(done.stdout)["rules"] == [{"action": "drop"}]
    named = f"{file}:chain forward handle 3: not imported: meta mark has no equivalent\n"
    assert done.stderr.startswith(named)


@pytest.mark.parametrize(
    ("text", "chain", "words"),
    [
        (rule_set(), "input", "no chain input"),
        (rule_set().replace("In_1", "FORWARD"), "forward", "several chains forward"),
        ('{"nftables": [{"chain": 5}]}', "forward", "no rule set"),
        ('{"nftables": ' + "[" * 100_000, "forward", "no rule set"),
    ],
)
def test_what_is_no_rule_set(text: str, chain: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        nftables.read(text, chain)


def test_damaged_rule_sets_are_refused_or_read() -> None:
    whole = [statements for statements, _ in MAPPED]
    good = nftables.read(rule_set(*whole), "forward")
    assert len(good.rules) == 7
    words = rule_set(*whole).split('"')
    for place in range(len(words)):
        text = '"'.join([*words[:place], "x", *words[place + 1 :]])
        try:
            nftables.read(text, "forward")
        except InputError:
            continue
