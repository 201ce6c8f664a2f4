"""What a message says of the client that it is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from nfv.services.dhcp.client import label
from nfv.services.dhcp6.wire import Association, Message, Option, Relay
from nfv.services.lazy import lazy

_ETHERNET = b"\0\1"
_DUID_LLT, _DUID_LL = b"\0\1", b"\0\3"
_ENTERPRISE = 4  # bytes in front of a remote-id (RFC 4649, section 3)
_MAC = 6


@dataclass(frozen=True)
class Client:
    """A client, by what one of its messages holds, and the relay agents around it."""

    message: Message
    relays: Sequence[Relay]
    source: bytes  # MAC address of the frame

    @lazy
    def duid(self) -> bytes:
        return self.message.get(Option.CLIENT_ID) or b""

    def key(self, association: Association) -> bytes:
        """What the server knows one of its associations by (RFC 9915, section 12)."""
        mark = b"n" if association.kind == Option.IA_NA else b"p"
        return mark + association.iaid + self.duid

    @lazy
    def hardware(self) -> bytes:
        """Its MAC address: of the frame, or by its relay agent (RFC 6939), or in its DUID."""
        if not self.relays:
            return self.source
        told = self.relays[-1].get(Option.LINK_LAYER_ADDRESS)
        if told is not None and told[:2] == _ETHERNET:
            return told[2 : 2 + _MAC]
        for kind, start in ((_DUID_LLT, 8), (_DUID_LL, 4)):
            if self.duid[:4] == kind + _ETHERNET:
                return self.duid[start : start + _MAC]
        return b""

    @lazy
    def link(self) -> IPv6Address | None:
        """An address of its link, as the nearest relay agent says that knows one (section 13.1)."""
        known = [relay.link for relay in reversed(self.relays) if not relay.link.is_unspecified]
        return next((one for one in known if not one.is_link_local), None)

    @lazy
    def interface(self) -> bytes:
        """Its port, as its relay agent says (option 18)."""
        return (self.relays[-1].get(Option.INTERFACE_ID) or b"") if self.relays else b""

    @lazy
    def marks(self) -> list[tuple[str, bytes]]:
        """What a reservation may know it by, the most telling first."""
        remote = (self.relays[-1].get(Option.REMOTE_ID) or b"") if self.relays else b""
        marks = [
            ("duid", self.duid),
            ("mac", self.hardware),
            ("interface_id", self.interface),
            ("remote_id", remote[_ENTERPRISE:]),
        ]
        return [(kind, mark) for kind, mark in marks if mark]

    @lazy
    def requested(self) -> list[int]:
        """Options that it asks for (section 21.7)."""
        content = self.message.get(Option.REQUESTED) or b""
        return [int.from_bytes(content[at : at + 2], "big") for at in range(0, len(content), 2)]

    @lazy
    def hostname(self) -> str:
        """The first label of the name that it gives itself (RFC 4704), or ""."""
        name = (self.message.get(Option.FQDN) or b"")[1:]
        return label(name[1 : 1 + name[0]]) if name else ""
