"""Random topologies: routers in a tree, chains of functions between, several chains at a port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import yaml

from tests.property.generate import rules

Config = dict[str, Any]

STRANGERS = ("198.51.100.1", "203.0.113.5", "172.16.1.10", "2001:db8:ffff::1", "2001:db8:fffe::5")
"""Hosts beyond the topology."""


@dataclass
class Draft:
    """A topology as its file says it, while it grows."""

    random: Random
    saps: dict[str, Config] = field(default_factory=dict)
    vnfs: dict[str, Config] = field(default_factory=dict)
    chains: dict[str, Config] = field(default_factory=dict)
    _macs: Iterator[int] = field(default_factory=lambda: iter(range(1, 1 << 16)))
    _segments: Iterator[int] = field(default_factory=lambda: iter(range(1, 250)))

    def mac(self) -> str:
        """A MAC address of its own for every port."""
        number = next(self._macs)
        return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"

    def segment(self) -> int:
        """A number for a link; its subnets are derived from it."""
        return next(self._segments)

    def sap(self, segment: int, host: int) -> str:
        """Add a SAP with a host behind it."""
        name = f"s{len(self.saps)}"
        self.saps[name] = {"kind": "host", "ip": _ip(segment, host), "mac": self.mac()}
        return name

    def interface(self, router: str, segment: int, host: int) -> str:
        """Add an interface to a router."""
        config = self.vnfs.setdefault(router, {"type": "router", "interfaces": {}})
        name = f"i{len(config['interfaces'])}"
        config["interfaces"][name] = {"ip": _ip(segment, host), "mac": self.mac()}
        return f"{router}:{name}"

    def join(self, near: str, far: str, functions: Sequence[str], match: Config | None) -> None:
        """Add a chain, written in either direction."""
        path = [near, *functions, far]
        if self.random.random() < 0.5:
            path.reverse()
        config: Config = {"path": path}
        if match is not None:
            config["match"] = match
        self.chains[f"c{len(self.chains)}"] = config


def _ip(segment: int, host: int) -> list[str]:
    return [f"10.0.{segment}.{host}/24", f"2001:db8:{segment:x}::{host:x}/64"]


def topology(random: Random, name: str, routers: int) -> Config:
    """The content of a topology file with so many routers."""
    draft = Draft(random)
    links = list(_links(draft, routers))
    addresses = list(addresses_of(draft.saps, draft.vnfs))
    bumps = [f"f{number}" for number in range(random.randint(1, 5))]
    for near, far in links:
        _connect(draft, near, far, bumps, addresses)
    used = {name for chain in draft.chains.values() for name in chain["path"][1:-1]}
    for bump in bumps:
        if bump in used:
            draft.vnfs[bump] = _bump(random, addresses)
    return {"name": name, "saps": draft.saps, "vnfs": draft.vnfs, "chains": draft.chains}


def _bump(random: Random, addresses: Sequence[str]) -> Config:
    if random.random() < 0.8:
        return rules.firewall(random, addresses)
    inside = random.choice(("10.0.1.0/24", "10.0.0.0/16", "198.51.100.0/24"))
    outside = inside.replace("10.0", "172.16").replace("198.51", "203.0")
    return {
        "type": "snat",
        "inside": inside,
        "outside": outside,
        "ports": random.choice((0, 0x4321)),
    }


def _links(draft: Draft, routers: int) -> Iterator[tuple[str, str]]:
    """Pairs of attachments that chains shall connect."""
    if not routers:
        for _ in range(draft.random.randint(1, 2)):
            segment = draft.segment()
            yield draft.sap(segment, 10), draft.sap(segment, 11)
        return
    for number in range(routers):
        for _ in range(_saps(draft.random, number, routers)):
            segment = draft.segment()
            yield draft.sap(segment, 10), draft.interface(f"g{number}", segment, 1)
        if number:
            other, segment = draft.random.randrange(number), draft.segment()
            near = draft.interface(f"g{other}", segment, 1)
            yield near, draft.interface(f"g{number}", segment, 2)
    if draft.random.random() < 0.3:
        draft.interface("g0", draft.segment(), 1)  # in no chain


def _saps(random: Random, number: int, routers: int) -> int:
    """How many SAPs a router gets: few where there are many ports, each with programs."""
    if routers == 1:
        return random.randint(2, 3)
    return 1 if number in (0, routers - 1) else 0


def _connect(
    draft: Draft, near: str, far: str, bumps: Sequence[str], addresses: Sequence[str]
) -> None:
    """One chain, or several told apart by classifiers."""
    random = draft.random
    if random.random() < 0.25:
        for _ in range(random.randint(1, 2)):
            match = rules.conditions(random, addresses)
            draft.join(near, far, _some(random, bumps), match)
        if random.random() < 0.3:
            return
    draft.join(near, far, _some(random, bumps), None)


def _some(random: Random, bumps: Sequence[str]) -> list[str]:
    length = random.choice((0, 0, 1, 1, 2, 2, 3, 4, 6))
    return random.sample(bumps, min(length, len(bumps)))


def addresses_of(saps: Config, vnfs: Config) -> Iterator[str]:
    """All addresses of hosts and interfaces, and some beyond."""
    for config in saps.values():
        yield from (text.partition("/")[0] for text in config["ip"])
    for config in vnfs.values():
        if "ip" in config:
            yield config["ip"].partition("/")[0]
        for interface in config.get("interfaces", {}).values():
            yield from (text.partition("/")[0] for text in interface["ip"])
    yield from STRANGERS


def text_of(spec: Mapping[str, Any]) -> str:
    """The topology file."""
    text: str = yaml.safe_dump(dict(spec), sort_keys=False, default_flow_style=None, width=100)
    return text
