"""VLANs of a trunk (IEEE 802.1Q, 802.1ad), each with a port of its own: subinterfaces of a router.

A chain leads from the trunk, a SAP or the port of a switch, to `NAME:trunk`; others lead from its
ports on, `NAME:PORT`, without tags. Where such a chain ends at an interface of a router, that is
what other routers call a subinterface; functions may stand in front of it, for one VLAN or another.

- A port says the VLAN of its frames: `vlan`, and with `outer` the one around it (QinQ).
- A port without `vlan` has the frames without a tag; one with `outer` alone those with this tag
  and no other.
- A tag that says a priority only (VLAN 0) counts as none, and is taken off.
- Frames of a VLAN that no port has are dropped (`vlan`). Where no port asks for a second tag, a
  port has the frames of its VLAN whatever follows the tag.
- Frames that go back get the tags of the port that they come from, with priority 0.
- Nothing is learned, flooded or looked at but the tags: a frame takes one lookup for each.

`nfvctl inspect TOPOLOGY NAME` lists the ports with their tags.

Packets have `mtu` bytes at every port. The trunk has 4 bytes more if a port has two tags, since
devices leave room for a single one: so has what is at the other end of its chain.

Limits, and why:

- Ports of one function do not speak with each other: that is a switch's task, or a router's.
- Tags are not looked at by functions between the SAP and the trunk: for a firewall a tag is an
  ethertype like any other.
- A frame costs a tail call, and one back two. Where it leaves is not kept in the flow cache.
- Priorities (PCP) are neither kept nor set: a router decides about a packet, not about a frame.
- At most 3,400 bytes a packet, as with switches, whose devices it shares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from nfv.chain.fields import Model, Name
from nfv.chain.report import Report
from nfv.ebpf.connections import Table
from nfv.ebpf.sources import constant
from nfv.ebpf.tables import Maps
from nfv.functions.base import MAX_PORTS, Function, FunctionConfig, LanMtu, Port, Row

TRUNK = "trunk"
"""The port that frames have tags at."""

Vlan = Annotated[int, Field(strict=True, ge=1, le=4094)]

_PROTOCOLS = {"802.1Q": 0x8100, "802.1ad": 0x88A8}  # ethertypes, in the order of their pages
_PAGE = constant("functions/vlans.c", "SELF_PAGE")
_PAGE_WORDS = 1 << constant("functions/vlans.c", "SELF_PAGE_SHIFT")
_TAG_BYTES = 4


class VlanPort(Model):
    """A port: which tags its frames have at the trunk."""

    vlan: Vlan | None = Field(None, description="VLAN of its frames; by default they have no tag")
    outer: Vlan | None = Field(None, description="VLAN of a tag around that one (QinQ)")
    protocol: Literal["802.1Q", "802.1ad"] | None = Field(
        None, description="protocol of the outermost tag; 802.1ad for outer, otherwise 802.1Q"
    )

    @cached_property
    def tags(self) -> tuple[tuple[str, int], ...]:
        """Protocol and VLAN of each tag, the outermost first."""
        found = [vlan for vlan in (self.outer, self.vlan) if vlan is not None]
        first = self.protocol or ("802.1Q" if self.outer is None else "802.1ad")
        return tuple((first if place == 0 else "802.1Q", vlan) for place, vlan in enumerate(found))

    def check(self, report: Report) -> None:
        if self.protocol and not self.tags:
            report.error(("protocol",), "frames of this port have no tag", "add vlan:", key=True)


class VlansConfig(FunctionConfig):
    """The VLANs of a trunk."""

    ports: dict[Name, VlanPort] = Field(min_length=1, description="ports by name")
    mtu: LanMtu = 1500


class Vlans(Function[VlansConfig]):
    """Sends each frame of a trunk to the port of its VLAN, and back."""

    Config = VlansConfig
    floods = True
    filters = True
    lists = True
    places_key = "ports"

    @property
    def interfaces(self) -> Mapping[str, Port]:
        ports = self.config.ports
        deepest = max(len(port.tags) for port in ports.values())
        extra = _TAG_BYTES if deepest > 1 else 0
        return {TRUNK: Port(self.config.mtu + extra)} | dict.fromkeys(ports, Port(self.config.mtu))

    @cached_property
    def _pages(self) -> dict[tuple[str, int], int]:
        """The number of the page of inner tags, by the outer one."""
        first = len(_PROTOCOLS)
        outer = dict.fromkeys(p.tags[0] for p in self.config.ports.values() if len(p.tags) > 1)
        return {tag: page for page, tag in enumerate(outer, first)}

    def _words(self) -> Mapping[int, int]:
        """What `self_pages` has, by place."""
        protocols = list(_PROTOCOLS)
        places = {tag: protocols.index(tag[0]) * _PAGE_WORDS + tag[1] for tag in self._pages}
        words = {places[tag]: _PAGE | page for tag, page in self._pages.items()}
        for number, port in enumerate(self.config.ports.values(), 1):
            words[self._place(port)] = number
        return words

    def _place(self, port: VlanPort) -> int:
        """Where `self_pages` has a port: by its last tag."""
        if not port.tags:
            return 0
        first, *rest = port.tags
        if first in self._pages:
            return self._pages[first] * _PAGE_WORDS + (rest[0][1] if rest else 0)
        return list(_PROTOCOLS).index(first[0]) * _PAGE_WORDS + first[1]

    def defines(self) -> Mapping[str, int]:
        return {
            "PORTS": len(self.interfaces),
            "PAGES": len(_PROTOCOLS) + len(self._pages),
        }

    def map_sizes(self) -> Mapping[str, int]:
        ports = len(self.interfaces)
        pages = len(_PROTOCOLS) + len(self._pages)
        return {"leads": ports, "floods": ports, "ports": ports, "pages": pages * _PAGE_WORDS}

    def fill(self, maps: Maps, counters: Mapping[str, int], before: Mapping[str, int]) -> None:
        layout = maps.layout("ports")
        whole = layout.pack() + b"".join(
            layout.pack(
                count=len(port.tags),
                tags=b"".join(
                    (_PROTOCOLS[protocol] << 16 | vlan).to_bytes(4, "little")
                    for protocol, vlan in port.tags
                ).ljust(8, b"\0"),
            )
            for port in self.config.ports.values()
        )
        maps.memory("ports")[: len(whole)] = whole
        pages = maps.memory("pages").cast("H")
        wanted = self._words()
        for place, word in enumerate(pages):
            if word != wanted.get(place, 0):
                pages[place] = wanted.get(place, 0)

    def entries(
        self, maps: Mapping[str, Table], age: Callable[[int], float], counted: Mapping[int, str]
    ) -> Iterator[Row]:
        for name, port in self.config.ports.items():
            yield {
                "port": name,
                "tags": " ".join(f"{protocol}:{vlan}" for protocol, vlan in port.tags) or None,
            }

    def check(self, report: Report) -> None:
        if len(self.interfaces) > MAX_PORTS:
            message = f"{len(self.config.ports)} ports, the most is {MAX_PORTS - 1}"
            report.error(("ports",), message, key=True)
        seen: dict[int, str] = {}
        for name, port in self.config.ports.items():
            at = report.at("ports", name)
            if name == TRUNK:
                at.error((), "the trunk is always there", "take another name", key=True)
            first = seen.setdefault(self._place(port), name)
            if first != name:
                message = f"port '{first}' has the same frames"
                at.error((), message, "give one of them another vlan or outer", key=True)
