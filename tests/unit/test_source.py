"""YAML reading: the core schema of YAML 1.2, positions, bounds."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from nfv.chain import source as source_module
from nfv.chain.report import Report, did_you_mean, format_problem, listed
from nfv.chain.source import MAX_ALIASED_NODES, MAX_BYTES, MAX_DEPTH, parse, read
from nfv.errors import ExitCode, InputError, Position, Problem, TopologyError

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


def only_problem(text: str) -> Problem:
    with pytest.raises(TopologyError) as caught:
        Report(parse(text, "t.yaml")).raise_if_any()
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("10:20:30:40:50:59", "10:20:30:40:50:59"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("12", 12),
        ("-12", -12),
        ("+12", 12),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("2001-01-01", "2001-01-01"),
        ("10.0.1.0/24", "10.0.1.0/24"),
        ("2001:db8::1", "2001:db8::1"),
        ("=", "="),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
    ],
)
def test_scalars_follow_the_core_schema(written: str, value: object) -> None:
    data = parse(f"key: {written}", "t.yaml").data["key"]
    assert data == value
    assert type(data) is type(value)


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(parse("key: .nan", "t.yaml").data["key"])


def test_keys_are_text_as_written() -> None:
    assert parse("{1: a, true: b, <<: c}", "t.yaml").data == {"1": "a", "true": "b", "<<": "c"}


@pytest.mark.parametrize("file", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda file: file.name)
def test_both_parsers_of_the_yaml_package_agree(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(file)
    monkeypatch.setattr(source_module, "_Loader", yaml.SafeLoader)
    assert read(file) == first


TEXT = """\
a:
  b: [x, {c: 1}]
  d:
    e: 2
