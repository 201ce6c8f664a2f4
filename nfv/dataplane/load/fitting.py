"""A profile of traffic fitted to the SAPs that it is sent between. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from nfv.chain.topology import Topology
from nfv.dataplane.load.nexthop import mac_bytes, next_hop
from nfv.dataplane.wiring import Port, Wiring
from nfv.errors import InputError
from nfv.traffic import flows
from nfv.traffic.flows import Network
from nfv.traffic.link import ETHERNET_HEADER, Macs
from nfv.traffic.profile import IMIX, IMIX_SIZES, Profile

_WAY = {"src": "from", "dst": "to"}


@dataclass(frozen=True)
class Setup:
    """Where and what is sent; `wait` is for how many seconds nothing more arrives at the end."""

    near: str
    far: str
    profile: Profile
    seconds: float  # of the longest trial
    wait: float


def fitted(topology: Topology, setup: Setup, near: Port) -> Profile:
    """The profile with addresses and sizes that its frames can have.

    Raises `InputError` if an address cannot be known, or a size does not fit the MTU.
    """
    profile = _sized(_addressed(topology, setup))
    longest = near.mtu + ETHERNET_HEADER + flows.FCS
    for size in profile.sizes:
        wanted = max(IMIX_SIZES) if size == IMIX else int(size)
        if wanted > longest:
            raise InputError(
                f"frames of {wanted} bytes do not fit the MTU of {setup.near}, which lets "
                f"{longest} pass",
                "leave out that size, or give the SAP a larger mtu",
            )
    return profile


def _addressed(topology: Topology, setup: Setup) -> Profile:
    """The profile with the addresses of the SAPs where it says none."""
    profile = setup.profile
    given = {one.version for one in (*profile.src, *profile.dst)}
    own = {
        key: [ip_network(address.ip) for address in topology.saps[name].addresses]
        for key, name in (("src", setup.near), ("dst", setup.far))
    }
    versions = given or {min((one.version for one in own["src"]), default=4)}
    values: dict[str, tuple[Network, ...]] = {}
    for key, name in (("src", setup.near), ("dst", setup.far)):
        if getattr(profile, key):
            continue
        found = [address for address in own[key] if address.version in versions]
        if not found:
            (version,) = versions
            raise InputError(
                f"no IPv{version} address of {name} is known to send {_WAY[key]}",
                f"give {key} in a profile: nfvctl bench ... --profile FILE",
            )
        values[key] = (found[0],)
    return profile.model_copy(update=values)


def _sized(profile: Profile) -> Profile:
    """The profile with the sizes that its frames can have."""
    least = flows.shortest(profile)
    sizes = [size if size == IMIX else str(max(int(size), least)) for size in profile.sizes]
    return profile.model_copy(update={"sizes": tuple(dict.fromkeys(sizes))})


def addresses(topology: Topology, wiring: Wiring, near: Port, profile: Profile) -> Macs:
    """The MAC addresses of what is sent. Raises `InputError` if one cannot be known."""
    own = profile.src_mac or near.mac
    hop = next_hop(topology, wiring, near)
    destination = mac_bytes(profile.dst_mac) if profile.dst_mac else hop
    if destination is None:
        raise InputError(
            f"the chains of {near.attachment} do not lead to one MAC address that is known",
            "give dst_mac in a profile",
        )
    if own is None:
        raise InputError(
            f"{near.attachment} has no MAC address that is known", "give src_mac in a profile"
        )
    return Macs(destination, mac_bytes(own))
