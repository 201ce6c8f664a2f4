"""What perfdhcp prints."""

from __future__ import annotations

import re

_EXCHANGE = re.compile(r"for: ([A-Z-]+)\*+\nsent packets: (\d+)\nreceived packets: (\d+)")


def exchanges(shown: str) -> dict[str, tuple[int, int]]:
    """How many messages it has sent, and how many answers it got, by exchange."""
    return {name: (int(sent), int(got)) for name, sent, got in _EXCHANGE.findall(shown)}
