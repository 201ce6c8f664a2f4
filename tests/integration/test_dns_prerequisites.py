"""Prerequisites of updates (RFC 2136, section 3.2) on the wire: Knot DNS says the same of each."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from itertools import product

import dns.tsig
import pytest
from dns.name import from_text
from dns.opcode import Opcode
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.TSIG import TSIG

from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, example
from tests.services import oracle

pytestmark = pytest.mark.root

SERVER, OTHER = "10.0.1.53", "192.0.2.10"
ORIGIN = from_text("dyn.test")
SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
KEY = dns.tsig.Key("lab-key", SECRET, "hmac-sha256")

MORE = f"""
    tsig: {{lab-key: {{secret: {SECRET}}}}}
    zones:
      dyn.test:
        ttl: 300
        update: lab-key
        records:
          - {{type: SOA, data: ns hostmaster 1 2 3 4 60}}
          - {{type: NS, data: ns}}
          - {{name: ns, type: A, data: 192.0.2.10}}
          - {{name: www, type: A, data: [192.0.2.80, 192.0.2.81]}}
          - {{name: alias, type: CNAME, data: www}}
          - {{name: a.deep, type: TXT, data: x}}
"""
ZONE = """$TTL 300
@ SOA ns hostmaster 1 2 3 4 60
@ NS ns
ns A 192.0.2.10
www A 192.0.2.80
www A 192.0.2.81
alias CNAME www
a.deep TXT x
"""

ANY, NONE, IN, CH = RdataClass.ANY, RdataClass.NONE, RdataClass.IN, RdataClass.CH
NAMES = ["dyn.test", "www.dyn.test", "WWW.dyn.test", "alias.dyn.test", "deep.dyn.test"]
NAMES += ["nobody.dyn.test", "elsewhere.test"]
TYPES = [RdataType.ANY, RdataType.A, RdataType.TXT, RdataType.CNAME]
ADDRESSES = [bytes((192, 0, 2, last)) for last in (80, 81)]

Record = tuple[str, RdataType, RdataClass, int, bytes]
"""Owner, type, class, TTL and data."""

MATRIX: list[tuple[Record, ...]] = [
    *(((name, kind, way, 0, b""),) for name, kind, way in product(NAMES, TYPES, (ANY, NONE))),
    *((("www.dyn.test", RdataType.A, way, 0, ADDRESSES[0]),) for way in (ANY, NONE)),  # and data
    (("www.dyn.test", RdataType.A, CH, 0, ADDRESSES[0]),),
    *(
        tuple(("www.dyn.test", RdataType.A, IN, 0, data) for data in chosen)
        for chosen in (ADDRESSES, ADDRESSES[::-1], ADDRESSES[:1], [*ADDRESSES, b"\xc0\0\2\1"])
    ),
    (("nobody.dyn.test", RdataType.A, IN, 0, ADDRESSES[0]),),
    tuple(("www.dyn.test", RdataType.A, IN, 9, data) for data in ADDRESSES),
]

WITH_TTL = [(("www.dyn.test", RdataType.A, way, 1, b""),) for way in (ANY, NONE)]
"""dnspython reads no TTL of a record without data, so that these are not found to be malformed."""


def _record(record: Record) -> bytes:
    name, kind, rdclass, ttl, data = record
    owner = from_text(name).to_wire()
    assert owner is not None
    return owner + struct.pack("!HHIH", kind, rdclass, ttl, len(data)) + data


def _update(wanted: tuple[Record, ...]) -> bytes:
    """An update that changes nothing, signed."""
    head = struct.pack("!2H4H", 7, Opcode.UPDATE << 11, 1, len(wanted), 0, 0)
    zone = ORIGIN.to_wire()
    assert zone is not None
    wire = head + zone + struct.pack("!HH", RdataType.SOA, IN)
    wire += b"".join(map(_record, wanted))
    record = TSIG(ANY, RdataType.TSIG, KEY.algorithm, 0, 300, b"", 7, Rcode.NOERROR, b"")
    made = dns.tsig.sign(wire, KEY, record, int(time.time()), b"")[0]
    signature = _record(("lab-key", RdataType.TSIG, ANY, 0, made.to_wire()))
    return wire[:10] + b"\0\1" + wire[12:] + signature


@pytest.fixture(scope="module")
def net() -> Iterator[Lab]:
    text = example("dns").replace("\n    zones:\n", MORE)
    with applied(text, "prerequisites") as made:
        yield made


@pytest.fixture(scope="module")
def knot(net: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    place, directory = net.netns("wan"), tmp_path_factory.mktemp("knot")
    key = ("lab-key", SECRET)
    with oracle.knot_primary(place, directory, {ORIGIN: ZONE}, OTHER, key, SERVER):
        yield


def _ask(net: Lab, server: str, wire: bytes) -> Rcode:
    with traffic.asking(net.netns("lan"), server) as asked:
        asked.send(wire)
        return Rcode(asked.recv(4096)[3] & 0xF)


@pytest.mark.usefixtures("knot")
def test_prerequisites(net: Lab) -> None:
    different = []
    for wanted in MATRIX:
        wire = _update(wanted)
        said = [_ask(net, server, wire).name for server in (SERVER, OTHER)]
        if said[0] != said[1]:
            different.append((wanted, said))
    assert not different, "\n".join(map(str, different))


@pytest.mark.usefixtures("knot")
def test_a_ttl_without_data_is_not_seen(net: Lab) -> None:
    said = [
        [_ask(net, server, _update(wanted)) for server in (SERVER, OTHER)] for wanted in WITH_TTL
    ]
    assert said == [[Rcode.NOERROR, Rcode.FORMERR], [Rcode.YXRRSET, Rcode.FORMERR]]
