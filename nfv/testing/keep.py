"""Captures of what arrived: kept beside a case that failed, or recorded as what is expected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nfv.errors import InputError
from nfv.testing.run import Arrival, Outcome
from nfv.traffic import pcap


def actual(outcome: Outcome) -> Iterator[Path]:
    """Write what arrived where it was not as expected; what an earlier run has kept is removed.

    Raises `InputError` if it cannot be written.
    """
    case = outcome.case
    for entry in case.config.expect:
        if outcome.error is None:
            case.actual(entry).unlink(missing_ok=True)
    for one in outcome.arrivals:
        path = case.actual(one.entry)
        _write(path, one)
        yield path


def record(outcome: Outcome) -> tuple[Outcome, list[Path]]:
    """Make what arrived the expected captures; what remains wrong, and the files written.

    Expectations whose fields are rewritten are left as they are: the capture is not what arrives.
    """
    recorded = [one for one in outcome.arrivals if one.entry.pcap and not one.entry.rewrite]
    paths = []
    for one in recorded:
        path = outcome.case.file(one.entry.pcap or "")
        _write(path, one)
        outcome.case.actual(one.entry).unlink(missing_ok=True)
        paths.append(path)
    saps = {one.entry.at for one in recorded}
    left = replace(
        outcome,
        problems=tuple(one for one in outcome.problems if one.sap not in saps),
        arrivals=tuple(one for one in outcome.arrivals if one.entry.at not in saps),
    )
    return left, paths


def _write(path: Path, arrival: Arrival) -> None:
    first = min((moment for moment, _ in arrival.frames), default=0)
    try:
        pcap.write(path, ((moment - first, data) for moment, data in arrival.frames))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
