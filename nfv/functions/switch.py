"""Layer 2 switch: a learning bridge with VLANs (IEEE 802.1Q).

Chains end at its ports, `SWITCH:PORT`. Hosts whose chains lead to one switch share a segment, with
functions between them and the switch or not. A chain from a port to the interface of a router, or
to a port of another switch, joins these.

- Stations are learned by source address and VLAN on the fast path. One that comes in by another
  port has moved. One that is silent for `ageing` seconds, within a second, is unknown; its room is
  free 5 seconds later.
- Broadcasts, groups and frames for unknown stations go to all ports of the VLAN but the one they
  came in by.
- `vlan` makes an access port, `trunk` one with tags. A port that says neither is an access port of
  VLAN 1. Frames whose tag has a priority only are in the VLAN of frames without tag.
- If no port says `vlan` or `trunk`, tags are not looked at, and all frames stay as they are.
- Never forwarded: 01-80-C2-00-00-00 to -0F (bridge protocols, pause, LLDP), and sources that are
  groups or zero.
- `limit`: a frame from one station too many is dropped, not flooded.
- `sticky`: what is learned there is neither forgotten nor moved for as long as the topology is
  applied. Frames from that address at other ports are dropped.
- `static`: as sticky, but declared. Such stations do not count against a limit.
- `isolated`: ports that speak with all others, but not with each other.
- `storm`: frames a second, by kind. What may come at once is a tenth of that.

Chains that make a loop are refused: there is no spanning tree. A loop beyond the SAPs is not seen;
`storm` bounds what it does.

`nfvctl inspect TOPOLOGY NAME` lists the stations with their age in seconds; `nfvctl tell TOPOLOGY
NAME flush` forgets those that are not declared: all, or those of `port=`, `vlan=`, `mac=`.

Limits, and why:

- No spanning tree (STP, RSTP), and its frames are dropped: within a file there are no loops.
- No snooping of IGMP and MLD (RFC 4541), and so no groups to list: groups are flooded in their
  VLAN, as RFC 4541 (section 2.1.2) has it where nothing is known of them, so no member misses a
  frame. `storm` bounds them. Reports of IGMPv3 and MLDv2 have any number of records, and the fast
  path sees 1,023 bytes: one that is read in part would cut members off. Who reads them whole has
  to be a service, with a tap at each port, which also learns where routers are.
- A copy of a flooded frame that passes a program counts as received at that port; a port that is a
  cable has no counters of its own, its SAP has them.
- Flows on the way to a switch are not kept in the flow cache: where a frame leaves depends on its
  address and on who was heard last, not on the flow.
- Packets have 3,400 bytes at most: the kernel copies broadcasts within a page.
- Where there are VLANs or isolated ports, and at ports whose chain is no cable to a SAP, a frame
  costs a tail call, and a flooded one a veth pair for each port. Its chains run at one hook.
- At XDP, programs behind ports are told of a frame by XDP metadata: drivers without it (tap devices
  before Linux 6.15) lose such frames.
- Linux differs: it forwards frames of bridge protocols when its own spanning tree is off, and lets
  static stations move.
- A switch whose ports change begins with no stations.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from nfv.chain.fields import Mac, Many, Model, Name
from nfv.chain.report import Report, did_you_mean, listed
from nfv.ebpf.connections import Occupancy, Table
from nfv.ebpf.stations import Bond, Lan, Station, stations
from nfv.ebpf.tables import Maps
from nfv.errors import InputError
from nfv.functions.base import (
    MAX_PORTS,
    Function,
    FunctionConfig,
    LanMtu,
    Port,
    PortNumber,
    Row,
)

_RECENTS = 1024  # SELF_RECENTS of stations.h
_STORMS = ("broadcast", "multicast", "unknown")  # enum self_storm
_VLAN_WORDS = 64  # of a port's bitmap
_EVERY_VLAN = range(1, 4095)
_DEFAULT_VLAN = 1

Vlan = Annotated[int, Field(strict=True, ge=1, le=4094)]
Rate = Annotated[int, Field(strict=True, ge=1, le=100_000_000)]
Flag = Annotated[bool, Field(strict=True)]


def _port_name(value: object) -> object:
    """Ports are mostly numbered, and a number is a name too."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


PortName = Annotated[Name, BeforeValidator(_port_name)]


class Storm(Model):
    """Frames a second that a port may have flooded; what exceeds that is dropped."""

    broadcast: Rate | None = Field(None, description="frames for all stations")
    multicast: Rate | None = Field(None, description="frames for other groups")
    unknown: Rate | None = Field(None, description="frames for a station that is not known")


