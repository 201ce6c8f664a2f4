"""All that a topology consists of in the kernel and on disk, as independent tools see it."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nfv.dataplane import state
from nfv.dataplane.kernel import bpf, netns
from nfv.dataplane.kernel.bpf import Map, MapType

Snapshot = dict[str, Any]

_VOLATILE = {"stats", "stats64", "valid_life_time", "preferred_life_time", "expires", "cacheinfo"}
_LATE = {
    "operstate",
    "NO-CARRIER",
    "LOWER_UP",
    "linkdown",
}  # the kernel updates it when it has time
_TABLES = ["link show", "address show", "route show table all", "rule show"]
_TABLES_OF_IPV6 = ["route show table all", "rule show"]
_SETTINGS = ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/all/disable_ipv6")
_FILES_THAT_CHANGE = {"daemon.log", "daemon.sock", "supervisor.lock", "daemon.lock"}
_ENUMERATED = (MapType.PROG_ARRAY, MapType.DEVMAP)
_FIRST = 1024  # entries of those; ports are numbered from 1


def take(topology: str, bystanders: Iterable[str] = (), devices: Iterable[str] = ()) -> Snapshot:
    """What there is of a topology, in the namespaces of bystanders, and of devices of this one."""
    fabric = f"nfv.{topology}"
    own = [name for name in netns.names(fabric) if f"{name}.".startswith(f"{fabric}.")]
    return {
        "namespaces": {name: _namespace(name) for name in [*own, *bystanders]},
        "devices": _devices(topology, set(devices)),
        "pins": _pins(state.pins(topology)),
        "files": _files(topology),
        "processes": processes(topology),
    }


def is_nothing(found: Snapshot) -> bool:
    """Whether nothing of the topology is left."""
    return not any(found.values())


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Where two snapshots differ, a line each."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted({*before, *after}, key=str)
        pairs = [(f"{path}/{key}", before.get(key), after.get(key)) for key in keys]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        both = enumerate(zip(before, after, strict=True))
        pairs = [(f"{path}[{index}]", *items) for index, items in both]
    else:
        return [f"{path}: {before} -> {after}"]
    return [line for where, old, new in pairs for line in differences(old, new, where)]


def processes(topology: str) -> dict[int, str]:
    """The topology's processes, agent and supervisor, with their commands."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it ended
            continue
        if topology.encode() in words and any(b"nfv.dataplane" in word for word in words):
            found[int(path.parent.name)] = b" ".join(words).decode()
    return found


def _namespace(name: str) -> Snapshot:
    found: Snapshot = dict(zip(_TABLES, _ip(["-n", name], _TABLES), strict=True))
    answers = _ip(["-6", "-n", name], _TABLES_OF_IPV6)
    found |= {f"-6 {key}": answer for key, answer in zip(_TABLES_OF_IPV6, answers, strict=True)}
    with netns.entered(name):
        found["settings"] = {path: netns.read_sysctl(f"net/{path}") for path in _SETTINGS}
    return found


def _devices(topology: str, wanted: set[str]) -> list[Any]:
    """Devices of the caller's namespace that are marked, or named."""
    return [
        link
        for link in _ip(["-d"], ["link show"])[0]
        if link["ifname"] in wanted or link.get("ifalias", "").startswith(f"nfv:{topology}:")
    ]


def _ip(options: list[str], commands: Iterable[str]) -> list[Any]:
    """The answers of iproute2 to several commands; an empty one stands for nothing."""
    command = ["ip", "-j", *options, "-batch", "-"]
    script = "".join(f"{line}\n" for line in commands)
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    return [_without_volatile(json.loads(line)) for line in done.stdout.splitlines() if line]


def _without_volatile(found: Any) -> Any:
    if isinstance(found, list):
        return [_without_volatile(item) for item in found if item and str(item) not in _LATE]
    if isinstance(found, dict):
        left_out = _VOLATILE | _LATE
        return {key: _without_volatile(v) for key, v in found.items() if key not in left_out}
    return found


def _pins(root: Path) -> Snapshot:
    found: Snapshot = {str(root): "directory"} if root.exists() else {}
    for pin in sorted(root.rglob("*")):
        if pin.is_dir():
            found[str(pin)] = "directory"
            continue
        if pin.name.startswith("link"):
            link = bpf.obj_get(pin)
            found[str(pin)] = bpf.link_info(link)
            os.close(link)
            continue
        opened = Map.open(pin)
        found[str(pin)] = opened.id, _entries(opened)
        opened.close()
    return found


def _entries(opened: Map) -> dict[int, bytes]:
    """What a table of programs or devices holds; others change with every packet."""
    if opened.type not in _ENUMERATED:
        return {}
    count = min(opened.max_entries, _FIRST)
    entries = {number: opened.lookup(struct.pack("=I", number)) for number in range(count)}
    return {number: value for number, value in entries.items() if value is not None}


def _files(topology: str) -> dict[str, str]:
    found = {}
    for path in sorted(state.RUN.glob(f"{topology}*")):
        if not re.fullmatch(rf"{re.escape(topology)}(\.lock)?", path.name):
            continue
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            changes = file.is_dir() or file.name in _FILES_THAT_CHANGE
            found[str(file)] = "" if changes else file.read_text()
    return found
