"""The comparison itself: a model with one thing wrong is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import yaml

from tests.functions.bench import Bench
from tests.property import bed as beds
from tests.property.bed import Bed, Disagreement
from tests.property.model import answers, connections, edits, firewall, packets, router, rules
from tests.property.model.packets import Packet
from tests.property.model.verdicts import NEXT, Verdict

pytestmark = pytest.mark.root

SEED = 1
PACKETS = 5000

TOPOLOGY = """
name: property-sensitivity
saps:
  lan: {kind: host, ip: [10.0.1.10/24, "2001:db8:1::10/64"], mac: "02:00:00:00:00:01"}
  wan: {kind: host, ip: [10.0.2.10/24, "2001:db8:2::10/64"], mac: "02:00:00:00:00:02"}
vnfs:
  inner:
    type: firewall
    rules:
      - {name: web, action: accept, proto: tcp, dport: 0-1023}
      - {name: out, action: accept, direction: forward}
  outer:
    type: firewall
    stateless: true
    default: reject
    rules:
      - {name: tcp, action: accept, proto: tcp, direction: forward}
      - {name: udp, action: accept, proto: udp, dport: 1000-40000}
      - {name: back, action: accept, direction: reverse}
  nat: {type: snat, inside: 10.0.1.0/24, outside: 192.0.2.0/24, ports: 4321}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, "2001:db8:1::1/64"], mac: "02:00:00:00:00:03"}
      wan: {ip: [10.0.2.1/24, "2001:db8:2::1/64"], mac: "02:00:00:00:00:04"}
chains:
  inside: {path: [lan, inner, "gw:lan"]}
  outside: {path: ["gw:wan", outer, nat, wan]}
"""


@pytest.fixture(scope="module")
def loaded() -> Iterator[Bench]:
    with closing(beds.load(yaml.safe_load(TOPOLOGY))) as bench:
        yield bench


def run(bench: Bench) -> Bed:
    """Compare for a while."""
    bed = Bed(SEED, yaml.safe_load(TOPOLOGY), bench)
    bed.run(PACKETS)
    return bed


def test_nothing_is_found_in_the_model_as_it_is(loaded: Bench) -> None:
    """And the flow cache did take part."""
    assert run(loaded).counters.hits > PACKETS // 50


Patch = Callable[[Any], Any]


def last_rule_missing(original: Any) -> Any:
    def configure(self: Any, config: Any, places: Any) -> None:
        original(self, {**config, "rules": config.get("rules", ())[:-1]}, places)

    return configure


def one_hop_more(original: Any) -> Any:
    def send(packet: Packet, to: bytes, by: bytes) -> None:
        packet.ttl += 1
        original(packet, to, by)

    return send


def shortest_prefix(original: Any) -> Any:
    def route(self: Any, routes: Any) -> None:
        original(self, routes)
        self._routes.reverse()

    return route


def rules_ask_everyone(_: Any) -> Any:
    return lambda conditions, packet, forward: True


def errors_belong_to_nothing(_: Any) -> Any:
    return lambda packet: None


def never_closed(_: Any) -> Any:
    return lambda packet, known: False


def every_checksum_is_right(_: Any) -> Any:
    return lambda octets: 0


def everybody_is_told(_: Any) -> Any:
    return lambda packet: True


def later_fragments_pass(_: Any) -> Any:
    def passes(self: Any, packet: Packet) -> Verdict:
        return NEXT

    return passes


def quotes_are_longer(original: Any) -> Any:
    return {version: length + 2 for version, length in original.items()}


def checksums_stay(_: Any) -> Any:
    return lambda frame, at, edits: None


WRONG: dict[str, tuple[Any, str, Patch]] = {
    "a rule is missing": (firewall.Firewall, "configure", last_rule_missing),
    "rules hold for all": (rules.Conditions, "hold", rules_ask_everyone),
    "errors are not followed": (connections, "quoted_name", errors_belong_to_nothing),
    "connections never end": (connections, "begins_anew", never_closed),
    "later fragments pass": (firewall.Firewall, "_pass_later", later_fragments_pass),
    "a hop is not counted": (router, "_send", one_hop_more),
    "the shortest prefix wins": (router.Router, "route", shortest_prefix),
    "checksums are not looked at": (router, "internet_checksum", every_checksum_is_right),
    "everybody is told": (answers, "_may_be_told", everybody_is_told),
    "fewer extension headers are read": (packets, "MAX_EXTENSIONS", lambda most: most - 1),
    "checksums are not updated": (edits, "_update", checksums_stay),
    "quotes are longer": (answers, "QUOTES", quotes_are_longer),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_model_with_one_thing_wrong_is_found_out(
    loaded: Bench, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, patch = WRONG[wrong]
    monkeypatch.setattr(owner, name, patch(getattr(owner, name)))
    with pytest.raises(Disagreement):
        run(loaded)
