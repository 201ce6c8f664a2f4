"""How nfvctl prints plans, tables, progress and completions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TextIO

import click
import pytest
import yaml

from nfv.chain.topology import loads
from nfv.cli import changes, output
from nfv.cli.main import main
from nfv.cli.progress import Progress
from nfv.dataplane import state
from nfv.dataplane.change.plan import Line, Plan, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.state import State
from nfv.dataplane.statistics import Count, PortCounts, Rule, Statistics, VnfCounts
from nfv.errors import Position

_ERASE = "\r\x1b[1A\x1b[2K"  # the line above

TEXT = """\
name: small
saps:
  lan: {kind: host, ip: 10.0.0.1/24}
  vm: {kind: tap}
vnfs:
  fw: {type: firewall}
chains:
  wire: {path: [lan, fw, vm]}
"""


def line(symbol: Symbol, name: str, **values: str) -> Line:
    kind, type_ = values.get("kind", "sap"), values.get("type", "host")
    reason, mode = values.get("reason", ""), values.get("mode", "")
    return Line(symbol, kind, name, type_, reason, mode, Position("t.yaml", 3, 5))


PLAN = Plan(
    "branch",
    (
        line(Symbol.ADD, "lan"),
        line(Symbol.CHANGE, "fw", kind="vnf", type="firewall", reason="rules", mode="live"),
        line(Symbol.REMOVE, "guest"),
    ),
    (Step("do it", lambda: None),),
)


@pytest.fixture
def applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A topology recorded as applied, of which nothing runs."""
    monkeypatch.setattr(state, "RUN", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = State("small", "small.yaml", TEXT, {"lan": 1, "vm": 2})
    state.store(found)
    return found


def terminal(stream: TextIO, monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> None:
    """Let a stream pass for a terminal of so many columns."""
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in ("NO_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


# Plans --------------------------------------------------------------------------------------------


def test_a_plan_has_a_line_for_each_part_and_a_count(capsys: pytest.CaptureFixture[str]) -> None:
    changes.show(PLAN, changes.pending(PLAN), "table")
    assert capsys.readouterr().out == (
        "  +  sap  lan (host)     t.yaml:3\n"
        "  ~  vnf  fw (firewall)  t.yaml:3  live  rules\n"
        "  -  sap  guest (host)   t.yaml:3\n"
        "Plan: 1 to add, 1 to change, 1 to remove.\n"
    )


def test_replacements_are_counted_where_there_are_any() -> None:
    plan = Plan("branch", (line(Symbol.REPLACE, "lan"),), PLAN.steps)
    assert changes.pending(plan) == "Plan: 0 to add, 0 to change, 1 to replace, 0 to remove."
    assert changes.done(plan) == "Applied branch: 0 added, 0 changed, 1 replaced, 0 removed."


def test_an_empty_plan_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan("branch")
    changes.show(plan, changes.pending(plan), "table")
    assert capsys.readouterr().out == "No changes.\n"


def test_a_plan_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    changes.show(PLAN, "", "json")
    data = json.loads(capsys.readouterr().out)
    assert data["topology"] == "branch"
    assert data["summary"] == {"add": 1, "change": 1, "replace": 0, "remove": 1}
    assert data["changes"][1] == {
        "action": "change",
        "kind": "vnf",
        "name": "fw",
        "type": "firewall",
        "reason": "rules",
        "mode": "live",
        "file": "t.yaml",
        "line": 3,
    }


@pytest.mark.parametrize(
    ("options", "plan", "code"),
    [
        ([], PLAN, 0),
        (["--detailed-exitcode"], PLAN, 2),
        (["--detailed-exitcode"], Plan("small"), 0),
    ],
)
def test_only_the_detailed_exit_code_tells_of_changes(
    options: list[str],
    plan: Plan,
    code: int,
    applied: State,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nfv.dataplane.change.engine.plan", lambda topology: plan)
    assert main(["plan", applied.name, *options]) == code


# Tables and documents -----------------------------------------------------------------------------


def test_columns_are_as_wide_as_they_need_whatever_their_colour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal(sys.stdout, monkeypatch)
    rows = [("lan", output.state("up"), "", "1"), ("guest", "no carrier", "", "20")]
    assert output.table(("SAP", "STATE", "X", "N"), rows, right=("N",)).splitlines() == [
        "\x1b[1mSAP\x1b[0m    \x1b[1mSTATE\x1b[0m       \x1b[1mX\x1b[0m   \x1b[1mN\x1b[0m",
        "lan    \x1b[32mup\x1b[0m              1",
        "guest  no carrier     20",
    ]


@pytest.mark.parametrize("columns", [None, 40])
def test_what_is_too_wide_is_folded(columns: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if columns:
        terminal(sys.stdout, monkeypatch, columns)
    path, words = "/a[b]" * 30, "drops :x: " * 12
    lines = output.columns([(path, words, "1,234")], right=[2]).splitlines()
    assert max(map(len, lines)) <= (columns or 100)
    assert lines[0].endswith(" 1,234")
    folded = "".join(lines)
    for character in "/a[b]drops:x":
        assert folded.count(character) == (path + words).count(character)


def test_numbers_are_not_broken() -> None:
    header = [f"NUMBER {place}" for place in range(8)]
    text = output.table([*header, "WHY"], [["1,234,567"] * 8 + ["words " * 9]], right=header)
    assert text.count("1,234,567") == 8
    assert max(map(len, text.splitlines())) <= 100


def test_a_table_without_rows_is_nothing() -> None:
    assert output.table(("SAP", "STATE"), []) == ""


@pytest.mark.parametrize(
    ("text", "width", "cut"), [("rule", 4, "rule"), ("rules", 4, "rul…"), ("", 4, "")]
)
def test_text_is_cut_to_a_width(text: str, width: int, cut: str) -> None:
    assert output.shortened(text, width) == cut


def test_items_of_a_stream_can_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        output.item({"a": [1, "ü"]}, "json")
    assert capsys.readouterr().out == '{"a": [1, "ü"]}\n' * 2
    for _ in range(2):
        output.item({"a": [1, "ü"]}, "yaml")
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == [{"a": [1, "ü"]}] * 2


@pytest.mark.parametrize(("setting", "coloured"), [("", None), ("1", False)])
def test_no_color_is_honoured(
    setting: str, coloured: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", setting)
    assert output.colour() is coloured


# Progress -----------------------------------------------------------------------------------------


def test_elsewhere_than_on_a_terminal_some_steps_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(quiet=False) as progress:
        for number in range(1, 101):
            progress(f"step {number}", number, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/100] step 1"
    assert lines[-1] == "[100/100] step 100"
    assert len(lines) == 11


def test_on_a_terminal_a_bar_goes_when_all_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(sys.stderr, monkeypatch)
    threads = threading.active_count()
    with Progress(quiet=False) as progress:
        progress("[half]", 1, 2)
        progress("a title that is far too long for the line of a terminal " * 9, 2, 2)
        assert threading.active_count() == threads
    out, err = capsys.readouterr()
    assert (out, err[-len(_ERASE) :]) == ("", _ERASE)
    frames = [frame.strip() for frame in click.unstyle(err).split("\r")]
    assert f"{'━' * 12}╺{'━' * 11} 1/2 [half]" in frames
    assert any(frame.startswith(f"{'━' * 24} 2/2 a title") for frame in frames)
    assert max(map(len, frames)) <= 80


def test_a_terminal_without_control_codes_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(sys.stderr, monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with Progress(quiet=False) as progress:
        progress("half", 1, 2)
    assert capsys.readouterr().err == "[1/2] half\n"


def test_a_count_without_end_is_told_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(quiet=False) as progress:
        progress.count("packets", 256)
        assert capsys.readouterr().err == ""
    terminal(sys.stderr, monkeypatch)
    with Progress(quiet=False) as progress:
        progress.count("packets", 256)
    assert "256/256 packets" in click.unstyle(capsys.readouterr().err)


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet=True) as progress:
        progress("step", 1, 1)
        progress.waiting("process 1")
    assert capsys.readouterr() == ("", "")


# Statistics ---------------------------------------------------------------------------------------


def statistics(moment: float, packets: int) -> Statistics:
    """As if so many packets had gone through the firewall of `small`."""
    count = Count(packets, packets * 100)
    nothing = Count()
    ports = {
        "lan": PortCounts("lan", {"forwarded": count, "malformed": Count(1, 14)}, nothing),
        "vm": PortCounts("vm", {}, count),
    }
    rules = {"default": Rule("default", Position("small.yaml", 6, 3))}
    vnfs = {"fw": VnfCounts("fw", {}, rules, {"default": count})}
    return Statistics(loads(TEXT), moment, ports, vnfs)


def test_what_was_counted_between_two_moments() -> None:
    counted = statistics(12.5, 70).since(statistics(10.0, 50))
    assert counted.moment == 2.5
    assert counted.ports["lan"].received == {"forwarded": Count(20, 2000)}
    assert counted.ports["lan"].entered == Count(20, 2000)
    assert counted.ports["vm"].sent == Count(20, 2000)
    assert counted.vnfs["fw"].matched == {"default": Count(20, 2000)}


def test_a_counter_that_began_anew_counts_from_zero() -> None:
    assert Count(3, 300).since(Count(5, 500)) == Count(3, 300)


def test_what_was_not_there_before_counts_as_a_whole() -> None:
    before = statistics(1.0, 50)
    counted = statistics(2.0, 70).since(Statistics(before.topology, 1.0, {}, {}))
    assert counted.ports["vm"].sent == Count(70, 7000)
    assert counted.vnfs["fw"].matched == {"default": Count(70, 7000)}


# Completion ---------------------------------------------------------------------------------------


def completions(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What bash would offer for the last word of a command line."""
    monkeypatch.setenv("_NFVCTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit):
        main([])
    lines = capsys.readouterr().out.splitlines()
    return [line.removeprefix("plain,") for line in lines if line]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("nfvctl val", ["validate"]),
        ("nfvctl apply ", ["small", "a.yaml", "sub/b.yml"]),
        ("nfvctl apply su", ["sub/b.yml"]),
        ("nfvctl destroy ", ["small"]),
        ("nfvctl destroy a", ["a.yaml"]),
        ("nfvctl stats small ", ["lan", "vm", "fw"]),
        ("nfvctl exec small ", ["lan"]),
        ("nfvctl exec absent ", []),
        ("nfvctl plan --det", ["--detailed-exitcode"]),
        ("nfvctl ls --format ", ["table", "json", "yaml"]),
    ],
)
def test_completion(
    words: str,
    offered: list[str],
    applied: State,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").touch()
    (tmp_path / "a.txt").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yml").touch()
    assert completions(words, monkeypatch, capsys) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_NFVCTL_COMPLETE={shell}_complete" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, check=True, text=True)
