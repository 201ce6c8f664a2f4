"""Examine whether this machine can run service chains, and say what to do where it cannot.

What can be tried is tried: a program is loaded, one is attached to a veth. Everything is done in a
namespace that ends with the examination.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nfv.dataplane.change import leftovers
from nfv.dataplane.kernel import bpf, headers
from nfv.dataplane.kernel.bpf import AttachType, ProgramType
from nfv.dataplane.kernel.netlink import Netlink
from nfv.ebpf.compiler import Compiler
from nfv.errors import NfvError

OLDEST_KERNEL = (5, 15)
OPEN_FILES = 1024  # descriptors of one process: a program, a link and some maps for each device

TOOLS = {
    "curl": "curl",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "iperf3": "iperf3",
    "nft": "nftables",
    "ping": "iputils-ping",
    "socat": "socat",
    "tcpdump": "tcpdump",
    "traceroute": "traceroute",
}
"""Commands that people use inside a topology, and the package of each; nfvctl runs without."""

Status = Literal["ok", "warn", "fail"]

_AS_ROOT = "sudo nfvctl doctor"
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
_CLONE_NEWNET = 0x40000000

# r0 = XDP_PASS; exit
_PASS = struct.pack("=BBhi", 0xB7, 0, 0, bpf.XDP_PASS) + struct.pack("=BBhi", 0x95, 0, 0, 0)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check, with the shell command that mends it where there is one."""

    check: str
    status: Status
    detail: str
    mend: str | None = None


def examine() -> list[Finding]:
    """Every check, in the order in which failures are best mended."""
    return [
        _privileges(),
        _kernel(platform.release()),
        _tried("BPF programs", _programs),
        _tried("native XDP on veth", _native_xdp),
        _tried("TC on veth", _tc),
        _bcc(),
        _tried("kernel headers", _headers),
        _tried("compilation", _compilation),
        _bpffs(Path("/sys/fs/bpf")),
        _taps(Path("/dev/net/tun")),
        _open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        _tools(),
        *_leftovers(),
    ]


def _tried(check: str, attempt: Callable[[], Finding]) -> Finding:
    try:
        return attempt()
    except NfvError as error:
        mend = None if os.geteuid() == 0 else _AS_ROOT
        hint = f" ({error.hint})" if error.hint and mend is None else ""
        return Finding(check, "fail", error.message + hint, mend)


def _privileges() -> Finding:
    check = "privileges"
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if not missing:
        return Finding(check, "ok", "may administer networks and load programs")
    mend = None if os.geteuid() == 0 else _AS_ROOT
    return Finding(check, "fail", f"{' and '.join(missing)} missing", mend)


def _kernel(release: str) -> Finding:
    check = "kernel"
    if tuple(headers.version(release)) >= OLDEST_KERNEL:
        return Finding(check, "ok", release)
    oldest = ".".join(map(str, OLDEST_KERNEL))
    image = headers.package().replace("headers", "image")
    detail = f"{release} is older than {oldest}; install a newer one and boot it"
    return Finding(check, "fail", detail, f"apt-get install {image}")


def _programs() -> Finding:
    check = "BPF programs"
    program = bpf.prog_load(_PASS, "nfv_doctor")
    try:
        _, _, machine_code = bpf.prog_info(program)
    finally:
        os.close(program)
    if machine_code:
        return Finding(check, "ok", "loaded and compiled to machine code")
    detail = "interpreted, which costs most of the speed: the JIT is off"
    return Finding(check, "warn", detail, "sysctl -w net.core.bpf_jit_enable=1")


def _native_xdp() -> Finding:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_attach_to_veth, ProgramType.XDP, AttachType.XDP).result()
    return Finding("native XDP on veth", "ok", "attached")


def _tc() -> Finding:
    check = "TC on veth"
    if not bpf.has_tcx():
        detail = (
            "this kernel has no tcx (Linux 6.6): programs of hosts run at XDP, as for `hook: xdp`"
        )
        return Finding(check, "warn", detail)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_attach_to_veth, ProgramType.SCHED_CLS, AttachType.TCX_INGRESS).result()
    return Finding(check, "ok", "attached")


def _attach_to_veth(type_: ProgramType, attach: AttachType) -> None:
    """Attach a program to a veth in a network namespace that ends with the calling thread."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) < 0:
        reason = os.strerror(ctypes.get_errno())
        raise NfvError(f"cannot make a network namespace: {reason}")
    with Netlink() as netlink:
        netlink.add_veth("probe", "peer")
        device = netlink.links()["probe"].index
        program = bpf.prog_load(_PASS, "nfv_doctor", type_=type_)
        try:
            os.close(bpf.link_create(program, device, attach))
        finally:
            os.close(program)


def _bcc() -> Finding:
    check = "bcc"
    try:
        import bcc
    except (ImportError, OSError) as error:
        detail = f"{error}; it comes with the distribution, for the distribution's Python alone"
        return Finding(check, "fail", detail, "scripts/setup")
    if not hasattr(bcc, "BPF"):
        return Finding(
            check, "fail", f"{bcc.__file__} is another package of that name", "pip uninstall bcc"
        )
    return Finding(check, "ok", bcc.__version__)


def _headers() -> Finding:
    check = "kernel headers"
    try:
        return Finding(check, "ok", str(headers.find()))
    except NfvError as error:
        return Finding(check, "fail", error.message, error.hint)


def _compilation() -> Finding:
    source = "#include <uapi/linux/bpf.h>\nint pass(struct xdp_md *ctx) { return XDP_PASS; }\n"
    Compiler(headers.find()).compile([source])
    return Finding("compilation", "ok", "a program compiles with these headers")


def _bpffs(place: Path) -> Finding:
    check = "BPF file system"
    device = place.stat().st_dev if place.exists() else 0
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == number and source.split()[0] == "bpf":
            return Finding(check, "ok", f"mounted at {place}")
    return Finding(check, "fail", f"not mounted at {place}", f"mount -t bpf bpf {place}")


def _taps(device: Path) -> Finding:
    check = "tap devices"
    if device.is_char_device():
        return Finding(check, "ok", f"made through {device}")
    return Finding(check, "warn", f"cannot be made: no {device}", "modprobe tun")


def _open_files(limit: int) -> Finding:
    check = "open files"
    if limit == resource.RLIM_INFINITY or limit >= OPEN_FILES:
        return Finding(check, "ok", f"at most {limit}")
    detail = f"at most {limit}, which a large topology exceeds"
    return Finding(check, "warn", detail, f"ulimit -n {OPEN_FILES}")


def _tools() -> Finding:
    check = "tools"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not missing:
        return Finding(check, "ok", ", ".join(TOOLS))
    packages = " ".join(TOOLS[tool] for tool in missing)
    return Finding(check, "warn", f"missing: {', '.join(missing)}", f"apt-get install {packages}")


def _leftovers() -> list[Finding]:
    check = "leftovers"
    try:
        found = leftovers.find()
    except NfvError as error:
        return [Finding(check, "warn", error.message, _AS_ROOT)]
    if not found:
        return [Finding(check, "ok", "none")]
    return [
        Finding(check, "warn", f"{leftover.what} belongs to no applied topology", leftover.command)
        for leftover in found
    ]
