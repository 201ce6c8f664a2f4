"""Maps that are missing or of the wrong size: made, and filled with what they keep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.mapstore import (
    Carried,
    MapPlan,
    aside,
    carry,
    carry_rest,
    matches,
    open_map,
    unpin,
)
from nfv.dataplane.change.plan import Change, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel.bpf import Map


class MapChanges:
    """How the maps of a fast path differ from those that it needs."""

    def __init__(self, path: FastPath) -> None:
        self.path = path
        self._carried: dict[Path, Carried] = {}

    def changes(self) -> Iterator[Change]:
        """Open the maps that fit, and make the others."""
        found = {pin: open_map(pin) for pin in self.path.plans}
        unfit = {
            pin: _misfit(there, self.path.plans[pin])
            for pin, there in found.items()
            if there is None or not matches(there, self.path.plans[pin])
        }
        # The tables of one instance refer to each other: all are replaced, or none.
        torn = {pin.parent for pin in unfit if not self.path.plans[pin].keep}
        names = self.path.names
        torn |= {names.vnf(name) for name in self.path.topology.vnfs if self._is_reordered(name)}
        for pin, plan in self.path.plans.items():
            there = found[pin]
            if pin not in unfit and (plan.keep or pin.parent not in torn):
                assert there is not None
                self.path.maps[pin] = there
                continue
            if there is not None:
                self.path.replaced[pin] = there
            element = self.path.element_of(pin)
            steps = [(Phase.MAP, self._make_map(plan))]
            if plan.keep and there is not None:
                steps.append((Phase.SETTLE, self._carry_rest(plan)))
            symbol = Symbol.CHANGE if self.path.is_known(element) else Symbol.ADD
            reason = unfit.get(pin, "") if symbol is Symbol.CHANGE else ""
            yield Change(element, symbol, reason, steps=steps)

    def _is_reordered(self, name: str) -> bool:
        """Whether interfaces have other ordinals, by which programs and tables know them."""
        former = self.path.former.vnfs.get(name) if self.path.former else None
        interfaces = list(self.path.topology.vnfs[name].interfaces)
        return former is not None and list(former.interfaces) != interfaces

    def _make_map(self, plan: MapPlan) -> Step:
        pin, old_pin = plan.pin, aside(plan.pin)

        def do() -> None:
            pin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = plan.create()
            old = self.path.replaced.get(pin)
            if old is not None:
                if plan.keep:
                    self._carried[pin] = carry(old, fresh)
                os.replace(pin, old_pin)
            fresh.pin(pin)
            self.path.maps[pin] = fresh

        def undo() -> None:
            fresh = self.path.maps.pop(pin)
            old = self.path.replaced.get(pin)
            if old is None:
                unpin(pin)
            else:
                os.replace(old_pin, pin)
                if plan.keep:
                    carry_rest(fresh, old, {})
            fresh.close()

        return Step(f"make map {pin.parent.name} {pin.name}", do, undo)

    def _carry_rest(self, plan: MapPlan) -> Step:
        def do() -> None:
            pin = plan.pin
            carry_rest(self.path.replaced[pin], self.path.maps[pin], self._carried[pin])

        return Step(f"carry {plan.pin.parent.name} {plan.pin.name} over", do)


def _misfit(found: Map | None, plan: MapPlan) -> str:
    """Why another map must be made."""
    name = plan.pin.name
    return f"map {name} is gone" if found is None else f"map {name} is replaced"
