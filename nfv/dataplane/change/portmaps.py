"""Where the numbers of ports lead: to devices, by a table for each hook."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from nfv.chain.path import Attachment
from nfv.dataplane import paths
from nfv.dataplane.change import proglink
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.plan import Change, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.rtnl import Link
from nfv.dataplane.wiring import Port

_XDP, _TC = "ports", "devices"

Values = Mapping[str, bytes | None]
"""What the tables hold for a port, by the name of each."""


class PortMaps:
    """How the tables that ports' numbers are looked up in differ from the ports."""

    def __init__(self, path: FastPath) -> None:
        self.path = path

    def changes(self, devices: Mapping[Attachment, Link]) -> Iterator[Change]:
        """Connect the ports that do not lead to their devices."""
        for place, port in self.path.wiring.ports.items():
            device = devices.get(place)
            former = {name: self._lookup(name, port.number) for name in (_XDP, _TC)}
            wanted = self.values(port, device.index) if device else None
            if former != wanted:
                yield self._connect(place, port, former)

    def values(self, port: Port, index: int) -> Values:
        """What leads to a port's outer device, which has an ifindex in its namespace."""
        found: dict[str, bytes | None] = {_XDP: None, _TC: None}
        if self._has(_XDP):
            found[_XDP] = struct.pack("=I", index)
        if self._has(_TC) and port.outer.netns == self.path.wiring.fabric:
            mac = bytes.fromhex((port.mac or "").replace(":", ""))  # struct hook_device of tc.h
            found[_TC] = struct.pack("=IH6s", index, port.inner is not None, mac)
        return found

    def forget(self, number: int) -> None:
        """Nothing leads to a device by the number any more."""
        self._write(number, {_XDP: None, _TC: None})

    def _has(self, name: str) -> bool:
        return self.path.names.root / name in self.path.plans

    def _map(self, name: str) -> Map | None:
        return self.path.maps.get(self.path.names.root / name)

    def _lookup(self, name: str, number: int) -> bytes | None:
        """What a table has for a number; an array that has nothing has zeros."""
        table = self._map(name)
        found = table.lookup(struct.pack("=I", number)) if table else None
        return found if found and any(found) else None

    def _write(self, number: int, values: Values) -> None:
        key = struct.pack("=I", number)
        for name, value in values.items():
            table = self._map(name)
            if table is None:
                continue
            if value is not None:
                table.update(key, value)
            elif name == _XDP:
                table.delete(key)
            else:
                table.update(key, bytes(table.value_size))

    def _connect(self, place: Attachment, port: Port, former: Values) -> Change:
        known = self.path.before is not None and str(place) in self.path.before.ports

        def do() -> None:
            if not known:  # the number may have been another port's
                root = self.path.names.root
                counted = paths.read(root).sent[port.number]
                self.path.maps[root / "sent"][port.number] = paths.deduct(counted)
            with netns.entered(port.outer.netns):  # where the kernel looks the index up
                self._write(port.number, self.values(port, proglink.ifindex(port.outer)))

        def undo() -> None:
            with netns.entered(self._former_netns(place, port)):
                self._write(port.number, former)

        lost = known and not any(former.values())
        return Change(
            self.path.element(place),
            Symbol.CHANGE if known else Symbol.ADD,
            f"port {place} leads nowhere" if lost else "",
            steps=[(Phase.PROGRAM, Step(f"connect port {place}", do, undo))],
        )

    def _former_netns(self, place: Attachment, port: Port) -> str | None:
        """Where the device of a port was, which its ifindex counts in."""
        former = self.path.old_wiring.ports.get(place) if self.path.old_wiring else None
        return (former or port).outer.netns
