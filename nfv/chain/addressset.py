"""Named sets of addresses that rules ask for, and that change while they do."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from pydantic import Field

from nfv.chain.fields import Address, Model, OneOrMore
from nfv.chain.files import Files
from nfv.chain.report import Report

Packed = bytes
"""An address, 4 or 16 bytes in network order."""


class AddressSet(Model):
    """Addresses that are in a set when it is made, or when this changes."""

    addresses: OneOrMore[Address] = Field((), description="IPv4 and IPv6 addresses")
    file: str | None = Field(
        None, description="file with an address a line, below the directory of the topology"
    )

    def packed(self, files: Files) -> Iterator[Packed]:
        """The addresses, after `check_file`."""
        yield from (address.packed for address in self.addresses)
        for _number, text in self._lines(files):
            address = _packed(text)
            if address is not None:
                yield address

    def check_file(self, files: Files, report: Report) -> bool:
        """Report lines that are no addresses, or that there is no such file."""
        try:
            lines = list(self._lines(files))
        except ValueError as error:
            report.error(("file",), str(error))
            return False
        wrong = [(number, text) for number, text in lines if _packed(text) is None]
        for number, text in wrong:
            message = f"'{text}' is not an IPv4 or IPv6 address"
            report.elsewhere(self.file or "", number, message, "one a line, # begins a comment")
        return not wrong

    def _lines(self, files: Files) -> Iterator[tuple[int, str]]:
        """What is on the lines of the file, without comments. Raises ValueError."""
        if self.file is None:
            return
        for number, line in enumerate(files.read(self.file).splitlines(), 1):
            text = line.partition("#")[0].strip()
            if text:
                yield number, text


def _packed(text: str) -> Packed | None:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:
        return None
