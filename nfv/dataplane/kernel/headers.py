"""Find the kernel headers that bcc compiles against.

An XDP program uses only what the kernel promises to keep, so the headers of any installed kernel
serve where those of the running one are not to be had. Debian keeps a kernel's headers in two trees
that refer to each other through make; bcc knows one directory, so the two are merged, by symbolic
links, in a cache.
"""

from __future__ import annotations

import lzma
import os
import platform
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from nfv.ebpf.compiler import cache_directory
from nfv.errors import InputError

MODULES = Path("/lib/modules")
KHEADERS = Path("/sys/kernel/kheaders.tar.xz")

_ARCH = {"x86_64": "x86", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_NEEDED = (
    "include/linux/kconfig.h",
    "include/generated/autoconf.h",
    "include/uapi/linux/bpf.h",
    f"arch/{_ARCH}/include/uapi/asm",
    f"arch/{_ARCH}/include/generated",
)


def find() -> Path:
    """The directory for bcc's BCC_KERNEL_SOURCE.

    What that variable names already comes first, then the headers of the running kernel, then those
    that the kernel carries itself (CONFIG_IKHEADERS), then the newest installed ones that are not
    newer than the running kernel, then the oldest that are. Raises `InputError` with the command
    that installs some.
    """
    chosen = os.environ.get("BCC_KERNEL_SOURCE")
    if chosen is not None:
        return _chosen(Path(chosen))
    return locate(platform.release(), MODULES, KHEADERS, cache_directory() / "headers")


def locate(release: str, modules: Path, kheaders: Path, cache: Path) -> Path:
    """What `find` does, for a kernel release and given places."""
    installed = sorted(
        (path.parent.name for path in modules.glob("*/build")),
        key=lambda candidate: _distance(candidate, release),
    )
    if release in installed:
        installed.remove(release)
        tree = _installed(modules / release, cache)
        if tree is not None:
            return tree
    if kheaders.exists():
        return _cached(cache / f"{release}-kheaders", lambda target: _unpack(kheaders, target))
    for candidate in installed:
        tree = _installed(modules / candidate, cache)
        if tree is not None:
            return tree
    raise InputError("no kernel headers are installed", f"apt-get install {package()}")


def package() -> str:
    """The distribution's package that always has kernel headers of its current kernel."""
    try:
        distribution = platform.freedesktop_os_release()["ID"]
    except OSError:
        distribution = "linux"
    if distribution == "ubuntu":
        return "linux-headers-generic"
    machine = platform.machine()
    return "linux-headers-" + {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def version(release: str) -> list[int]:
    """The leading numbers of a release: 6.1.0-56-amd64 gives 6, 1, 0, 56."""
    leading = re.match(r"[0-9.-]*", release)
    return [int(part) for part in re.findall(r"\d+", leading[0])] if leading else []


def _chosen(tree: Path) -> Path:
    if not _complete(tree):
        raise InputError(
            f"BCC_KERNEL_SOURCE is {tree}, which has no complete kernel headers",
            "unset BCC_KERNEL_SOURCE",
        )
    return tree


def _distance(candidate: str, running: str) -> tuple[bool, list[int]]:
    """Sorts releases by preference: not newer than the running one first, the closest first."""
    numbers = version(candidate)
    newer = numbers > version(running)
    return newer, numbers if newer else [-part for part in numbers]


def _complete(tree: Path) -> bool:
    return all((tree / name).exists() for name in _NEEDED)


def _installed(kernel: Path, cache: Path) -> Path | None:
    """The complete headers of one directory of /lib/modules, merged where they are in two parts."""
    build = kernel / "build"
    if _complete(build):
        return build.resolve()
    parts = [path.resolve() for path in (build, kernel / "source") if path.exists()]
    if not all(any((part / name).exists() for part in parts) for name in _NEEDED):
        return None
    return _cached(cache / kernel.name, lambda target: _merge_parts(parts, target))


def _cached(tree: Path, make: Callable[[Path], None]) -> Path:
    """A tree of the cache, made if it is not there whole; never visible half made."""
    if _complete(tree):
        return tree
    try:
        tree.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tree.parent, prefix=".making-") as scratch:
            made = Path(scratch) / tree.name
            make(made)
            _replace(tree, made)
    except OSError as error:
        raise InputError(
            f"cannot prepare kernel headers in {tree}: {error.strerror}",
            "run as root, or set NFV_CACHE_DIR to a directory that can be written",
        ) from error
    return tree


def _replace(tree: Path, made: Path) -> None:
    if _complete(tree):
        return  # another process was faster, with the same result
    shutil.rmtree(tree, ignore_errors=True)
    try:
        made.rename(tree)
    except OSError:
        if not _complete(tree):
            raise


def _merge_parts(parts: Sequence[Path], target: Path) -> None:
    for name in ("include", f"arch/{_ARCH}/include"):
        _merge([part / name for part in parts if (part / name).is_dir()], target / name)


def _merge(layers: Sequence[Path], target: Path) -> None:
    """Link what is in one layer; what several have is merged if a directory, else the first's."""
    target.mkdir(parents=True)
    for name in sorted({entry.name for layer in layers for entry in layer.iterdir()}):
        sources = [layer / name for layer in layers if (layer / name).exists()]
        directories = [source for source in sources if source.is_dir()]
        if len(directories) > 1:
            _merge(directories, target / name)
        elif sources:
            (target / name).symlink_to(sources[0])


def _unpack(archive: Path, target: Path) -> None:
    with lzma.open(archive) as stream, tarfile.open(fileobj=stream) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(target)
