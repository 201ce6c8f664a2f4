"""The columns of the tables: how each way is called, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from benchmarks import paths, routes, rules, variants
from benchmarks.chains import chain
from benchmarks.live import Loader
from benchmarks.wired import Path
from nfv.chain.topology import Topology
from nfv.dataplane.kernel import netns
from nfv.ebpf.compose import Composer, compose
from nfv.errors import InputError

Builder: TypeAlias = Callable[[Loader, str], AbstractContextManager[Path]]
"""Makes a way, given a name for what it is made of."""

DROP, BARE = "bare XDP drop", "bare redirect"
OURS, UNCACHED = "ours", "ours, no flow cache"
TAIL_CALLS, POLYCUBE = "a tail call each", "Polycube-like"
OPEN, STATELESS = "ours, stateless", "ours, stateless, no flow cache"
FIB, LINUX = "bpf_fib_lookup", "Linux"
NFTABLES, MASQUERADE = "Linux, conntrack", "Linux, masquerade"
SOURCE_NAT = "Linux, source NAT"
NFT_STATELESS = "Linux, stateless rules"
BRIDGE = "Linux bridge"

_MAX_CONNECTIONS = "net/netfilter/nf_conntrack_max"


def drop(_loader: Loader, name: str) -> AbstractContextManager[Path]:
    """Frames end where they come in."""
    return paths.drop(name)


def bare(loader: Loader, name: str) -> AbstractContextManager[Path]:
    """The limit."""
    return paths.bare_redirect(loader, name)


def ours(topology: Callable[[str], Topology], composer: Composer = compose) -> Builder:
    """A chain of ours, by what makes its topology of a name."""
    return lambda _loader, name: chain(topology(name), composer)


def variants_of(topology: Callable[[str], Topology]) -> dict[str, Builder]:
    """The same functions, cut into programs in all ways."""
    return {
        OURS: ours(topology),
        UNCACHED: ours(topology, variants.UNCACHED),
        TAIL_CALLS: ours(topology, variants.TAIL_CALLS),
        POLYCUBE: ours(topology, variants.POLYCUBE),
    }


def fib(loader: Loader, name: str) -> AbstractContextManager[Path]:
    """A router in XDP that asks Linux."""
    return paths.fib_lookup(loader, name)


def linux(_loader: Loader, name: str) -> AbstractContextManager[Path]:
    """Linux, without filter."""
    return paths.linux(name)


def bridge(ports: int) -> Builder:
    """Linux between so many hosts on one segment."""
    return lambda _loader, name: paths.bridge(name, ports)


def nftables(rule_count: int, flows: int, more: str = "") -> Builder:
    """Linux with conntrack and rules, for so many flows at once."""

    @contextmanager
    def build(_loader: Loader, name: str) -> Iterator[Path]:
        with paths.linux(name, rules.as_nft(rule_count) + more) as path:
            _check_room(path, flows)
            yield path

    return build


def nft_stateless(rule_count: int) -> Builder:
    """Linux with rules that look at each packet."""
    return lambda _loader, name: paths.linux(name, rules.as_nft(rule_count, stateful=False))


def with_routes(builder: Builder, tables: Callable[[], Sequence[routes.Table]]) -> Builder:
    """The way, with routes in its router if it has one."""

    @contextmanager
    def build(loader: Loader, name: str) -> Iterator[Path]:
        with builder(loader, name) as path:
            if path.router is not None:
                for table in tables():
                    routes.install(path.router, table)
                path.follow()
            yield path

    return build


def silent(builder: Builder) -> Builder:
    """The way, its hosts and plain devices without IPv6, so that none of many speaks by itself."""

    @contextmanager
    def build(loader: Loader, name: str) -> Iterator[Path]:
        with builder(loader, name) as path:
            for space in {device.netns for device in (path.near, *path.far_hosts, *path.plain)}:
                with netns.entered(space):
                    netns.write_sysctl("net/ipv6/conf/all/disable_ipv6", 1)
            yield path

    return build


def _check_room(path: Path, flows: int) -> None:
    """Refuse what a setting of the machine, not the benchmark's to change, has no room for."""
    assert path.router is not None
    with netns.entered(path.router):
        limit = int(netns.read_sysctl(_MAX_CONNECTIONS))
    if flows > limit:
        raise InputError(f"nf_conntrack_max is {limit:,} on this machine")
