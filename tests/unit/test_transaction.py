"""A transaction is finished or undone, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from nfv.dataplane.change.transaction import Interrupted, Step, Transaction
from nfv.errors import ExitCode, InputError, LeftoverError, NfvError

STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class World:
    """Things that steps make and unmake, in order."""

    def __init__(self) -> None:
        self.things: list[str] = []
        self.log: list[str] = []

    def step(self, name: str) -> Step:
        return Step(f"make {name}", lambda: self.make(name), lambda: self.unmake(name))

    def make(self, name: str) -> None:
        self.things.append(name)
        self.log.append(f"+{name}")

    def unmake(self, name: str) -> None:
        self.things.remove(name)
        self.log.append(f"-{name}")


@pytest.fixture
def world() -> World:
    return World()


def fail() -> None:
    raise NfvError("no")


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def run_steps(
    *steps: Step, then: Callable[[], None] | None = None, transaction: Transaction | None = None
) -> None:
    """One transaction over the steps, and what `then` does between the last and the end."""
    with transaction or Transaction() as running:
        for step in steps:
            running.run(step)
        if then:
            then()


def test_a_block_that_ends_well_is_kept(world: World) -> None:
    run_steps(*map(world.step, "abc"))
    assert world.log == ["+a", "+b", "+c"]


def test_a_failing_step_undoes_those_before_it_last_first(world: World) -> None:
    failing = Step("fail", fail, lambda: world.log.append("undone though not done"))
    with pytest.raises(NfvError, match=r"^no$"):
        run_steps(*map(world.step, "abc"), failing)
    assert world.log == ["+a", "+b", "+c", "-c", "-b", "-a"]


def test_an_error_between_steps_undoes_too(world: World) -> None:
    with pytest.raises(NfvError, match=r"^no$"):
        run_steps(world.step("a"), Step("undo nothing", lambda: None), then=fail)
    assert world.log == ["+a", "-a"]


def test_what_is_committed_stays(world: World) -> None:
    transaction = Transaction()
    commit = Step("commit", transaction.commit)
    with pytest.raises(NfvError):
        run_steps(world.step("a"), commit, world.step("b"), then=fail, transaction=transaction)
    assert world.things == ["a"]


def test_rollback_continues_past_failing_undos_and_lists_what_they_leave(world: World) -> None:
    stuck = Step("make s", lambda: None, fail, leftover=("namespace s", "ip netns del s"))
    unnamed = Step("make t", lambda: None, fail)
    with pytest.raises(LeftoverError, match=r"^no; ") as caught:
        run_steps(world.step("a"), stuck, unnamed, world.step("b"), then=fail)
    assert world.things == []
    assert caught.value.leftovers == (
        ("make t (no)", "nfvctl doctor"),
        ("namespace s (no)", "ip netns del s"),
    )
    assert isinstance(caught.value.__cause__, NfvError)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_in_a_step_lets_it_finish_and_undoes_it(world: World, number: int) -> None:
    def interrupted_step() -> None:
        world.make("a")
        send(number)()
        world.log.append("finished")

    step = Step("make a", interrupted_step, lambda: world.unmake("a"))
    with pytest.raises(Interrupted) as caught:
        run_steps(step, world.step("b"))
    assert world.log == ["+a", "finished", "-a"]
    assert caught.value.exit_code == ExitCode.INTERRUPTED


def test_a_signal_after_the_last_step_undoes_all(world: World) -> None:
    with pytest.raises(Interrupted):
        run_steps(world.step("a"), then=send(signal.SIGTERM))
    assert world.log == ["+a", "-a"]


def test_signals_do_not_cut_the_undoing_short(world: World) -> None:
    def undo() -> None:
        send(signal.SIGINT)()
        world.unmake("b")

    step = Step("make b", lambda: world.make("b"), undo)
    with pytest.raises(NfvError, match=r"^no$"):
        run_steps(world.step("a"), step, then=fail)
    assert world.log == ["+a", "+b", "-b", "-a"]


def test_former_signal_handlers_return(world: World) -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    during = []
    run_steps(world.step("a"), then=lambda: during.append(signal.getsignal(signal.SIGTERM)))
    assert during != [before[1]]
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_an_ignored_signal_stays_ignored(world: World) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run_steps(Step("hang up", send(signal.SIGHUP)), world.step("a"))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert world.things == ["a"]


def test_works_in_another_thread(world: World) -> None:
    thread = threading.Thread(target=run_steps, args=[world.step("a")])
    thread.start()
    thread.join()
    assert world.things == ["a"]


def test_progress_hears_titles_and_numbers(world: World) -> None:
    heard: list[tuple[str, int]] = []
    transaction = Transaction(lambda title, number: heard.append((title, number)))
    run_steps(*map(world.step, "ab"), transaction=transaction)
    assert heard == [("make a", 1), ("make b", 2)]


@pytest.mark.parametrize("number", range(1, 5))
def test_every_step_can_be_made_to_fail(
    world: World, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NFV_FAIL_AT_STEP", str(number))
    with pytest.raises(NfvError, match="NFV_FAIL_AT_STEP"):
        run_steps(*map(world.step, "abcd"))
    made = list("abcd"[: number - 1])
    assert world.log == [f"+{name}" for name in made] + [f"-{name}" for name in reversed(made)]


KILLED = """
from nfv.dataplane.change.transaction import Step, Transaction
with Transaction() as transaction:
    for name in "abc":
        transaction.run(Step(name, lambda: print(name, flush=True), lambda: print("undone")))
"""


def test_a_step_can_be_made_to_end_the_process() -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "NFV_KILL_AT_STEP": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout.split()) == (-signal.SIGKILL, ["a", "b"])


def test_a_fault_at_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NFV_KILL_AT_STEP", "last")
    with pytest.raises(InputError, match="NFV_KILL_AT_STEP must be the number of a step"):
        Transaction()
