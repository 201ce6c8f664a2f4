"""What BIRD says of its protocols: advertisements on an interface, sessions with neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

COMMAND = "show protocols"

_SHOWN = {"RAdv": "advertise", "BGP": "bgp", "OSPF": "ospf"}
"""Those that somebody declared; the others carry routes inside BIRD."""

_COLUMNS = 6


@dataclass(frozen=True)
class Session:
    """One protocol. `state` is BIRD's word, "up" being the one that is right."""

    name: str
    protocol: str  # the key that declares it
    state: str
    since: str  # time of day, or date of what is older
    info: str


def parse(lines: Iterable[str]) -> Iterator[Session]:
    """The protocols in the answer to COMMAND."""
    for line in lines:
        cells = line.split(maxsplit=_COLUMNS - 1)
        if len(cells) >= _COLUMNS - 1 and cells[1] in _SHOWN:
            name, kind, _table, state, since, *info = cells
            yield Session(name, _SHOWN[kind], state, since, "".join(info).strip())
