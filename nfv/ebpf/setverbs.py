"""What a firewall can be told about its named sets."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping

from nfv.chain.report import did_you_mean, listed
from nfv.ebpf.sets import Sets, key_of
from nfv.errors import InputError, KernelError

REQUESTS = ("add", "remove", "empty")

_KEYS = {"add": ("set", "address", "timeout"), "remove": ("set", "address"), "empty": ("set",)}
_OPTIONAL = ("timeout",)
_MAX_TIMEOUT = 1 << 30  # seconds


def do(sets: Sets | None, request: str, values: Mapping[str, str]) -> Mapping[str, object]:
    """Do one of `REQUESTS`; returns what was done. Raises `InputError`."""
    _check_keys(request, values)
    name = values["set"]
    bits = sets.bits if sets else {}
    if sets is None or name not in bits:
        otherwise = f"sets are {listed(bits)}" if bits else "no rule asks for one"
        raise InputError(f"there is no set '{name}'", did_you_mean(name, bits, otherwise))
    if request == "empty":
        return {"set": name, "removed": sets.empty(bits[name])}
    keys = [key_of(_packed(text)) for text in values["address"].split(",")]
    if request == "remove":
        return {"set": name, "removed": sum(sets.remove(bits[name], key) for key in keys)}
    until = _until(values["timeout"]) if "timeout" in values else None
    for added, key in enumerate(keys):
        try:
            sets.add(bits[name], key, until)
        except KernelError as error:
            message = f"{added} of {len(keys)} addresses added, there is no room for more"
            raise InputError(message, "give the firewall a larger set_size") from error
    return {"set": name, "added": len(keys)}


def _check_keys(request: str, values: Mapping[str, str]) -> None:
    known = _KEYS[request]
    for key in values:
        if key not in known:
            raise InputError(f"{request} has no '{key}'", f"keys are {', '.join(known)}")
    for key in known:
        if key not in values and key not in _OPTIONAL:
            raise InputError(f"{request} needs {key}=", f"keys are {', '.join(known)}")


def _packed(text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:
        message = f"'{text}' is not an IPv4 or IPv6 address"
        raise InputError(message, "write address=192.0.2.1,2001:db8::1") from None


def _until(text: str) -> int:
    """The first second of CLOCK_MONOTONIC behind a time such as 60s."""
    found = re.fullmatch(r"([0-9]{1,10})s?", text)
    seconds = int(found[1]) if found else 0
    if not 0 < seconds <= _MAX_TIMEOUT:
        raise InputError(f"'{text}' is not a time in seconds", "write timeout=60s")
    return int(time.monotonic()) + seconds + 1
