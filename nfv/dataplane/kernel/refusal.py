"""How a refused system call is told to the user."""

from __future__ import annotations

import errno
import os

from nfv.errors import KernelError


def refused(what: str, error: OSError, detail: str = "") -> KernelError:
    """A `KernelError` saying "cannot WHAT: errno in words (detail)", with `error` as its cause."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    failure = KernelError(
        f"cannot {what}: {reason[:1].lower()}{reason[1:]}" + (f" ({detail})" if detail else ""),
        "run as root, or see what is missing with `nfvctl doctor`"
        if error.errno in (errno.EPERM, errno.EACCES)
        else None,
    )
    failure.__cause__ = error
    return failure
