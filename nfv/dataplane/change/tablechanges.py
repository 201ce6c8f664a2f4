"""What maps hold of the configuration: rules of functions, classifiers of entries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nfv.chain.graph import entries
from nfv.chain.hook import Slot
from nfv.chain.path import Attachment
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.mapstore import FunctionMaps
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.ebpf import tables
from nfv.ebpf.compose import Unit, classifier_patterns


class TableChanges:
    """How the configuration of a fast path differs from what its tables were filled with."""

    def __init__(self, path: FastPath) -> None:
        self.path = path

    def changes(self) -> Iterator[Change]:
        """Fill the tables whose configuration has changed, or that are new."""
        for name, function in self.path.topology.vnfs.items():
            directory = self.path.names.vnf(name)
            if not any(pin.parent == directory for pin in self.path.plans):
                continue
            former = self.path.former.vnfs.get(name) if self.path.former else None
            whole = self._has_tables(directory)
            if whole and former == function and not self.path.unsure:
                continue
            differs = former is not None and former != function
            yield Change(
                Element("vnf", name),
                Symbol.CHANGE if former else Symbol.ADD,
                _difference(former, function) if differs else "",
                steps=[(Phase.TABLE, self._fill(name, former if whole else None))],
            )
        for place, port in self.path.wiring.ports.items():
            yield from self._classifier_change(place, self.path.units[Slot(place, port.hook)])

    def _has_tables(self, directory: Path) -> bool:
        """Whether the maps that an instance's configuration is written to are there."""
        tables_ = [pin for pin, plan in self.path.plans.items() if not plan.keep]
        return all(pin in self.path.maps for pin in tables_ if pin.parent == directory)

    def _fill(self, name: str, former: Any) -> Step:
        directory = self.path.names.vnf(name)
        before = dict(self.path.before.counters.get(name, {})) if self.path.before else {}
        function, counters = self.path.topology.vnfs[name], self.path.counters.get(name, {})
        number = self.path.numbers[name]

        def do() -> None:
            function.fill(self._function_maps(directory, number), counters, before)
            self.path.forget_flows()

        def undo() -> None:
            former.fill(self._function_maps(directory, number), before, counters)
            self.path.forget_flows()

        return Step(f"fill tables of {name}", do, undo if former else None)

    def _function_maps(self, directory: Path, number: int = 0) -> FunctionMaps:
        return FunctionMaps(directory, self.path.maps, self.path.plans, number)

    def _classifier_change(self, place: Attachment, unit: Unit) -> Iterator[Change]:
        if "c0" not in unit.instances:
            return
        patterns = classifier_patterns(unit.walks)
        directory = self.path.names.port(place)
        former = self._former_patterns(place)
        whole = self._has_tables(directory)
        if former == patterns and whole and not self.path.unsure:
            return

        def fill(wanted: Sequence[Any]) -> Callable[[], None]:
            def call() -> None:
                tables.publish(self._function_maps(directory).memory("matcher"), wanted)
                self.path.forget_flows()

            return call

        undo = fill(former) if former is not None and whole else None
        step = Step(f"fill classifier of {place}", fill(patterns), undo)
        symbol = Symbol.CHANGE if former is not None else Symbol.ADD
        yield Change(self.path.element(place), symbol, "classifier", steps=[(Phase.TABLE, step)])

    def _former_patterns(self, place: Attachment) -> list[Any] | None:
        if self.path.former is None:
            return None
        entry = entries(self.path.former).get(place)
        return classifier_patterns(entry.walks) if entry else None


def _difference(before: Any, after: Any) -> str:
    """Which keys of a function's configuration differ, with lengths of lists."""
    old, new = before.config, after.config
    parts = []
    for key in type(new).model_fields:
        values = getattr(old, key, None), getattr(new, key)
        if values[0] == values[1]:
            continue
        sizes = [len(value) for value in values if isinstance(value, (tuple, dict))]
        if len(set(sizes)) == 2:
            parts.append(f"{key} {sizes[0]} -> {sizes[1]}")
        elif sizes:
            parts.append(f"{key} changed")
        else:
            parts.append(f"{key} {_shown(old, key)} -> {_shown(new, key)}")
    return ", ".join(parts)


def _shown(config: Any, key: str) -> object:
    """A value as JSON has it."""
    text = config.model_dump_json(include={key}, warnings=False)
    return json.loads(text).get(key)
