"""How the ways of traced packets are printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfv.cli import output

if TYPE_CHECKING:
    from nfv.dataplane.observe.explanation import Explanation, Outcome, Step

_KINDS = {
    "forwarded": "forwarded out of {egress}",
    "dropped": "dropped by {node}: {words}",
    "kernel": "handed to Linux of {node}: {words}",
    "service": "handed to the service of {node}",
    "rejected": "rejected by {node}: {words}",
    "answered": "answered by {node}",
    "flooded": "flooded by {node}",
    "lost": "not known: notes were lost",
}
_TO_KERNEL = "to the kernel: "


def show(explanation: Explanation) -> None:
    """Print the way of a packet for people."""
    click.echo(output.columns([[explanation.packet]]))
    rows = [row for at, step in enumerate(explanation.steps, 1) for row in _rows(at, step)]
    click.echo(output.columns(rows))
    click.secho(_words(explanation.outcome), fg=_colour(explanation.outcome))


def plain(explanation: Explanation) -> dict[str, object]:
    """The way of a packet as plain data."""
    outcome = explanation.outcome
    return {
        "example": explanation.packet,
        "steps": [_plain_step(step) for step in explanation.steps],
        "outcome": {
            "verdict": outcome.kind,
            "at": outcome.node,
            "reason": outcome.reason,
            "egress": outcome.egress,
        },
    }


def _rows(number: int, step: Step) -> Iterator[tuple[str, ...]]:
    """A step, and below it what the packet's fields have become."""
    chain = f"chain {step.chain}, {step.direction}" if step.chain else ""
    yield (
        f"{number:3}",
        step.node,
        step.verdict,
        step.because or _reason(step.reason) or chain,
        f"{Path(step.position.file).name}:{step.position.line}" if step.position else "",
    )
    for change in step.changes:
        yield "", "", change.field, f"{change.before} -> {change.after}", ""


def _reason(name: str | None) -> str:
    from nfv.ebpf.sources import reasons

    words = dict(reasons().values())
    return words[name].removeprefix(_TO_KERNEL) if name not in (None, "forwarded") else ""


def _words(outcome: Outcome) -> str:
    text = _KINDS[outcome.kind].format(
        node=outcome.node, egress=outcome.egress, words=_reason(outcome.reason)
    )
    if outcome.kind in ("rejected", "answered") and outcome.egress:
        text += f"; the answer leaves by {outcome.egress}"
    return text


def _colour(outcome: Outcome) -> str:
    return {"forwarded": "green", "dropped": "red", "rejected": "red"}.get(outcome.kind, "yellow")


def _plain_step(step: Step) -> dict[str, object]:
    return {
        "at": step.node,
        "verdict": step.verdict,
        "reason": step.reason,
        "because": step.because,
        "written_in": step.position and f"{step.position.file}:{step.position.line}",
        "chain": step.chain,
        "direction": step.direction,
        "changes": [
            {"field": change.field, "before": change.before, "after": change.after}
            for change in step.changes
        ],
    }