class SwitchPort(Model):
    """A port: its VLANs, and what may come in there."""

    vlan: Vlan | None = Field(None, description="VLAN of an access port: frames have no tag")
    trunk: Literal["all"] | Many[Vlan] | None = Field(
        None, description="VLANs whose frames have a tag, or all of them"
    )
    native: Vlan | None = Field(None, description="VLAN of frames without tag at a trunk")
    isolated: Flag = Field(False, description="no frames from or to another isolated port")
    limit: Annotated[int, Field(strict=True, ge=1, le=1 << 20)] | None = Field(
        None, description="learned stations, the most; frames of any other are dropped"
    )
    sticky: Flag = Field(
        False, description="stations stay at the port for good, and are dropped at others"
    )
    storm: Storm = Field(default_factory=Storm, description="limits of what is flooded")

    @property
    def is_aware(self) -> bool:
        """Whether the port says something of VLANs."""
        return self.vlan is not None or self.trunk is not None

    @property
    def untagged(self) -> int:
        """The VLAN of frames without tag in a switch that has VLANs; 0: none may come."""
        return (self.native or 0) if self.trunk is not None else self.vlan or _DEFAULT_VLAN

    @property
    def members(self) -> frozenset[int]:
        """The VLANs whose frames come and go there."""
        tagged = _EVERY_VLAN if self.trunk == "all" else self.trunk or ()
        return frozenset(tagged) | ({self.untagged} if self.untagged else set())

    def check(self, report: Report) -> None:
        if self.vlan is not None and self.trunk is not None:
            hint = "write native: for frames without tag at a trunk"
            report.error(("vlan",), "vlan and trunk exclude each other", hint, key=True)
        if self.native is not None and self.trunk is None:
            report.error(("native",), "only a trunk has a native VLAN", "write vlan:", key=True)


class StaticStation(Model):
    """A station that is always behind one port."""

    mac: Mac = Field(description="MAC address of the station")
    port: PortName = Field(description="port that it is behind")
    vlan: Vlan | None = Field(None, description="its VLAN, if the switch has VLANs")


class SwitchConfig(FunctionConfig):
    """A switch: its ports, and what it knows of stations."""

    ports: PortNumber | dict[Name, SwitchPort] = Field(
        description="ports by name, or how many, which are then named 1, 2 and so on"
    )
    mtu: LanMtu = 1500
    ageing: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = Field(
        300, description="seconds until a silent station is forgotten; 0: never"
    )
    stations: Annotated[int, Field(strict=True, ge=1, le=1 << 20)] = Field(
        16384, description="MAC addresses that are known at a time, the most"
    )
    static: Many[StaticStation] = Field((), description="stations that are not learned")


