"""Service access points: where traffic enters and leaves a topology."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nfv.chain.addressing import check_addresses, check_gateways, check_mtu
from nfv.chain.fields import (
    Address,
    DeviceName,
    InterfaceAddress,
    Mac,
    Model,
    Mtu,
    NetnsName,
    OneOrMore,
)
from nfv.chain.report import Report


class Hook(Enum):
    """What a port's program is attached to at its device."""

    XDP = "xdp"
    TC = "tc"


_HOOK = "where its program runs, xdp or tc; by default tc unless a tap or a NIC can be reached"
_OWN_MAC = "MAC address of the device; by default derived from the names"


class Sap(Model):
    """A service access point; `kind` says what stands behind it."""

    name: str = Field(exclude=True)  # the key of the SAP in the file
    kind: str
    mtu: Mtu = 1500
    outside: ClassVar[bool] = False  # whether its device is not in the topology's own namespace

    @property
    def declared_hook(self) -> Hook | None:
        """Where its program shall run, if the file says so."""
        return None

    @property
    def addresses(self) -> tuple[InterfaceAddress, ...]:
        """Addresses that nfv gives to the far side of the access point."""
        return ()

    @property
    def gateways(self) -> tuple[Address, ...]:
        """Next hops of its default routes, at most one for each of IPv4 and IPv6."""
        return ()

    def check(self, report: Report) -> None:
        check_addresses(self.addresses, report)
        check_mtu(self.mtu, self.addresses, report)
        check_gateways(self.gateways, self.addresses, report)


class _InterfaceSap(Sap):
    """An interface in a network namespace, with what nfv gives it there."""

    ip: OneOrMore[InterfaceAddress] = Field((), description="addresses of the interface")
    gateway: OneOrMore[Address] = Field((), description="default gateway, one for each family")
    mac: Mac | None = Field(None, description=_OWN_MAC)
    hook: Literal["xdp", "tc"] | None = Field(None, description=_HOOK)

    @property
    def declared_hook(self) -> Hook | None:
        return Hook(self.hook) if self.hook else None

    @property
    def addresses(self) -> tuple[InterfaceAddress, ...]:
        return self.ip

    @property
    def gateways(self) -> tuple[Address, ...]:
        return self.gateway


class HostSap(_InterfaceSap):
    """A host of its own: a network namespace with one interface, eth0."""

    kind: Literal["host"]
    dhcp: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: it gets an IPv4 address by DHCP, from a function of its chain"
    )

    def check(self, report: Report) -> None:
        super().check(report)
        if not self.ip and not self.dhcp:
            hint = "add `ip:`, or `dhcp: true` to get one from a function of its chain"
            report.error((), "a host needs an address", hint)
        given = [str(address) for address in self.ip if address.version == 4]
        if self.dhcp and given:
            report.error(("ip",), f"{given[0]} and dhcp: true exclude each other")


class TapSap(Sap):
    """A tap device, for a virtual machine or any program that reads and writes frames."""

    kind: Literal["tap"]
    outside: ClassVar[bool] = True
    device: DeviceName | None = Field(None, description="its name; by default TOPOLOGY-SAP")
    netns: NetnsName | None = Field(None, description="namespace of the tap; by default the host's")
    mac: Mac | None = Field(None, description=_OWN_MAC)


class NicSap(Sap):
    """A device that exists already; it is given back as it was when the topology is destroyed."""

    kind: Literal["nic"]
    outside: ClassVar[bool] = True
    device: DeviceName = Field(description="its name", examples=["eth1"])


class VethSap(_InterfaceSap):
    """An interface in a network namespace that exists already, such as a container's."""

    kind: Literal["veth"]
    netns: NetnsName = Field(description="namespace that gets the interface")
    device: DeviceName = Field(description="name of the interface there", examples=["eth0"])


KINDS: dict[str, type[Sap]] = {"host": HostSap, "tap": TapSap, "nic": NicSap, "veth": VethSap}
