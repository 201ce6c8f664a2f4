"""Offload features of network devices, by the SIOCETHTOOL ioctl.

A feature is named as `ethtool -k` names it ("tx-checksum-ipv4"), or by one of `GROUPS`. All
functions work in the calling thread's network namespace and raise `KernelError`. Layouts and
constants are those of include/uapi/linux/ethtool.h.

A native XDP redirect into a veth is delivered only if the other end has GRO on or an XDP program,
and a frame whose checksum or segmentation was left to the device would leave a chain unfinished.
"""

from __future__ import annotations

import array
import fcntl
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from nfv.dataplane.kernel.refusal import refused
from nfv.errors import KernelError

GROUPS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "tx-checksum": re.compile("tx-checksum-.*"),
        "tso": re.compile("tx-(?!generic).*-segmentation"),
        "gso": re.compile("tx-generic-segmentation"),
        "gro": re.compile("rx-gro"),
        "tx-vlan": re.compile("tx-vlan-hw-insert"),
        "rx-vlan": re.compile("rx-vlan-hw-parse"),
    }
)

_SIOCETHTOOL = 0x8946
_ETHTOOL_GSTRINGS = 0x1B
_ETHTOOL_GSSET_INFO = 0x37
_ETHTOOL_GFEATURES = 0x3A
_ETHTOOL_SFEATURES = 0x3B
_ETH_SS_FEATURES = 4

_IFREQ = struct.Struct("@16sP16x")  # device, address of the command
_HEADER = struct.Struct("=II")  # command, count
_SSET_INFO = struct.Struct("=IIQI")  # command, reserved, mask of sets, length of the set asked for
_STRINGS = struct.Struct("=III")  # command, set, count; the strings follow
_STRING_SIZE = 32
_WORD_BITS = 32
_GET_BLOCK = struct.Struct("=4I")  # available, requested, active, never changed
_SET_BLOCK = struct.Struct("=2I")  # valid, requested


@dataclass(frozen=True)
class _Features:
    """Masks over the bits of `_feature_names`."""

    available: int  # can be changed
    requested: int  # asked for; what it needs may be missing
    active: int


def features(device: str) -> dict[str, bool]:
    """Which features are active, by their full names."""
    state = _read(device)
    return {name: bool(state.active >> bit & 1) for name, bit in _feature_bits().items()}


def set_features(device: str, wanted: Mapping[str, bool]) -> dict[str, bool]:
    """Turn features and groups on or off; return what `restore_features` needs to undo it.

    Off means every feature of a group, on means those that the device has, at least one. Raises
    `KernelError`, having restored the device, when one did not come out as wanted.
    """
    before = _read(device)
    on = _members(wanted, True) & (before.available | before.active)
    off = _members(wanted, False)
    _request(device, (on | off) & before.available, on)
    after = _read(device)
    wrong = [
        *(name for name, enable in wanted.items() if enable and not _bits(name) & after.active),
        *_names(on & ~after.active | off & after.active),
    ]
    if wrong:
        _request(device, before.available, before.requested)
        raise KernelError(
            f"cannot set {', '.join(wrong)} of {device}: its driver does not let it change",
            f"see what {device} can change with `ethtool -k {device}`",
        )
    changed = before.requested ^ after.requested
    return {name: bool(before.requested & _bits(name)) for name in _names(changed)}


def restore_features(device: str, previous: Mapping[str, bool]) -> None:
    """Ask again for what had been asked for before `set_features`, be it active or not."""
    on, off = _members(previous, True), _members(previous, False)
    _request(device, on | off, on)


def _read(device: str) -> _Features:
    count = _words()
    data = bytearray(_HEADER.size + count * _GET_BLOCK.size)
    _HEADER.pack_into(data, 0, _ETHTOOL_GFEATURES, count)
    reply = _ioctl(device, bytes(data), f"read the features of {device}")
    words = list(_GET_BLOCK.iter_unpack(reply[_HEADER.size :]))
    available, requested, active, _ = (_joined(column) for column in zip(*words, strict=True))
    return _Features(available, requested, active)


def _request(device: str, valid: int, requested: int) -> None:
    """Set the features in the mask `valid` to their bits in `requested`."""
    count = _words()
    blocks = (
        _SET_BLOCK.pack(_word(valid, index), _word(requested & valid, index))
        for index in range(count)
    )
    data = _HEADER.pack(_ETHTOOL_SFEATURES, count) + b"".join(blocks)
    _ioctl(device, data, f"set the features of {device}")


def _members(wanted: Mapping[str, bool], enable: bool) -> int:
    return _union(_bits(name) for name, on in wanted.items() if on is enable)


@cache
def _bits(name: str) -> int:
    """The features that a group's or a feature's name stands for."""
    pattern = GROUPS.get(name) or re.compile(re.escape(name))
    found = [1 << bit for full, bit in _feature_bits().items() if pattern.fullmatch(full)]
    if not found:
        raise KernelError(f"this kernel has no device feature {name}")
    return _union(found)


def _names(mask: int) -> list[str]:
    return [name for name, bit in _feature_bits().items() if mask >> bit & 1]


@cache
def _feature_bits() -> Mapping[str, int]:
    """The kernel's features and their bits; the same for every device, lo being one anywhere."""
    count = _feature_count()
    request = _STRINGS.pack(_ETHTOOL_GSTRINGS, _ETH_SS_FEATURES, count)
    reply = _ioctl("lo", request + bytes(count * _STRING_SIZE), "read the names of the features")
    strings = struct.iter_unpack(f"{_STRING_SIZE}s", reply[_STRINGS.size :])
    names = (raw.rstrip(b"\0").decode() for (raw,) in strings)
    return {name: bit for bit, name in enumerate(names) if name}


@cache
def _feature_count() -> int:
    request = _SSET_INFO.pack(_ETHTOOL_GSSET_INFO, 0, 1 << _ETH_SS_FEATURES, 0)
    reply = _ioctl("lo", request, "count the features")
    count: int = _SSET_INFO.unpack(reply)[3]
    return count


def _words() -> int:
    return -(-_feature_count() // _WORD_BITS)


def _word(mask: int, index: int) -> int:
    return mask >> index * _WORD_BITS & (1 << _WORD_BITS) - 1


def _joined(words: Iterable[int]) -> int:
    return _union(word << index * _WORD_BITS for index, word in enumerate(words))


def _union(masks: Iterable[int]) -> int:
    result = 0
    for mask in masks:
        result |= mask
    return result


def _ioctl(device: str, command: bytes, what: str) -> bytes:
    buffer = array.array("B", command)
    address, _ = buffer.buffer_info()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, _SIOCETHTOOL, _IFREQ.pack(device.encode(), address))
    except OSError as error:
        raise refused(what, error) from error
    return buffer.tobytes()
