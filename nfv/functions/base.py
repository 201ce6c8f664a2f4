"""What every network function is: a configuration model and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, TypeAlias, TypeVar

from pydantic import Field

from nfv.chain.addressing import check_addresses, check_mtu
from nfv.chain.fields import InterfaceAddress, Mac, Model, Mtu, OneOrMore
from nfv.chain.files import Files
from nfv.chain.report import Report
from nfv.chain.surroundings import Place, Surroundings
from nfv.ebpf.connections import Occupancy, Table
from nfv.ebpf.tables import Maps
from nfv.errors import InputError


class FunctionConfig(Model):
    """Base of the configuration models: the keys of a function besides `type`."""


class Interface(Model):
    """A layer 3 interface of a network function."""

    ip: OneOrMore[InterfaceAddress] = Field(description="addresses of the interface")
    mac: Mac | None = Field(None, description="MAC address; by default derived from the names")
    mtu: Mtu = 1500

    def check(self, report: Report) -> None:
        check_addresses(self.ip, report)
        check_mtu(self.mtu, self.ip, report)


@dataclass(frozen=True)
class Port:
    """A port of a switch or a hub: a place without addresses."""

    mtu: int
    ip: tuple[InterfaceAddress, ...] = ()
    mac: str | None = None


MAX_PORTS = 256
"""Ports of a switch or a hub."""

PortNumber = Annotated[int, Field(strict=True, ge=2, le=MAX_PORTS)]
LanMtu = Annotated[
    int,
    Field(strict=True, ge=576, le=3400, description="largest packet, in bytes, at all ports"),
]
"""Copies of a frame are made within a page of memory."""

Row = Mapping[str, object]
"""A record for the user."""

ConfigT = TypeVar("ConfigT", bound=FunctionConfig)
_ConfigClass: TypeAlias = type[FunctionConfig]


@dataclass(frozen=True)
class Function(Generic[ConfigT]):
    """A network function (VNF). Its type is the name of the module that defines it."""

    Config: ClassVar[_ConfigClass]
    type: ClassVar[str]
    rejects: ClassVar[bool] = False  # its C may return NF_REJECT
    cacheable: ClassVar[bool] = False  # a flow's next packet may go the way of the last, unseen
    answers: ClassVar[bool] = False  # its C may return NF_ANSWER
    counts: ClassVar[bool] = True  # its C says in pkt->counter where it has counted a packet
    next_hops: ClassVar[bool] = False  # a router: its C has self_forward and sets pkt->next_hop
    floods: ClassVar[bool] = False  # a switch: its interfaces are ports, its C includes ports.h
    requests: ClassVar[tuple[str, ...]] = ()  # what it can be told, if it has no service
    places_key: ClassVar[str] = "interfaces"  # the key of the interfaces in the file
    lists: ClassVar[bool] = False  # its tables fill with `entries` to list
    kept: ClassVar[frozenset[str]] = frozenset()  # maps whose content outlives a change of size

    name: str
    config: ConfigT
    files: Files = field(default_factory=Files, repr=False)  # those that it has read

    def __init_subclass__(cls) -> None:
        cls.type = cls.__module__.rpartition(".")[2]

    @property
    def interfaces(self) -> Mapping[str, Place]:
        """Interfaces that chains may end at; none for a bump in the wire."""
        return {}

    @property
    def filters(self) -> bool:
        """Whether what it floods is not for all of its ports, or not in the same form."""
        return False

    @property
    def service(self) -> str:
        """Module of its service (nfv.services.base), if it has one."""
        return ""

    def check(self, report: Report) -> None:
        """Report what is wrong between the parts of this function.

        Each part of the configuration checks itself. Paths are relative to the function's keys.
        """

    def check_chains(self, chains: Collection[str], report: Report) -> None:
        """Report what does not fit the chains that the function stands in."""

    def check_surroundings(self, around: Surroundings, report: Report) -> None:
        """Report what does not fit other functions."""

    def advise(self, report: Report) -> None:
        """Report what is valid, and hardly meant; called for what `check` has nothing against."""

    @property
    def name_server(self) -> str | None:
        """The function `dns` that it tells of hosts."""
        return None

    @property
    def masquerade(self) -> str | None:
        """The interface, "vnf:interface", whose address it uses as one of its own."""
        return None

    @property
    def collector(self) -> tuple[str, int] | None:
        """Address and UDP port that its events go to as IPFIX (RFC 7011)."""
        return None

    @property
    def addresses(self) -> tuple[InterfaceAddress, ...]:
        """Addresses that it answers at itself, as a bump in the wire."""
        return ()

    @property
    def routes(self) -> Sequence[Any]:
        """Static routes of its namespace (nfv.functions.router.Route)."""
        return ()

    def defines(self) -> Mapping[str, int]:
        """What the C text is compiled for: `SELF_NAME` by name. A change loads other programs."""
        return {}

    def map_sizes(self) -> Mapping[str, int]:
        """Capacity of each `self_` map of the C text, by name without the prefix."""
        return {}

    def constants(self, capacities: Mapping[str, int]) -> Mapping[str, int]:
        """What programs are loaded with: `SELF_NAME` by name, from the capacities of its maps.

        The names do not depend on the capacities.
        """
        return {}

    def counters(self, before: Mapping[str, int]) -> Mapping[str, int]:
        """Places in its counter maps by what is counted; `before` is what they were."""
        return {}

    def fill(self, maps: Maps, counters: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Write what the configuration says into the maps, so that a packet sees old or new."""

    def expire(self, maps: Mapping[str, Table]) -> Generator[None, None, bool]:
        """Remove what has had its time from maps that verdicts rest on; called as `maintain` is.

        Yields between short steps; returns whether known flows must be forgotten.
        """
        yield from ()
        return False

    def maintain(
        self, maps: Mapping[str, Table], age: Callable[[int], float]
    ) -> Generator[None, None, Mapping[str, Occupancy]]:
        """Remove what is out of date from maps that fill by themselves; called every few seconds.

        `maps` are all of the function's, by name without the prefix; `age` turns jiffies, 32 bits,
        into seconds since then. Yields between short steps; returns how full those maps are.
        """
        yield from ()
        return {}

    def events(
        self, maps: Mapping[str, Table], age: Callable[[int], float]
    ) -> Generator[Row | None, bool | None, None]:
        """What has happened in its maps that is to be logged; called after each `maintain`.

        Records have `age`, the seconds since then. Each is sent whether it was written. Yields None
        between short steps.
        """
        yield from ()

    def described(self, entry: bytes, names: Mapping[int, str]) -> Row:
        """A line about what its programs have written to the map `log`.

        `names` are of what is counted, by place.
        """
        raise NotImplementedError(f"a {self.type} has no log")

    def entries(
        self, maps: Mapping[str, Table], age: Callable[[int], float], counted: Mapping[int, str]
    ) -> Iterator[Row]:
        """What has come into its maps by itself, for `nfvctl inspect`; arguments as above.

        `counted` says what is counted at each place of its counters. Records with the same keys.
        """
        return iter(())

    def tell(
        self, maps: Mapping[str, Table], request: str, values: Mapping[str, str]
    ) -> Sequence[Row]:
        """Do one of `requests`; returns what was done. Raises `InputError`.

        Known flows are forgotten afterwards, so the next packet of each walks.
        """
        raise InputError(f"a {self.type} cannot be told anything")
