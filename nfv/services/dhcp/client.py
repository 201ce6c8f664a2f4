"""What a message says of the client that it is from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from nfv.services.dhcp.wire import Message, Option
from nfv.services.lazy import lazy

_CIRCUIT, _REMOTE, _LINK = 1, 2, 5  # of option 82 (RFC 3046, RFC 3527)
_MAX_LABEL = 63
_FQDN_ENCODED = 4  # flag E (RFC 4702, section 2.1)
_FQDN_HEADER = 3


@dataclass(frozen=True)
class Client:
    """A client, by what one of its messages holds."""

    message: Message

    @lazy
    def key(self) -> bytes:
        """What the server knows it by: its identifier, else its hardware address.

        RFC 2131, section 4.2; an identifier and a hardware address are never taken for one another.
        """
        identifier = self.message.options.get(Option.CLIENT_ID, b"")
        if identifier:
            return b"i" + identifier
        return b"h" + bytes((self.message.htype,)) + self.message.chaddr

    @lazy
    def agent(self) -> dict[int, bytes]:
        """The sub-options that a relay agent has added."""
        return dict(_suboptions(self.message.options.get(Option.AGENT, b"")))

    @lazy
    def marks(self) -> list[tuple[str, bytes]]:
        """What a reservation may know it by, the most telling first."""
        found = [("client_id", self.message.options.get(Option.CLIENT_ID, b""))]
        found.append(("mac", self.message.chaddr))
        found.append(("circuit_id", self.agent.get(_CIRCUIT, b"")))
        found.append(("remote_id", self.agent.get(_REMOTE, b"")))
        return [(kind, mark) for kind, mark in found if mark]

    @property
    def link(self) -> IPv4Address | None:
        """An address on its link, as a relay agent says (RFC 3527), or the relay agent's own."""
        if not int(self.message.giaddr):
            return None
        selected = self.agent.get(_LINK, b"") if Option.AGENT in self.message.options else b""
        return IPv4Address(selected) if len(selected) == 4 else self.message.giaddr

    @property
    def vendor(self) -> bytes:
        return self.message.options.get(Option.VENDOR_CLASS, b"")

    @lazy
    def users(self) -> set[bytes]:
        """Its user classes: a list by RFC 3004, or one text, as iPXE and others send it."""
        content = self.message.options.get(Option.USER_CLASS, b"")
        found, at = {content}, 0
        while at < len(content) and content[at]:
            found.add(content[at + 1 : at + 1 + content[at]])
            at += 1 + content[at]
        return found

    @lazy
    def enterprises(self) -> set[int]:
        """Enterprise numbers of its vendor (RFC 3925, sections 3 and 4)."""
        found = set()
        for option in (Option.VENDOR_CLASSES, Option.VENDOR_OPTIONS):
            content, at = self.message.options.get(option, b""), 0
            while at + 5 <= len(content):  # a number, and the length of what belongs to it
                found.add(int.from_bytes(content[at : at + 4], "big"))
                at += 5 + content[at + 4]
        return found

    @lazy
    def architectures(self) -> set[int]:
        """Architectures that it boots (RFC 4578, section 2.1)."""
        content = self.message.options.get(Option.ARCHITECTURE, b"")
        return {int.from_bytes(content[at : at + 2], "big") for at in range(0, len(content), 2)}

    @lazy
    def hostname(self) -> str:
        """The first label of the name that it gives itself; "" if it has none that can be one."""
        fqdn = self.message.options.get(Option.FQDN, b"")
        if len(fqdn) > _FQDN_HEADER:
            name = fqdn[_FQDN_HEADER:]
            if fqdn[0] & _FQDN_ENCODED:
                name = name[1 : 1 + name[0]]
        else:
            name = self.message.options.get(Option.HOSTNAME, b"")
        return label(name)


def label(name: bytes) -> str:
    """The first label, if it has letters, digits and "-" only (RFC 1123, section 2.1)."""
    label = name.rstrip(b"\0").partition(b".")[0].lower()
    if not 0 < len(label) <= _MAX_LABEL or label.strip(b"-") != label:
        return ""
    text = label.decode("ascii", "replace")
    return text if text.replace("-", "").isalnum() and text.isascii() else ""


def _suboptions(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(content) and at + 2 + content[at + 1] <= len(content):
        yield content[at], content[at + 2 : at + 2 + content[at + 1]]
        at += 2 + content[at + 1]
