"""What a case sends: frames of captures and expressions, each with the moment when it is due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from scapy.layers.l2 import Ether
from scapy.packet import Packet

from nfv.dataplane.load import replay
from nfv.dataplane.load.injector import record_size
from nfv.dataplane.state import State
from nfv.dataplane.wiring import Wiring
from nfv.errors import InputError
from nfv.testing import fields
from nfv.testing.case import Replayed
from nfv.testing.fields import FieldName
from nfv.traffic import expression, pcap
from nfv.traffic.feed import Feed, Source, survey
from nfv.traffic.link import Macs
from nfv.traffic.pace import NANOSECONDS, Original
from nfv.traffic.rewrite import AddressMap

Timed = tuple[int, bytes]
"""A frame, and when it is due, in nanoseconds from the beginning."""


def timed(applied: State, wiring: Wiring, entry: Replayed, home: Path) -> list[Timed]:
    """The frames of an entry as they are sent. Raises `InputError` for a damaged capture."""
    maps = [AddressMap(old, new) for old, new in entry.map.items()]
    fit = replay.Fit(entry.src_mac, entry.dst_mac, maps)
    with TemporaryDirectory() as directory:
        path = Path(directory, "frames.pcap")
        if entry.pcap is None:
            macs = replay.source(applied, entry.at, path, fit).macs
            pcap.write(path, ((0, frame) for frame in built(entry.frames, macs)))
        else:
            path = home / entry.pcap
        source = replay.source(applied, entry.at, path, fit)
        found = list(_due(source, entry))
    values = resolved(entry.rewrite, wiring)
    start = round(entry.start * NANOSECONDS)
    return [(start + due, fields.written(data, values)) for due, data in found]


def _due(source: Source, entry: Replayed) -> Iterator[Timed]:
    found = survey(source, record_size)
    for reason, count in found.skipped.items():
        raise InputError(f"{source.path}: {count:,} of its packets cannot be sent: {reason}")
    for frame in Feed([source], [found], entry.timing, align=True).once():
        yield frame.due, frame.data


def built(texts: Iterable[str], macs: Macs) -> Iterator[bytes]:
    """The frames of expressions; MAC addresses that they leave out are `macs`."""
    for text in texts:
        for packet in expression.packets(text):
            yield bytes(_framed(packet, macs))


def _framed(packet: Packet, macs: Macs) -> Packet:
    whole = packet if isinstance(packet, Ether) else Ether() / packet
    for key, mac in (("dst", macs.destination), ("src", macs.source)):
        if key not in whole.fields:
            whole.setfieldval(key, mac.hex(":"))
    return whole


def resolved(values: Mapping[FieldName, int | str], wiring: Wiring) -> dict[FieldName, int | str]:
    """The same, with MAC addresses for the names of SAPs and interfaces ("gw:wan")."""
    macs = {str(place): port.mac for place, port in wiring.ports.items() if port.mac}
    return {
        name: macs.get(str(value), value) if name.is_mac else value
        for name, value in values.items()
    }


def send(applied: State, frames: Mapping[str, Sequence[Timed]]) -> int:
    """Send what is due at each SAP; return when the first was due, by the monotonic clock."""
    with TemporaryDirectory() as directory:
        sources = []
        for sap, found in frames.items():
            path = Path(directory, f"{sap}.pcap")
            pcap.write(path, sorted(found, key=lambda frame: frame[0]))
            sources.append(replay.source(applied, sap, path, replay.Fit()))
        feed = replay.prepare(sources, Original(), False, lambda path: None)
        run = replay.Replay(applied, feed, 1)
        run.run(lambda sent, total: None)
    first = min(due for found in frames.values() for due, _ in found)
    return run.begun - first
