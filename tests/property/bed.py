"""The compiled programs of a random topology beside the model of it: the same frames, compared."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from itertools import product
from random import Random
from typing import Any

from scapy.layers.l2 import Ether

from nfv.chain.sap import Hook
from nfv.dataplane.kernel import bpf
from tests.functions.bench import Bench
from tests.property.counters import Counters
from tests.property.generate import rules
from tests.property.generate.routes import routes
from tests.property.generate.topologies import addresses_of, text_of, topology
from tests.property.generate.traffic import Input, Traffic
from tests.property.model.network import MAX_TAIL_CALLS, Joint, Network, Outcome
from tests.property.model.router import NextHop
from tests.property.model.verdicts import Key

LOOP = "loop"

Counted = Mapping[Key, tuple[int, int]]


class Disagreement(AssertionError):
    """The program did another thing than the model."""


class Bed:
    """A topology, its traffic, and the changes made to it meanwhile."""

    def __init__(self, seed: int, spec: Mapping[str, Any], bench: Bench) -> None:
        """`bench` is the topology, loaded."""
        self.seed = seed
        self.spec: dict[str, Any] = dict(spec)
        self._random = Random(seed)
        self.bench = bench
        self._begin()
        self.model = Network(self.spec, self.bench.counters)
        self.traffic = Traffic(self._random, self.spec)
        self.packets = 0
        self.reasons: set[str] = set()
        """Why packets ended or went on, so far."""
        self._fused: dict[Joint, bool] = {}
        self._routes: dict[str, dict[str, NextHop]] = {}
        for router in self.bench.routers:
            self._change_routes(router)
        self.bench.forget_flows()
        self.counters = Counters(self.bench)

    def _begin(self) -> None:
        """Bring programs that have been used before to the beginning."""
        for name, function in self.bench.topology.vnfs.items():
            if function.type == "firewall":
                self.bench.configure(name, text_of(self.spec))
        for name, tables in self.bench.routers.items():
            for interface in self.spec["vnfs"][name]["interfaces"]:
                tables.interface(interface, up=True)
        self.bench.clear()

    # Packets -------------------------------------------------------------------------------------

    def run(self, packets: int) -> None:
        """Let so many frames in. Raises `Disagreement` at the first that differs."""
        last = self.packets + packets
        while self.packets < last:
            sent = self.traffic.next()
            if not self.bench.takes(sent.frame):
                continue
            outcome = self.send(sent)
            if outcome.egress:
                self.traffic.delivered(outcome.egress, outcome.frame)

    def send(self, sent: Input) -> Outcome:
        """Let one frame in."""
        self.packets += 1
        verdict, frame = self.bench.execute(sent.place, sent.frame)
        counted = self.counters.changes()
        before = self._replaced()
        expected = self.model.receive(sent.place, sent.frame)
        if self._replaced() != before:
            self.bench.forget_flows()
        if any(key[-1] == LOOP for key in counted) or expected.endless:
            agrees = verdict == bpf.XDP_DROP and self._may_loop(expected, counted)
            expected = Outcome()
        else:
            forwarded = verdict == bpf.XDP_REDIRECT
            agrees = forwarded == (expected.egress is not None)
            agrees = agrees and (not forwarded or frame == expected.frame)
            agrees = agrees and self._is_counted(expected, counted)
        if not agrees:
            raise Disagreement(self._report(sent, expected, frame, counted))
        self.reasons.update(key[-1] for key in counted if key[0] in ("received", "reason"))
        if any(key[0] == "reason" and key[-1] == "rejected" for key in counted):
            self._allow_answers()
        return expected

    def check_connections(self) -> None:
        """Compare how many connections are known. Raises `Disagreement`."""
        for name, firewall in self.model.firewalls.items():
            for version, table in firewall.tables.items():
                pin = f"connections{version}"
                if not firewall.is_stateless:
                    found = len(list(self.bench.map_of(name, pin).items()))
                    if found != len(table):
                        raise Disagreement(
                            f"{self._moment()}: {name} has {found} connections of "
                            f"IPv{version}, expected are {len(table)}"
                        )

    def _replaced(self) -> int:
        """Connections that took the place of one that had ended.

        A limit of the flow cache (docs/architecture.md): packets of the later one are for a moment
        counted as those of the former.
        """
        return sum(
            table.replaced
            for firewall in self.model.firewalls.values()
            for table in firewall.tables.values()
        )

    def _may_loop(self, expected: Outcome, counted: Counted) -> bool:
        """Whether the packet may have been handed on too often.

        How many programs it passes at least, and how often it was counted where, depends on how
        walks are split into programs.
        """
        loops = [count for key, count in counted.items() if key[-1] == LOOP]
        return len(loops) == 1 and loops[0][0] == 1 and expected.programs > MAX_TAIL_CALLS

    def _is_counted(self, expected: Outcome, counted: Counted) -> bool:
        """Compare counters; learn, once for each place, whether a walk goes on in its program."""
        unknown = [joint for joint in expected.joints if joint not in self._fused]
        for choice in product((True, False), repeat=len(unknown)):
            learned = dict(zip(unknown, choice, strict=True))
            if expected.totals({**self._fused, **learned}) == counted:
                self._fused.update(learned)
                return True
        return False

    def _allow_answers(self) -> None:
        """Begin the limit on answers again: it is a matter of time, and has a test of its own."""
        rejects = self.bench.shared("rejects")
        rejects[0] = bytes(rejects.entry_size)

    # Changes -------------------------------------------------------------------------------------

    def change(self) -> None:
        """Change something that may change while packets flow."""
        random = self._random
        kind = random.random()
        if self.model.firewalls and kind < 0.5:
            self._change_rules(random.choice(sorted(self.model.firewalls)))
        elif self.model.routers and kind < 0.8:
            self._change_routes(random.choice(sorted(self.model.routers)))
        elif self.model.routers and kind < 0.9:
            self._change_interface(random.choice(sorted(self.model.routers)))
        elif kind < 0.95:
            self.bench.clear()
            self.model.clear()
        self.bench.forget_flows()
        self.counters.changes()

    def _change_rules(self, name: str) -> None:
        addresses = list(addresses_of(self.spec["saps"], self.spec["vnfs"]))
        config = rules.change(self._random, self.spec["vnfs"][name], addresses)
        self.spec["vnfs"] = {**self.spec["vnfs"], name: config}
        self.bench.configure(name, text_of(self.spec))
        self.model.firewalls[name].configure(config, self.bench.counters[name])

    def _change_routes(self, name: str) -> None:
        found = routes(self._random, self.spec, name)
        self._routes[name] = found
        tables = self.bench.routers[name]
        tables.clear()
        for prefix, hop in found.items():
            if hop.kind == "forward":
                tables.route(prefix, hop.interface, hop.mac, hop.mtu)
            elif hop.kind == "blackhole":
                tables.blackhole(prefix)
            elif hop.kind == "own":
                tables.own(ip_network(prefix).network_address)
            else:
                tables.punt(prefix)
        self.model.routers[name].route(found)

    def _change_interface(self, name: str) -> None:
        interfaces = self.model.routers[name].interfaces
        key = self._random.choice(sorted(interfaces))
        interfaces[key].up = not interfaces[key].up or self._random.random() < 0.5
        self.bench.routers[name].interface(key, up=interfaces[key].up)

    # Telling -------------------------------------------------------------------------------------

    def _moment(self) -> str:
        return f"seed {self.seed} at {self.bench.hook.name}, packet {self.packets}"

    def _report(self, sent: Input, expected: Outcome, frame: bytes, counted: Counted) -> str:
        """All that is needed to see it again."""
        unknown = dict.fromkeys(expected.joints, False)
        wanted = expected.totals({**unknown, **self._fused})
        lines = [
            f"{self._moment()}, in by {sent.place}",
            text_of(self.spec),
            *(
                f"{name}: {prefix} {hop}"
                for name, found in self._routes.items()
                for prefix, hop in found.items()
            ),
            f"packet:   {Ether(sent.frame)!r}",
            f"          {sent.frame.hex()}",
            f"expected: {expected.egress} {expected.frame.hex()}",
            f"found:    {frame.hex()}",
            *(f"expected: {key} {total}" for key, total in sorted(wanted.items())),
            *(f"found:    {key} {total}" for key, total in sorted(counted.items())),
        ]
        return "\n".join(lines)


def load(spec: Mapping[str, Any], hook: Hook = Hook.XDP) -> Bench:
    """Compile and load a topology."""
    return Bench(text_of(spec), hook=hook)


def draw(seed: int, routers: int) -> dict[str, Any]:
    """The topology of a seed, with so many routers."""
    return topology(Random(seed), "property", routers)
