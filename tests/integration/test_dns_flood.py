"""A sender that floods the name server with what the fast path does not know."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import dns.message
import pytest
from dns.name import from_text
from dns.rcode import Rcode

from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import servicectl
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, example

pytestmark = pytest.mark.root

SERVER = "10.0.1.53"
RATE = 40
FLOOD = 4000  # datagrams in a row: more than any queue has room for


@pytest.fixture(scope="module")
def net() -> Iterator[Lab]:
    text = example("dns").replace("    zone: lab", f"    rate: {RATE}\n    zone: lab")
    with applied(text, "flood") as made:
        yield made


def _socket(net: Lab, node: str) -> socket.socket:
    with netns.entered(net.netns(node)):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(traffic.PATIENCE)
    made.connect((SERVER, 53))
    return made


def _query(name: str) -> bytes:
    return dns.message.make_query(from_text(f"{name}.example.org"), "A").to_wire()


def test_a_flood_harms_nobody_else(net: Lab) -> None:
    """Each of another sender's questions is answered, though asked once behind the flood."""
    with _socket(net, "lan") as flooding, _socket(net, "wan") as other:
        for turn in range(5):
            for query in [_query(f"flood-{turn}-{number}") for number in range(FLOOD)]:
                flooding.send(query)
            other.send(_query(f"other-{turn}"))
            assert dns.message.from_wire(other.recv(4096)).rcode() == Rcode.NXDOMAIN
    asked = servicectl.ask(net.name, "dns", "status")["service"]["queries"]  # type: ignore[index]
    assert asked < FLOOD
