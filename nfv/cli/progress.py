"""How far a series of steps has come, on standard error."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from nfv.closing import Closing

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_WIDTH = 24
_LINES = 10  # about as many for a series, where there is no terminal


class Progress(Closing):
    """Called at each step with its title, its number and how many there are.

    On a terminal a bar, gone when the `with` block ends; elsewhere a line for every few steps; if
    quiet, nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar: Bar | None = None

    def close(self) -> None:
        self.clear()

    def __call__(self, title: str, number: int, total: int) -> None:
        if self._quiet:
            return
        if self._terminal:
            self._draw(title, number, total)
        elif number in (1, total) or number % -(-total // _LINES) == 0:
            click.echo(f"[{number}/{total}] {title}", err=True)

    def waiting(self, holder: str) -> None:
        """Say that another process holds the topology."""
        if not self._quiet:
            self.clear()
            click.echo(f"waiting for {holder}, which is changing this topology", err=True)

    def _draw(self, title: str, number: int, total: int) -> None:
        if self._bar is None:
            self._bar = _bar()
            self._bar.add_task(title, completed=number, total=total)
            self._bar.start()
            self._bar.console.show_cursor()  # if killed, it must not stay hidden
        (task,) = self._bar.task_ids
        self._bar.update(task, description=title, completed=number, total=total, refresh=True)

    def clear(self) -> None:
        """Take the bar away, where something else is to be printed."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar() -> Bar:
    """A bar that goes without trace, and has no thread, as processes are forked meanwhile."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    return Progress(
        BarColumn(
            _WIDTH,
            complete_style="cyan",
            finished_style="cyan",
            table_column=Column(min_width=_WIDTH, no_wrap=True),
        ),
        TextColumn("{task.completed}/{task.total} {task.description}", markup=False),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
