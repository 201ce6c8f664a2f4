"""The choice and merging of kernel headers, on trees laid out as the distributions do."""

from __future__ import annotations

import platform
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nfv.dataplane.kernel import headers
from nfv.errors import InputError

ARCH = {"x86_64": "x86", "aarch64": "arm64"}[platform.machine()]
COMMON = (
    "include/linux/kconfig.h",
    "include/uapi/linux/bpf.h",
    f"arch/{ARCH}/include/uapi/asm/x.h",
)
FLAVOUR = ("include/generated/autoconf.h", f"arch/{ARCH}/include/generated/y.h")


def lay(tree: Path, *names: str) -> Path:
    for name in names:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(path))
    return tree


class Machine:
    """A machine with kernel headers of its own, under a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules = root / "modules"
        self.kheaders = root / "kheaders.tar.xz"
        self.cache = root / "cache"

    def install(self, release: str, *names: str) -> Path:
        """Headers in one tree, as Ubuntu and the kernel's own build have them."""
        return lay(self.modules / release / "build", *names or COMMON + FLAVOUR)

    def install_split(self, release: str) -> None:
        """Headers in two trees, as Debian has them."""
        kernel = self.modules / release
        kernel.mkdir(parents=True)
        build = lay(self.root / "src" / f"{release}-flavour", *FLAVOUR)
        source = lay(self.root / "src" / f"{release}-common", *COMMON)
        (kernel / "build").symlink_to(build)
        (kernel / "source").symlink_to(source)

    def carry(self) -> None:
        """Headers inside the running kernel."""
        tree = lay(self.root / "carried", *COMMON, *FLAVOUR)
        with tarfile.open(self.kheaders, "w:xz") as archive:
            archive.add(tree, arcname=".")

    def locate(self, release: str = "6.8.0-40-generic") -> Path:
        return headers.locate(release, self.modules, self.kheaders, self.cache)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def assert_complete(tree: Path) -> None:
    for name in COMMON + FLAVOUR:
        assert (tree / name).read_text().endswith(name)


def test_whole_tree_of_the_running_kernel_is_used_in_place(machine: Machine) -> None:
    build = machine.install("6.8.0-40-generic")
    machine.install("6.8.0-41-generic")
    machine.carry()
    assert machine.locate() == build
    assert not machine.cache.exists()


def test_two_trees_are_merged(machine: Machine) -> None:
    machine.install_split("6.1.0-56-amd64")
    tree = machine.locate("6.1.0-56-amd64")
    assert tree == machine.cache / "6.1.0-56-amd64"
    assert_complete(tree)
    assert [path.name for path in machine.cache.iterdir()] == [tree.name]


def test_merged_tree_is_made_once(machine: Machine) -> None:
    machine.install_split("6.1.0-56-amd64")
    first = machine.locate("6.1.0-56-amd64").stat()
    assert machine.locate("6.1.0-56-amd64").stat() == first


def test_merged_tree_with_dangling_links_is_made_again(machine: Machine) -> None:
    machine.install_split("6.1.0-56-amd64")
    tree = machine.locate("6.1.0-56-amd64")
    (tree / "include" / "linux").unlink()
    (tree / "include" / "linux").symlink_to(machine.root / "removed")
    assert_complete(machine.locate("6.1.0-56-amd64"))


def test_many_processes_may_look_at_once(machine: Machine) -> None:
    machine.install_split("6.1.0-56-amd64")
    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(lambda _: machine.locate("6.1.0-56-amd64"), range(32)))
    assert set(trees) == {machine.cache / "6.1.0-56-amd64"}
    assert_complete(trees[0])
    assert [path.name for path in machine.cache.iterdir()] == ["6.1.0-56-amd64"]


def test_headers_inside_the_kernel_come_before_those_of_another(machine: Machine) -> None:
    machine.install("6.8.0-39-generic")
    machine.carry()
    tree = machine.locate()
    assert tree == machine.cache / "6.8.0-40-generic-kheaders"
    assert_complete(tree)


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        (["6.8.0-9-generic", "6.8.0-39-generic"], "6.8.0-39-generic"),
        (["5.15.0-200-generic", "6.1.0-1-generic"], "6.1.0-1-generic"),
        (["6.1.0-1-generic", "6.8.0-41-generic"], "6.1.0-1-generic"),
        (["6.11.0-1-generic", "6.9.0-1-generic"], "6.9.0-1-generic"),
        (["6.9.0-1-generic", "rescue"], "rescue"),
    ],
)
def test_newest_that_is_not_newer_than_the_kernel(
    machine: Machine, installed: list[str], chosen: str
) -> None:
    for release in installed:
        machine.install(release)
    assert machine.locate().parent.name == chosen


def test_incomplete_headers_are_passed_over(machine: Machine) -> None:
    machine.install("6.8.0-40-generic", *COMMON)
    machine.install("6.8.0-39-generic", *FLAVOUR)
    whole = machine.install("6.1.0-1-generic")
    assert machine.locate() == whole


def test_none_names_the_command(machine: Machine) -> None:
    with pytest.raises(InputError, match="no kernel headers") as caught:
        machine.locate()
    assert caught.value.hint == f"apt-get install {headers.package()}"


@pytest.mark.parametrize(
    ("distribution", "package"),
    [("ubuntu", "linux-headers-generic"), ("debian", "linux-headers-amd64")],
)
def test_package_of_the_distribution(
    monkeypatch: pytest.MonkeyPatch, distribution: str, package: str
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": distribution})
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert headers.package() == package


def test_cache_that_cannot_be_written(machine: Machine) -> None:
    machine.install_split("6.1.0-56-amd64")
    machine.cache.write_text("in the way")
    with pytest.raises(InputError, match="cannot prepare kernel headers") as caught:
        machine.locate("6.1.0-56-amd64")
    assert "NFV_CACHE_DIR" in (caught.value.hint or "")


def test_environment_comes_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = machine.install("6.1.0-1-generic")
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tree))
    assert headers.find() == tree


def test_environment_with_incomplete_headers(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(machine.root))
    with pytest.raises(InputError, match="BCC_KERNEL_SOURCE"):
        headers.find()