class Switch(Function[SwitchConfig]):
    """Sends each frame to the port that its destination was seen at, or to all others."""

    Config = SwitchConfig
    floods = True
    lists = True
    requests = ("flush",)
    places_key = "ports"

    @cached_property
    def ports(self) -> Mapping[str, SwitchPort]:
        """The ports by name."""
        ports = self.config.ports
        if isinstance(ports, int):
            return {str(number): SwitchPort() for number in range(1, ports + 1)}
        return ports

    @property
    def interfaces(self) -> Mapping[str, Port]:
        return dict.fromkeys(self.ports, Port(self.config.mtu))

    @property
    def has_vlans(self) -> bool:
        """Whether the switch looks at tags, and keeps VLANs apart."""
        return any(port.is_aware for port in self.ports.values())

    @property
    def filters(self) -> bool:
        return self.has_vlans or sum(port.isolated for port in self.ports.values()) > 1

    def defines(self) -> Mapping[str, int]:
        return {"PORTS": len(self.ports), "VLANS": int(self.has_vlans)}

    def map_sizes(self) -> Mapping[str, int]:
        ports = len(self.ports)
        return {
            "leads": ports,
            "floods": ports,
            "ports": ports,
            "buckets": ports * len(_STORMS),
            "counts": ports,
            "lans": 1,
            "stations": self.config.stations,
            "recents": _RECENTS,
            "vlans": ports * _VLAN_WORDS,
        }

    def fill(self, maps: Maps, counters: Mapping[str, int], before: Mapping[str, int]) -> None:
        layout = maps.layout("ports")
        whole = b"".join(
            layout.pack(
                limit=port.limit or 0,
                rates=b"".join(
                    (getattr(port.storm, kind) or 0).to_bytes(4, "little") for kind in _STORMS
                ),
                untagged=port.untagged,
                is_isolated=port.isolated,
                flags=Bond.BOUND if port.sticky else 0,
            )
            for port in self.ports.values()
        )
        maps.memory("ports")[: len(whole)] = whole
        if self.has_vlans:
            self._fill_vlans(maps.memory("vlans"))
        lan = maps.layout("lans")
        (ageing,) = (member for member in lan.fields if member.name == "ageing")
        maps.memory("lans")[ageing.offset : ageing.offset + ageing.size] = (
            self.config.ageing.to_bytes(ageing.size, "little")
        )
        sticky = {place for place, port in enumerate(self.ports.values()) if port.sticky}
        self._lan(maps).declare(self._static(), frozenset(sticky))

    def _fill_vlans(self, memory: memoryview) -> None:
        for place, port in enumerate(self.ports.values()):
            bits = sum(1 << vlan for vlan in port.members)
            size = _VLAN_WORDS * 8
            memory[place * size : (place + 1) * size] = bits.to_bytes(size, "little")

    def _lan(self, maps: Maps) -> Lan:
        return Lan(maps.table("stations"), maps.memory("counts"), maps.memory("lans"))

    def _static(self) -> list[Station]:
        places = list(self.ports)
        bond = Bond.BOUND | Bond.STATIC
        return [
            Station(one.mac, self._vlan_of(one), places.index(one.port), 0, bond)
            for one in self.config.static
        ]

    def _vlan_of(self, static: StaticStation) -> int:
        """The VLAN that a static station is known in; 0 in a switch without VLANs."""
        return static.vlan or self.ports[static.port].untagged if self.has_vlans else 0

    def maintain(
        self, maps: Mapping[str, Table], age: Callable[[int], float]
    ) -> Generator[None, None, Mapping[str, Occupancy]]:
        if "stations" not in maps:
            return {}  # in no chain
        return {"stations": (yield from self._open(maps).sweep(self.config.ageing, age))}

    def entries(
        self, maps: Mapping[str, Table], age: Callable[[int], float], counted: Mapping[int, str]
    ) -> Iterator[Row]:
        places = list(self.ports)
        found = stations(maps["stations"]) if "stations" in maps else ()
        for one in sorted(found, key=lambda one: (one.vlan, one.mac)):
            yield {
                "mac": one.mac,
                "vlan": one.vlan or None,
                "port": places[one.port],
                "kind": one.kind,
                "age": None if one.bond & Bond.STATIC else round(age(one.seen), 1),
            }

    def tell(self, maps: Mapping[str, Table], request: str, values: Mapping[str, str]) -> list[Row]:
        if request not in self.requests:
            raise InputError(f"a switch cannot {request}", f"it can {listed(self.requests)}")
        unknown = [key for key in values if key not in ("port", "vlan", "mac")]
        if unknown:
            raise InputError(f"there is no '{unknown[0]}' here", "keys are port, vlan, mac")
        if "stations" not in maps:
            return [{"flushed": 0}]
        places = list(self.ports)
        gone = [
            one
            for one in stations(maps["stations"])
            if not one.bond & Bond.STATIC
            and values.get("port") in (None, places[one.port])
            and values.get("vlan") in (None, str(one.vlan))
            and values.get("mac", "").lower() in ("", one.mac)
        ]
        return [{"flushed": self._open(maps).remove(gone)}]

    def _open(self, maps: Mapping[str, Table]) -> Lan:
        counts, lans = (memoryview(maps[name].memory()) for name in ("counts", "lans"))
        return Lan(maps["stations"], counts, lans)

    def check(self, report: Report) -> None:
        if not 2 <= len(self.ports) <= MAX_PORTS:
            report.error(("ports",), f"a switch has 2 to {MAX_PORTS} ports", key=True)
        seen: dict[tuple[str, int], int] = {}
        for index, static in enumerate(self.config.static):
            at = report.at("static", index)
            if static.port not in self.ports:
                hint = did_you_mean(static.port, self.ports, f"ports are {listed(self.ports)}")
                at.error(("port",), f"no port '{static.port}'", hint)
                continue
            self._check_vlan(static, at)
            first = seen.setdefault((static.mac, self._vlan_of(static)), index)
            if first != index:
                at.error(("mac",), f"static[{first}] is the same station")

    def _check_vlan(self, static: StaticStation, report: Report) -> None:
        if static.vlan is None:
            if self.has_vlans and not self.ports[static.port].untagged:
                message = f"in which VLAN is it? port '{static.port}' is a trunk"
                report.error((), message, "add vlan:")
        elif not self.has_vlans:
            report.error(("vlan",), "the switch has no VLANs", "remove it", key=True)
        elif static.vlan not in self.ports[static.port].members:
            message = f"port '{static.port}' is no member of VLAN {static.vlan}"
            report.error(("vlan",), message)
