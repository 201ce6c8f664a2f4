"""Hosts that others tell of, as the DHCP function does of its leases, for the directory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from dns.name import Name

from nfv.chain.fields import Address, InterfaceAddress
from nfv.errors import InputError
from nfv.services.dns.directory import Host

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123, section 2.1


class Hosts:
    """Names and addresses by source, whose names are nobody else's."""

    def __init__(self) -> None:
        self._known: dict[str, dict[Address, str]] = {}

    def take_in(self, request: Mapping[str, Any]) -> bool:
        """A request as nfv.services.registration makes it; whether something has changed.

        Raises `InputError` for what is none.
        """
        try:
            source = str(request["source"])
            there = [(_label(name), ip_address(address)) for name, address in request["there"]]
            gone = [(_label(name), ip_address(address)) for name, address in request["gone"]]
            is_first = bool(request["all"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"these are no hosts: {error!r}") from error
        before = dict(self._known.get(source, {}))
        known = self._known.setdefault(source, {})
        if is_first:
            known.clear()
        for _, address in gone:
            known.pop(address, None)
        known.update({address: name for name, address in there if name})
        return known != before

    def below(self, zone: Name, subnets: list[InterfaceAddress]) -> Iterator[Host]:
        """All hosts with their names in a zone; `subnets` are those of the topology."""
        for known in self._known.values():
            for address, name in known.items():
                yield Name((name.encode(), *zone.labels)), _within(address, subnets)


def _label(name: object) -> str:
    """The label of a host that calls itself so; empty if it cannot have that name."""
    first = str(name).lower().partition(".")[0]
    return first if _LABEL.fullmatch(first) else ""


def _within(address: Address, subnets: list[InterfaceAddress]) -> InterfaceAddress:
    """The address with the length of the subnet that it is in."""
    for subnet in subnets:
        if address in subnet.network:
            return ip_interface(f"{address}/{subnet.network.prefixlen}")
    return ip_interface(address)
