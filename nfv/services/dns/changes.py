"""What distinguishes two versions of a zone, and how one becomes the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dns.rdataclass
import dns.rdatatype
import dns.transaction
from dns.name import Name
from dns.rdata import Rdata
from dns.rdataclass import RdataClass
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType

from nfv.services.dns.message import Records
from nfv.services.dns.zone import Zone, add_ancestors

_EMPTY: dict[RdataType, Rdataset] = {}


@dataclass(frozen=True)
class Change:
    """From one version of a zone to another: their SOA records, and what else differs."""

    before: Rdataset
    after: Rdataset
    removed: tuple[Records, ...]
    added: tuple[Records, ...]

    @property
    def begins(self) -> int:
        """Serial number of the version that it begins with."""
        return int(self.before[0].serial)

    @property
    def ends(self) -> int:
        """Serial number of the version that it leads to."""
        return int(self.after[0].serial)

    @property
    def size(self) -> int:
        """How many records it has."""
        return 2 + sum(len(found) for _, found in (*self.removed, *self.added))


def difference(before: Zone, after: Zone) -> Change:
    """What leads from one version to another."""
    removed: list[Records] = []
    added: list[Records] = []
    for name, node in before.nodes.items():
        now = after.nodes.get(name, _EMPTY)
        if now is not node:
            removed += _without(name, node, now)
            added += _without(name, now, node)
    for name, node in after.nodes.items():
        if name not in before.nodes:
            added += _without(name, node, _EMPTY)
    return Change(before.soa, after.soa, tuple(removed), tuple(added))


def _without(name: Name, node: Any, other: Any) -> Iterator[Records]:
    """The records of a name that another version of it has not; but for SOA records."""
    for rdtype, found in node.items():
        there = other.get(rdtype)
        if rdtype == RdataType.SOA or found is there:
            continue
        if there is None or there.ttl != found.ttl:
            yield name, found
        elif rest := [rdata for rdata in found if rdata not in there]:
            yield name, _set(rdtype, rest, found.ttl)


def _set(rdtype: RdataType, found: list[Rdata], ttl: int) -> Rdataset:
    made = Rdataset(RdataClass.IN, rdtype)
    for rdata in found:
        made.add(rdata, ttl)
    return made


def changed(zone: Zone, change: Change) -> Zone:
    """The version that a change leads to."""
    drafts = Drafts(zone.origin, zone)
    with drafts.writer() as draft:
        for name, found in change.removed:
            draft.delete(name, found)
        for name, found in change.added:
            draft.add(name, found)
        draft.replace(zone.origin, change.after)
    assert drafts.zone is not None
    return drafts.zone


class Drafts(dns.transaction.TransactionManager):
    """A zone as the library edits it: `zone` is another one after each draft that is committed."""

    def __init__(
        self,
        origin: Name,
        zone: Zone | None,
        check: Callable[[Name, Rdataset], None] | None = None,
    ) -> None:
        """`check` raises for a record set that is not to be in the zone."""
        self.origin = origin
        self.zone = zone
        self._check = check

    def writer(self, replacement: bool = False) -> Draft:
        draft = Draft(self, Zone(self.origin, ()) if replacement or not self.zone else self.zone)
        check = self._check
        if check is not None:
            draft.check_put_rdataset(lambda _, name, found: check(name, found))
        return draft

    def origin_information(self) -> tuple[Name, bool, Name]:
        return self.origin, False, self.origin

    def get_class(self) -> RdataClass:
        return RdataClass.IN


class Draft(dns.transaction.Transaction):
    """The next version of a zone; what it shares with the former is not copied."""

    manager: Drafts

    def __init__(self, manager: Drafts, zone: Zone) -> None:
        super().__init__(manager)
        self._nodes = dict(zone.nodes)
        self._touched: set[Name] = set()

    def sets(self, name: Name) -> dict[RdataType, Rdataset]:
        """The record sets of a name by type."""
        return dict(self._nodes.get(name, _EMPTY))

    def _get_rdataset(self, name: Name, rdtype: RdataType, covers: RdataType) -> Rdataset | None:
        return self._nodes.get(name, _EMPTY).get(rdtype)

    def _put_rdataset(self, name: Name, rdataset: Rdataset) -> None:
        kept = Rdataset(rdataset.rdclass, rdataset.rdtype)
        kept.update(rdataset)
        kept.ttl = rdataset.ttl
        self._nodes[name] = {**self._nodes.get(name, _EMPTY), rdataset.rdtype: kept}
        self._touched.add(name)

    def _delete_name(self, name: Name) -> None:
        if self._nodes.get(name):
            self._nodes[name] = {}
            self._touched.add(name)

    def _delete_rdataset(self, name: Name, rdtype: RdataType, covers: RdataType) -> None:
        node = dict(self._nodes.get(name, _EMPTY))
        if node.pop(rdtype, None) is not None:
            self._nodes[name] = node
            self._touched.add(name)

    def _name_exists(self, name: Name) -> bool:
        return bool(self._nodes.get(name))

    def _changed(self) -> bool:
        return bool(self._touched)

    def _end_transaction(self, commit: bool) -> None:
        if not commit or not self._touched:
            return
        origin = self.manager.origin
        if any(not self._nodes[name] for name in self._touched):
            self._nodes = {name: node for name, node in self._nodes.items() if node}
            self._nodes.setdefault(origin, {})
            added = list(self._nodes)
        else:
            added = list(self._touched)
        for name in added:
            add_ancestors(self._nodes, name, origin)
        self.manager.zone = Zone.of(origin, self._nodes)

    def _set_origin(self, origin: Name) -> None:
        """It is the manager's."""

    def _iterate_rdatasets(self) -> Iterator[Records]:
        for name, node in self._nodes.items():
            for found in node.values():
                yield name, found

    def _iterate_names(self) -> Iterator[Name]:
        return iter(self._nodes)

    def _get_node(self, name: Name) -> None:
        """Nodes of the library's kind there are not."""

    def _origin_information(self) -> tuple[Name, bool, Name]:
        return self.manager.origin_information()
