"""Serial numbers of zones, which wrap (RFC 1982)."""

from __future__ import annotations

_BITS = 32
_MASK = (1 << _BITS) - 1


def is_reached(serial: int, mine: int) -> bool:
    """Whether a serial number is `mine` or later."""
    return (serial - mine) & _MASK < 1 << _BITS - 1


def after(serial: int, wanted: int) -> int:
    """A number later than `serial`: the one that is wanted, if it is one."""
    following = serial + 1 & _MASK
    return wanted if is_reached(wanted, following) else following
