"""How the fast path of a topology differs from what it needs: all of its parts, in their order."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nfv.chain.path import Attachment
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.mapchanges import MapChanges
from nfv.dataplane.change.mapstore import ASIDE, LINK
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol, element_named
from nfv.dataplane.change.portleads import PortLeads
from nfv.dataplane.change.portmaps import PortMaps
from nfv.dataplane.change.programs import Programs
from nfv.dataplane.change.tablechanges import TableChanges
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel.rtnl import Link


def changes(path: FastPath, devices: Mapping[Attachment, Link]) -> Iterator[Change]:
    """Everything about maps, their content and programs that is not as declared.

    `devices` are those of the ports that are there and stay.
    """
    yield from MapChanges(path).changes()
    yield from TableChanges(path).changes()
    yield from PortMaps(path).changes(devices)
    yield from PortLeads(path).changes(devices)
    yield from Programs(path).changes(devices)
    yield from _surplus(path)


def remove_replaced(root: Path) -> None:
    """Unpin the maps and links that others have taken the place of."""
    _unlink(root.rglob(f"*{ASIDE}"))


def _surplus(path: FastPath) -> Iterator[Change]:
    """Pins of ports and functions that are gone."""
    wanted = {path.names.port(place) for place in path.wiring.ports}
    wanted |= {pin.parent for pin in path.plans}
    for kind in ("port", "vnf"):
        parent = path.names.root / kind
        found = sorted(parent.iterdir()) if parent.is_dir() else []
        for directory in found:
            if directory not in wanted:
                yield _remove(path, kind, directory)
    stale = [
        pin
        for directory in [path.names.root, *wanted]
        for pin in directory.glob("*")
        if pin.is_file() and pin not in path.plans and not _is_kept(pin)
    ]
    if stale:
        step = Step("free unused maps", lambda: _unlink(stale))
        element = Element("topology", path.topology.name)
        yield Change(element, Symbol.CHANGE, steps=[(Phase.PURGE, step)])


def _remove(path: FastPath, kind: str, directory: Path) -> Change:
    def do() -> None:
        number = path.before.ports.get(directory.name) if path.before else None
        if kind == "port" and number is not None:
            Programs(path).forget_port(number)
            PortMaps(path).forget(number)
        shutil.rmtree(directory)

    name = directory.name.partition(":")[0]
    element = element_named(name, path.topology, path.former)
    here = name in path.topology.saps or name in path.topology.vnfs
    unknown = element.kind == "topology"
    return Change(
        element,
        Symbol.CHANGE if here or unknown else Symbol.REMOVE,
        f"{directory.name} removed" if here else "",
        steps=[(Phase.PURGE, Step(f"forget {kind} {directory.name}", do))],
    )


def _unlink(pins: Iterable[Path]) -> None:
    for pin in pins:
        with contextlib.suppress(FileNotFoundError):
            pin.unlink()


def _is_kept(pin: Path) -> bool:
    """Whether a pin is no map, or has another's place taken for a while."""
    return pin.name == LINK or pin.name.endswith(ASIDE)
