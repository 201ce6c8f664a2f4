"""Rules in files of their own: their places, and what can be wrong with the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nfv.chain import topology
from nfv.dataplane import statistics
from nfv.errors import TopologyError

TOPOLOGY = """\
name: included
saps:
  a: {kind: host, ip: 10.0.1.10/24}
  b: {kind: host, ip: 10.0.1.11/24}
vnfs:
  fw:
    type: firewall
    rules:
      - {name: first, action: accept, proto: icmp}
      - include: rules/common.yaml
      - {action: jump, to: inner}
    groups:
      inner:
        - include: more.yaml
chains:
  c: {path: [a, fw, b]}
"""
COMMON = """\
# What all sites have
- {name: second, action: accept, proto: tcp}
- include: more.yaml

- {name: last, action: drop, proto: tcp, dport: 23}
"""
MORE = "- {action: drop, proto: gre}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "common.yaml").write_text(COMMON)
    (tmp_path / "more.yaml").write_text(MORE)
    found = tmp_path / "t.yaml"
    found.write_text(TOPOLOGY)
    return found


def test_rules_stand_in_place_and_keep_their_lines(file: Path) -> None:
    places = {
        rule.text: (Path(rule.position.file).name, rule.position.line)
        for rule in statistics.rules(topology.load(file), "fw").values()
    }
    assert places == {
        "first": ("t.yaml", 9),
        "second": ("common.yaml", 2),
        "drop proto gre": ("more.yaml", 1),
        "last": ("common.yaml", 5),
        "default": ("t.yaml", 6),
    }


def test_warnings_show_the_line_of_the_file(file: Path) -> None:
    found = topology.load(file).warnings()
    common, more = file.parent / "rules" / "common.yaml", file.parent / "more.yaml"
    assert [(one.position.file, one.position.line, one.message) for one in found] == [
        (str(more), 1, f"redundant: rules[2] ({more}:1) takes all its packets"),
        (str(common), 5, f"shadowed: rules[1] ({common}:2) takes all its packets"),
    ]
    assert found[1].source == "- {name: last, action: drop, proto: tcp, dport: 23}"


def test_the_texts_go_with_the_topology(file: Path) -> None:
    found = topology.load(file)
    assert found.files == {"rules/common.yaml": COMMON, "more.yaml": MORE}
    assert topology.loads(TOPOLOGY, "elsewhere/t.yaml", found.files) == found


@pytest.mark.parametrize(
    ("name", "text", "where", "words"),
    [
        ("more.yaml", "- {action: drop, proto: grr}", "more.yaml:1", "is not an IP protocol"),
        ("more.yaml", "a: b", "common.yaml:3", "more.yaml is not a list of rules"),
        ("more.yaml", "- {action: drop}}", "more.yaml:1", "not valid YAML"),
        ("more.yaml", "- include: 3", "more.yaml:1", "include needs the name of a file"),
        ("more.yaml", "- include: more.yaml", "more.yaml:1", "more.yaml includes itself"),
        ("more.yaml", "- include: ../t.yaml", "more.yaml:1", "is not below the directory"),
        ("more.yaml", "- include: none", "more.yaml:1", "cannot read none: no such file"),
        ("more.yaml", "- {action: drop, action: drop}", "more.yaml:1", "duplicate key 'action'"),
        ("more.yaml", "- {include: a, name: b}", "more.yaml:1", "unknown key 'include'"),
    ],
)
def test_what_is_wrong_is_said_of_the_file(
    file: Path, name: str, text: str, where: str, words: str
) -> None:
    (file.parent / name).write_text(text)
    with pytest.raises(TopologyError) as caught:
        topology.load(file)
    found = {
        f"{Path(problem.position.file).name}:{problem.position.line}": problem
        for problem in caught.value.problems
        if words in problem.message
    }
    assert where in found, caught.value.problems
    assert found[where].source.strip()


def test_what_was_read_before_is_the_same_and_has_the_same_places(file: Path) -> None:
    first = topology.load(file)
    source = first.source
    data = json.loads(json.dumps(source.data))  # as it is kept
    again = topology.remembered(source.text, source.file, first.files, data)
    assert again == first
    assert again.files == first.files
    rules = [statistics.rules(found, "fw") for found in (first, again)]
    assert rules[0] == rules[1]
    ours, theirs = (found.vnfs["fw"].config.rules for found in (first, again))
    assert all(one is other for one, other in zip(ours, theirs, strict=True))


def test_a_rule_that_changes_is_read_anew(file: Path) -> None:
    first = topology.load(file)
    file.write_text(TOPOLOGY.replace("proto: icmp", "proto: esp"))
    changed = topology.load(file)
    protocols = [found.vnfs["fw"].config.rules[0].proto for found in (first, changed)]
    assert protocols == [(1,), (50,)]
    ours, theirs = (found.vnfs["fw"].config.rules for found in (first, changed))
    assert [one is other for one, other in zip(ours, theirs, strict=True)][:3] == [
        False,
        True,
        True,
    ]
