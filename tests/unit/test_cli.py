"""What nfvctl says and how it ends, as far as it touches nothing."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from nfv import __version__
from nfv.chain.graph import ports
from nfv.chain.hook import hooks
from nfv.chain.topology import load
from nfv.cli import main
from nfv.dataplane.doctor import Finding, Status
from nfv.ebpf.render import render
from nfv.errors import CompileError, ExitCode, LeftoverError

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(str(path) for path in (ROOT / "topologies").glob("*.yaml"))
QUICKSTART = str(ROOT / "topologies/quickstart.yaml")

VERBS = [verb for verbs in main.VERBS.values() for verb in verbs]

WRONG = "name: wrong\nsaps:\n  lan: {kind: hots}\nchains: {}\n"


class Run:
    """What a command line printed, and the exit code it ended with."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.code = main.main(arguments)
        self.out, self.err = capsys.readouterr()


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    return str(path)


def command(verb: str) -> click.Command:
    found = main.cli.get_command(click.Context(main.cli), verb)
    assert found is not None
    return found


def examples(verb: str) -> Iterator[list[str]]:
    """The words after nfvctl in each command line that a verb's help shows."""
    help_ = command(verb).help or ""
    for line in help_.partition("Examples:")[2].splitlines():
        words = shlex.split(line.partition("    #")[0].strip("\b "), comments=False)
        if "nfvctl" in words:
            words = words[words.index("nfvctl") + 1 :]
            ends = [index for index, word in enumerate(words) if word in ("|", ">", ">>")]
            yield words[: min(ends, default=len(words))]


# Command lines ------------------------------------------------------------------------------------


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, "--version")
    assert (run.code, run.out) == (0, f"nfvctl {__version__}\n")


def test_the_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, "--help")
    listed = [line.split()[0] for line in run.out.splitlines() if line.startswith("  ")]
    assert run.code == 0
    assert [word for word in listed if word in VERBS] == VERBS


def test_no_verb_gets_the_help_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys)
    assert (run.code, run.out) == (ExitCode.BAD_INPUT, "")
    assert "Usage: nfvctl [OPTIONS] VERB ..." in run.err


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "completion"])
def test_the_examples_in_the_help_are_understood(verb: str) -> None:
    shown = list(examples(verb))
    assert shown
    for words in shown:
        assert words[0] == verb
        command(verb).make_context(verb, words[1:])  # raises what the parsing raises


