"""What is composed for every entry of the example topologies.

A golden file has everything of a C text but the contents of the files that it is spliced from: in
their place stands which file it is, and from which line on.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from nfv.chain.graph import entries
from nfv.chain.hook import hooks
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology, loads
from nfv.ebpf import sources
from nfv.ebpf.compose import Unit, compose
from nfv.ebpf.render import render

HERE = Path(__file__).parent
UPDATE = "if it is meant, run: scripts/test tests/golden --update-golden"

_LINE = re.compile(r'#line (\d+) "(.+)"')
_CHAIN = "chain"


def composed(topology: Topology) -> dict[Attachment, Unit]:
    """What is attached at every entry."""
    graph = entries(topology)
    return {
        place: compose(topology, graph, graph[place], hook)
        for place, hook in hooks(topology).items()
    }


def golden_path(topology: Topology, place: Attachment) -> Path:
    return HERE / topology.name / f"{str(place).replace(':', '.')}.c"


def golden_text(unit: Unit) -> str:
    """The text of a golden file."""
    bound = [f"NF_LINK({i}): {link.kind} {link.attachment}" for i, link in enumerate(unit.links)]
    bound += [f"{prefix}: {name or 'classifier'}" for prefix, name in unit.instances.items()]
    return "".join(f"/* {line} */\n" for line in bound) + "\n".join(elided(unit.text)) + "\n"


def elided(text: str) -> Iterator[str]:
    """The lines of a text, without those that come from files."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        found = _LINE.fullmatch(lines[at])
        yield lines[at]
        at += 1
        if found and found[2] != _CHAIN:
            at += chunk_length(found[2], int(found[1]))


def chunk_length(name: str, first: int) -> int:
    """How many lines are spliced at once: up to the next file of the project that is included."""
    rest = sources.read(name).splitlines()[first - 1 :]
    ends = (count for count, line in enumerate(rest) if line.startswith('#include "'))
    return next(ends, len(rest))


def test_every_text_is_as_reviewed(topology: Topology, update: bool) -> None:
    found = {
        golden_path(topology, place): golden_text(unit)
        for place, unit in composed(topology).items()
    }
    if update:
        for path, text in found.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    directory = HERE / topology.name
    assert {path: path.read_text() for path in directory.iterdir()} == found, UPDATE


def test_the_same_topology_gives_the_same_texts(topology: Topology) -> None:
    """Also in another process, where sets and hashes have another order."""
    here = [(str(place), found.digest) for found in render(topology) for place in found.bindings]
    script = (
        "import sys; from nfv.chain.topology import loads; from nfv.ebpf.render import render; "
        "print(sorted((str(place), found.digest) for found in render(loads(sys.stdin.read())) "
        "for place in found.bindings))"
    )
    there = subprocess.run(
        [sys.executable, "-c", script],
        input=topology.source.text,
        capture_output=True,
        check=True,
        text=True,
        cwd=HERE.parents[1],
        env={"PYTHONHASHSEED": "1"},
    )
    assert there.stdout.strip() == str(sorted(here))


def test_equal_structure_gives_equal_texts() -> None:
    """Names, addresses and rules are no part of a text: they are bound, or in maps."""
    one, other = (
        loads(STRUCTURE.format(sap=sap, fw=fw, net=net, rule=rule))
        for sap, fw, net, rule in (
            ("lan", "fw", "10.0.0", "action: drop"),
            ("inside", "filter", "192.0.2", "action: accept, proto: udp, dport: 53"),
        )
    )
    texts = [[unit.text for unit in composed(topology).values()] for topology in (one, other)]
    assert texts[0] == texts[1]


STRUCTURE = """
name: structure
saps:
  {sap}: {{kind: host, ip: {net}.1/24}}
  far: {{kind: host, ip: {net}.2/24}}
vnfs:
  {fw}: {{type: firewall, rules: [{{{rule}}}]}}
chains:
  wire: {{path: [{sap}, {fw}, far]}}
"""


MAX_MAPS = 64  # of one program: the kernel's MAX_USED_MAPS
MAPS_OF_A_FIREWALL, SHARED_MAPS = 10, 16


def chain_of(count: int) -> Unit:
    """The text of a chain of so many firewalls."""
    names = [f"f{number}" for number in range(count)]
    functions = "".join(f"  {name}: {{type: firewall}}\n" for name in names)
    text = STRUCTURE.format(sap="lan", fw="f0", net="10.0.0", rule="action: drop")
    head, _, _ = text.partition("vnfs:")
    chains = f"chains:\n  wire: {{path: [lan, {', '.join(names)}, far]}}\n"
    return composed(loads(f"{head}vnfs:\n{functions}{chains}"))[Attachment("lan")]


def test_the_way_back_is_as_long_as_the_chain() -> None:
    """Each function is inlined once there and once back, however many may reject."""
    assert chain_of(16).text.count("_process(ctx, pkt, NF_DIR") <= 2 * 16


def test_no_program_of_a_long_chain_has_more_functions_than_its_maps_allow() -> None:
    unit = chain_of(16)
    _, _, programs = unit.text.partition('#line 1 "chain"')
    bodies = re.split(r"^int nfv_\w+\(", programs, flags=re.MULTILINE)[1:]
    assert len(bodies) == len(unit.programs)
    for body in bodies:
        functions = set(re.findall(r"\b(f\d+)_process", body))
        assert len(functions) * MAPS_OF_A_FIREWALL + SHARED_MAPS <= MAX_MAPS
