"""Views: what clients are told by where they are; on the fast path, only what all are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfv.chain.topology import loads
from nfv.dataplane.resident import servicectl
from nfv.errors import TopologyError
from tests.integration.helpers.lab import Lab, applied, example
from tests.integration.helpers.names import dig, eventually

pytestmark = pytest.mark.root

VIEWS = """
    views:
      inside:
        clients: [10.0.1.0/24, "2001:db8:1::/64"]
        zones:
          example.org: {records: [{name: mail, type: A, data: 10.0.1.25}]}
          only.example: {records: [{name: www, type: A, data: 10.0.1.80}]}
    zones:
      shared.example:
        records:
          - {name: www, type: A, data: 192.0.2.7}
          - {name: alias, type: CNAME, data: mail.example.org.}
          - {name: hidden, type: CNAME, data: www.only.example.}
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Lab]:
    with applied(example("dns").replace("\n    zones:\n", VIEWS), "views") as made:
        yield made


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("mail.example.org", ["10.0.1.25"], ["192.0.2.25"]),
        ("web.example.org", [], ["192.0.2.80", "192.0.2.81"]),
        ("www.only.example", ["10.0.1.80"], []),
        (
            "alias.shared.example",
            ["10.0.1.25", "mail.example.org."],
            ["192.0.2.25", "mail.example.org."],
        ),
        ("www.shared.example", ["192.0.2.7"], ["192.0.2.7"]),
        ("lan.lab.example", ["10.0.1.10"], ["10.0.1.10"]),
    ],
)
@pytest.mark.parametrize("server", ["10.0.1.53", "2001:db8:1::53"])
def test_clients_are_told_by_where_they_are(
    net: Lab, name: str, inside: list[str], outside: list[str], server: str
) -> None:
    for _ in range(3):  # whoever has asked before
        assert dig(net, "lan", f"+norec @{server} {name}") == inside
        assert dig(net, "wan", f"+norec @{server} {name}") == outside


def test_what_all_are_told_is_on_the_fast_path(net: Lab) -> None:
    eventually(lambda: _service(net)["prepared"] is not None)
    for name, answered in [
        ("www.shared.example", 0),
        ("mail.example.org", 2),
        ("alias.shared.example", 2),
        ("hidden.shared.example", 2),
    ]:
        before = _service(net)["queries"]
        for node in ("lan", "wan"):
            net.run(node, f"dig +norec +time=3 +tries=1 @10.0.1.53 {name}")
        assert _service(net)["queries"] == before + answered, name


def _service(net: Lab) -> dict[str, int]:
    found: dict[str, int] = servicectl.ask(net.name, "dns", "status")["service"]  # type: ignore[assignment]
    return found


def test_a_view_is_checked() -> None:
    text = example("dns").replace("\n    zones:\n", VIEWS)
    wrong = text.replace("data: 10.0.1.25}]", "data: 10.0.1}], update: key")
    with pytest.raises(TopologyError) as caught:
        loads(wrong)
    problems = {problem.path: problem.message for problem in caught.value.problems}
    zone = "vnfs.dns.views.inside.zones.example.org"
    assert problems == {
        f"{zone}.update": "a zone of a view does not change by itself",
        f"{zone}.records[0].data": "the data does not fit the record's type",
    }