@pytest.mark.parametrize("verb", VERBS)
def test_no_help_is_wider_than_a_terminal(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, verb, "--help")
    assert run.code == 0
    assert max(map(len, run.out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "message", "help_"),
    [
        (["aply"], "no verb 'aply', did you mean 'apply'?", "nfvctl --help"),
        (["apply"], "missing argument 'TOPOLOGY'", "nfvctl apply --help"),
        (["--bad"], "no such option", "nfvctl --help"),
        (["validate", "--format", "xml", "x"], "'--format'", "nfvctl validate --help"),
        (["stats", "x", "--interval", "0"], "'--interval'", "nfvctl stats --help"),
        (["destroy"], "give either TOPOLOGY or --all", "nfvctl destroy --help"),
        (["destroy", "--all", "x"], "give either TOPOLOGY or --all", "nfvctl destroy --help"),
        (["exec", "x", "lan", "--"], "missing COMMAND", "nfvctl exec --help"),
    ],
)
def test_misuse_is_bad_input(
    arguments: list[str], message: str, help_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(capsys, *arguments)
    assert (run.code, run.out) == (ExitCode.BAD_INPUT, "")
    first, hint = run.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert hint == f"hint: {help_}"


def test_help_needs_no_heavy_module_and_validate_none_of_the_kernel() -> None:
    script = (
        "import sys; from nfv.cli.main import main; main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr)"
    )

    def loaded(*arguments: str) -> set[str]:
        words = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
        return set(done.stderr.split())

    kernel = {"pyroute2", "bcc", "nfv.dataplane"}
    assert not loaded("--help") & {"pydantic", "yaml", "rich", *kernel}
    assert not loaded("validate", QUICKSTART) & {"rich", *kernel}
    assert not loaded("render", QUICKSTART) & kernel


# Failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (CompileError("no", "do that"), 1, "error: no\nhint: do that\n"),
        (CompileError("no"), 1, "error: no\n"),
        (
            LeftoverError("not all", [("tap t", "ip link delete t")]),
            4,
            "error: not all\nremaining, each with the command that clears it:\n"
            "  tap t\n    ip link delete t\n",
        ),
        (KeyboardInterrupt(), 130, "\ninterrupted\n"),
    ],
)
def test_an_error_is_told_in_its_words(
    error: BaseException,
    code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raise_from_schema(monkeypatch, error)
    run = Run(capsys, "schema")
    assert (run.code, run.out, run.err) == (code, "", shown)


def raise_from_schema(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("nfv.chain.schema.schema", fail)


def test_an_unforeseen_error_is_a_bug_and_debug_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_from_schema(monkeypatch, ZeroDivisionError("by zero"))
    monkeypatch.setattr(sys, "argv", ["nfvctl", "schema"])
    run = Run(capsys, "schema")
    assert run.code == 1
    assert "bug in nfvctl: ZeroDivisionError: by zero" in run.err
    assert "nfvctl --debug schema" in run.err
    assert "Traceback" not in run.err
    assert "Traceback" in Run(capsys, "--debug", "schema").err


def test_a_reader_that_goes_away_is_told_nothing() -> None:
    words = [sys.executable, "-c", "from nfv.cli.main import main; raise SystemExit(main())"]
    process = subprocess.Popen(
        [*words, "render", QUICKSTART], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == ExitCode.FAILED


@pytest.mark.parametrize(
    "verb", ["plan", "apply", "inspect", "stats", "exec", "destroy", "ls", "replay"]
)
def test_who_is_not_root_is_told_what_to_type(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"exec": ["x", "lan", "true"], "ls": [], "replay": ["x", "lan=y"]}
    arguments = [verb, *words.get(verb, ["x"])]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/nfvctl", *arguments])
    run = Run(capsys, *arguments)
    assert (run.code, run.out) == (ExitCode.BAD_INPUT, "")
    assert f"hint: sudo /usr/bin/nfvctl {' '.join(arguments)}\n" in run.err


@pytest.mark.parametrize("name", ["..", "a b", "UP", ""])
def test_what_cannot_be_a_name_is_never_looked_for(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("nfv.dataplane.change.engine.destroy", lambda *_: pytest.fail("destroyed"))
    assert Run(capsys, "destroy", "--", name).code == ExitCode.BAD_INPUT


# validate -----------------------------------------------------------------------------------------


def test_valid_files_are_told_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, "validate", *EXAMPLES)
    assert (run.code, run.err) == (0, "")
    assert [line.partition(":")[0] for line in run.out.splitlines()] == EXAMPLES
    assert f"{QUICKSTART}: valid: topology quickstart, 2 SAPs, 2 functions, 2 chains" in run.out


def test_one_wrong_file_does_not_hide_another(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(capsys, "validate", wrong, QUICKSTART)
    assert run.code == ExitCode.BAD_INPUT
    assert f"{wrong}:3:15: error: saps.lan.kind: unknown kind 'hots'" in run.err
    assert "did you mean 'host'?" in run.err
    assert f"{QUICKSTART}: valid" in run.out


def test_mistakes_as_data(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, "validate", "--format", "json", wrong, QUICKSTART)
    first, second = json.loads(run.out)
    assert (run.code, run.err) == (ExitCode.BAD_INPUT, "")
    assert first["valid"] is False
    assert first["problems"][0]["line"] == 3
    assert first["problems"][0]["path"] == "saps.lan.kind"
    assert second == {
        "topology": QUICKSTART,
        "name": "quickstart",
        "valid": True,
        "problems": [],
        "warnings": [],
    }


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, "validate", "absent.yaml")
    assert run.code == ExitCode.BAD_INPUT
    assert "cannot read absent.yaml: no such file" in run.err


# render, schema, doctor ---------------------------------------------------------------------------


@pytest.mark.parametrize("file", EXAMPLES)
def test_every_attachment_has_one_text_for_each_hook_it_is_needed_for(file: str) -> None:
    topology = load(file)
    texts = render(topology)
    found = [(place, unit.hook) for one in texts for place, unit in one.bindings.items()]
    assert len(set(found)) == len(found)
    assert {place for place, _ in found} == {*ports(topology)}
    assert hooks(topology).items() <= set(found)
    assert len({rendered.text for rendered in texts}) == len(texts)


def test_one_attachment_is_printed_as_it_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    texts = {str(place): one.text for one in render(load(QUICKSTART)) for place in one.bindings}
    assert Run(capsys, "render", QUICKSTART, "gw:lan").out == texts["gw:lan"]


def test_all_texts_are_printed_with_what_they_are_bound_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Run(capsys, "render", QUICKSTART).out
    for rendered in render(load(QUICKSTART)):
        assert rendered.text in out
        assert f"/* {rendered.digest}: " in out
    assert " * lan\n *   f0_ = function fw\n *   f1_ = function gw\n" in out


def test_texts_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    texts = yaml.safe_load(Run(capsys, "render", QUICKSTART, "--format", "yaml").out)
    assert [one["text"] for one in texts] == [one.text for one in render(load(QUICKSTART))]
    assert texts[0]["attachments"]["lan"]["f0_"] == "function fw"


def test_an_attachment_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, "render", QUICKSTART, "gw:lann")
    assert run.code == ExitCode.BAD_INPUT
    assert "no attachment 'gw:lann', did you mean 'gw:lan'?" in run.err


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(Run(capsys, "schema").out)["title"] == "nfv topology"


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_doctor_fails_only_for_what_failed(
    status: Status,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finding = Finding("bpffs", status, "not mounted", "mount it")
    monkeypatch.setattr("nfv.dataplane.doctor.examine", lambda: [finding])
    run = Run(capsys, "doctor")
    assert run.code == code
    assert run.out.split() == [status, "bpffs", "not", "mounted", "mount", "it"]
    run = Run(capsys, "doctor", "--format", "json")
    assert run.code == code
    assert json.loads(run.out)[0] == {
        "check": "bpffs",
        "status": status,
        "detail": "not mounted",
        "mend": "mount it",
    }
