"""How far a series of steps has come, on standard error."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType

import click

_BAR = 24
_LINES = 10  # about as many for a series, where there is no terminal


class Progress:
    """Called at each step with its title, its number and how many there are.

    On a terminal a bar, gone when the `with` block ends; elsewhere a line for every few steps; if
    quiet, nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

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
            self._clear()
            click.echo(f"waiting for {holder}, which is changing this topology", err=True)

    def _draw(self, title: str, number: int, total: int) -> None:
        full = _BAR * number // max(total, 1)
        text = f"{'━' * full}{' ' * (_BAR - full)} {number}/{total} {title}"
        width = shutil.get_terminal_size().columns - 1
        click.echo(f"\r\033[K{text[:width]}", nl=False, err=True)
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            click.echo("\r\033[K", nl=False, err=True)
            self._drawn = False