"""


@pytest.mark.parametrize(
    ("path", "key", "place"),
    [
        (("a", "b", 0), False, (2, 7)),
        (("a", "b", 1, "c"), False, (2, 14)),
        (("a", "b", 1, "c"), True, (2, 11)),
        (("a", "b", 1), False, (2, 10)),
        (("a", "b"), False, (2, 3)),  # a collection: its key
        (("a", "d", "e"), False, (4, 8)),
        (("a", "d", "missing", "deeper"), False, (3, 3)),  # absent: the nearest parent's key
        (("a", "d", "e", 0), False, (4, 8)),  # an index into a value that is no list
        ((), False, (1, 1)),
    ],
)
def test_positions(path: tuple[str | int, ...], key: bool, place: tuple[int, int]) -> None:
    assert parse(TEXT, "t.yaml").position(path, key) == Position("t.yaml", *place)


def test_positions_below_an_alias_are_those_of_its_anchor() -> None:
    source = parse("a: &x\n  b: 1\nc: *x", "t.yaml")
    assert source.data == {"a": {"b": 1}, "c": {"b": 1}}
    assert source.position(("c", "b")) == Position("t.yaml", 2, 6)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\x85", "\u2028"])
def test_lines_are_counted_as_the_parser_counts_them(newline: str) -> None:
    source = parse(f"a: 1{newline}b: 2", "t.yaml")
    assert source.position(("b",)) == Position("t.yaml", 2, 4)
    assert source.line(Position("f", 2, 1)) == "b: 2"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\na: 2", (2, 1), "duplicate key 'a'"),
        ("a: !foo 1", (1, 4), "tag '!foo' does not fit here"),
        ("a: !!int x", (1, 4), "tag 'tag:yaml.org,2002:int' does not fit here"),
        ("a: !!set [1]", (1, 4), "tag 'tag:yaml.org,2002:set' does not fit here"),
        ("a: !!binary aGk=", (1, 4), "tag 'tag:yaml.org,2002:binary' does not fit here"),
        ("a: " + "9" * 21, (1, 4), "the number is too long"),
        ("a:\nb: 1", (1, 1), "has no value"),
        ("a: ~", (1, 1), "has no value"),
        ("a: [~]", (1, 5), "has no value"),
        ("~", (1, 1), "has no value"),
        ("a: {b: 80,443}", (1, 11), "'443' stands here without a value"),
        ("a: 1\n---\nb: 2", (2, 1), "a second document starts here"),
        ("", (1, 1), "the file is empty"),
        ("# nothing\n", (1, 1), "the file is empty"),
        ("[a]: 1", (1, 1), "a key must be plain text"),
        ("a: *b", (1, 4), "no anchor '&b' stands before this alias"),
        ("a: &b [*b]", (1, 8), "alias '*b' stands inside its own anchor"),
        ("a: 1\nb: \x07", (2, 4), "character U+0007 is not allowed in YAML"),
        ("a: {b: ::/0}", (1, 8), "not valid YAML"),
        ("a:\n\tb: 1", (2, 1), "not valid YAML"),
        ("a: 'b", (1, 6), "not valid YAML"),
        ("a: " + "[" * (MAX_DEPTH + 1), (1, 4 + MAX_DEPTH), "nested more than 32 levels deep"),
        ("[" * 500_000, (1, 1 + MAX_DEPTH + 1), "nested more than 32 levels deep"),
    ],
)
def test_refused(text: str, place: tuple[int, int], message: str) -> None:
    problem = only_problem(text)
    assert message in problem.message
    assert (problem.position.line, problem.position.column) == place


def test_aliases_are_bounded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert f"more than {MAX_ALIASED_NODES} values" in only_problem("\n".join(lines)).message


def test_every_recoverable_problem_is_reported() -> None:
    with pytest.raises(TopologyError) as caught:
        Report(parse("a: 1\na: 2\nb:\nc: !x 1", "t.yaml")).raise_if_any()
    assert [problem.position.line for problem in caught.value.problems] == [2, 3, 4]
    assert [problem.path for problem in caught.value.problems] == ["a", "b", "c"]


@pytest.mark.parametrize("line", ["- ~\n", "- !x 1\n"])
def test_many_problems_are_found_in_linear_time(line: str) -> None:
    start = time.perf_counter()
    assert len(parse(line * 20_000, "t.yaml").problems) == 20_000
    assert time.perf_counter() - start < 10


def test_of_many_words_a_hint_lists_the_first() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(22))).endswith("18, 19 and 2 more")


@given(st.text() | st.text("{}[]:,-&*!|>'\"%@`#?~ \t\na10.\\<"))
@example("%YAML 9.9\n---\na")
@example('"\\UFFFFFFFF"')
@example("\ud800")
@example("a: \ufeffb")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        source = parse(text, "t.yaml")
    except TopologyError:
        return
    assert source.position(()).file == "t.yaml"


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.yaml: no such file") as caught:
        read(tmp_path / "none.yaml")
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    with pytest.raises(InputError, match="is a directory"):
        read(tmp_path)
    large = tmp_path / "large.yaml"
    large.write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match="is larger than 16 MiB"):
        read(large)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: caf\xe9")
    with pytest.raises(InputError, match="not UTF-8"):
        read(latin)


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: x")
    assert read(file).data == {"name": "x"}


def test_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin: Any = SimpleNamespace(buffer=io.BytesIO(b"name: x"))
    monkeypatch.setattr("sys.stdin", stdin)
    source = read("-")
    assert (source.file, source.data) == ("<stdin>", {"name": "x"})


def test_a_problem_is_printed_with_its_line_and_a_caret() -> None:
    report = Report(parse("vnfs:\n  gw:\n    interfces: {}\n", "bad.yaml"))
    hint = did_you_mean("interfces", ["interfaces", "routes"])
    report.at("vnfs", "gw").error(("interfces",), "unknown key 'interfces'", hint, key=True)
    with pytest.raises(TopologyError) as caught:
        report.raise_if_any()
    assert format_problem(caught.value.problems[0]) == (
        "bad.yaml:3:5: error: vnfs.gw.interfces: unknown key 'interfces'\n"
        "        interfces: {}\n"
        "        ^^^^^^^^^ did you mean 'interfaces'?"
    )


@pytest.mark.parametrize(
    ("line", "column", "carets"),
    [
        ('a: "x y", b', 4, "   ^^^^^"),
        ("a: 2001:db8::1/64]", 4, "   ^^^^^^^^^^^^^^"),
        ("a: [x]", 4, "   ^"),
        ("\ta: x", 5, "\t   ^"),
        ("a:", 3, "  ^"),
    ],
)
def test_carets_span_the_token(line: str, column: int, carets: str) -> None:
    problem = Problem(Position("t", 1, column), "", "wrong", None, line)
    assert format_problem(problem).splitlines()[-1] == f"    {carets}"
