"""A topology as a function may look at it while it is still being checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nfv.chain.fields import InterfaceAddress
from nfv.chain.path import Attachment
from nfv.chain.sap import Sap


class Place(Protocol):
    """Where a chain may end at a function: an interface of a router, or a port of a switch."""

    @property
    def ip(self) -> tuple[InterfaceAddress, ...]: ...

    @property
    def mac(self) -> str | None: ...

    @property
    def mtu(self) -> int: ...


class Neighbour(Protocol):
    """Another function (nfv.functions.base.Function), as far as it is looked at from outside."""

    @property
    def name(self) -> str: ...

    @property
    def interfaces(self) -> Mapping[str, Place]: ...

    @property
    def floods(self) -> bool: ...

    @property
    def filters(self) -> bool: ...


@dataclass(frozen=True)
class Surroundings:
    """Its parts by name, as far as they could be read; None: declared, but with errors."""

    saps: Mapping[str, Sap | None]
    vnfs: Mapping[str, Neighbour | None]
    paths: Mapping[str, Sequence[str]]  # of the chains, as they are written

    def addresses(self, end: str) -> tuple[InterfaceAddress, ...]:
        """The declared addresses of an end of a path."""
        place = Attachment.parse(end)
        sap, vnf = self.saps.get(place.node), self.vnfs.get(place.node)
        if sap:
            return sap.addresses
        found = vnf.interfaces.get(place.interface or "") if vnf else None
        return found.ip if found else ()

    def segment(self, end: str) -> Mapping[str, Sequence[str]]:
        """Chains, and their paths, that lead to an end of one, also over switches without VLANs."""
        rest = {name: path for name, path in self.paths.items() if len(path) > 1}
        joined, found = {self.joint(end)}, {}
        while near := [name for name, path in rest.items() if joined & self._joints(path)]:
            for name in near:
                found[name] = rest.pop(name)
                joined |= {joint for joint in self._joints(found[name]) if joint in self.vnfs}
        return found

    def joint(self, end: str) -> str:
        """An end of a path; of a switch without VLANs the function, which joins all its ports."""
        vnf = self.vnfs.get(Attachment.parse(end).node)
        return vnf.name if vnf and vnf.floods and not vnf.filters else end

    def _joints(self, path: Sequence[str]) -> set[str]:
        return {self.joint(end) for end in (path[0], path[-1])}
