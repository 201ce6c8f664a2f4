"""Pictures of topologies: what is declared is in them, and Graphviz reads what was written."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nfv.chain.drawing import Note, dot, draw, mermaid
from nfv.chain.topology import load, loads
from nfv.cli.main import main
from nfv.errors import ExitCode

EXAMPLES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))

TEXT = """\
name: small
saps:
  lan: {kind: host, ip: 10.0.0.1/24}
  vm: {kind: tap}
vnfs:
  fw: {type: firewall}
  gw: {type: router, interfaces: {lan: {ip: 10.0.0.2/24}, vm: {ip: 10.0.1.2/24}}}
chains:
  web: {path: [lan, fw, "gw:lan"], match: {proto: tcp, dport: [80, 443]}}
  rest: {path: [lan, "gw:lan"]}
  out: {path: ["gw:vm", vm]}
"""
NOTES = {"fw": Note(["rule 1.5k pps"], alarm=True), "vm": Note(['say "<&>\\"'])}

needs_graphviz = pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")


def test_a_flowchart_has_everything_that_is_declared() -> None:
    assert mermaid(draw(loads(TEXT), {})) == (
        "flowchart LR\n"
        '  n0(["lan<br>host<br>10.0.0.1/24"])\n'
        '  n1(["vm<br>tap"])\n'
        '  n2["fw<br>firewall"]\n'
        '  n3["gw<br>router"]\n'
        '  n0 ---|"web<br>proto tcp<br>dport 80, 443"| n2\n'
        '  n2 ---|"gw:lan"| n3\n'
        '  n0 ---|"rest<br>gw:lan"| n3\n'
        '  n3 ---|"out<br>gw:vm"| n1\n'
    )


def test_notes_are_shown_and_what_could_be_markup_is_not_markup() -> None:
    text = mermaid(draw(loads(TEXT), NOTES))
    assert '  n1(["vm<br>tap<br>say #quot;#lt;#amp;#gt;\\#quot;"])\n' in text
    assert '  n2["fw<br>firewall<br>rule 1.5k pps"]\n' in text
    assert text.endswith("  classDef alarm stroke:#c00,stroke-width:3px\n  class n2 alarm\n")


def graphviz(text: str, kind: str) -> str:
    done = subprocess.run(["dot", f"-T{kind}"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs_graphviz
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_graphviz_finds_the_nodes_and_links_of_every_example(path: Path) -> None:
    topology = load(path)
    text = graphviz(dot(draw(topology, {})), "plain")
    lines = [[*shlex.split(line), "", ""] for line in text.splitlines()]
    assert {words[1] for words in lines if words[0] == "node"} == {*topology.saps, *topology.vnfs}
    stations = [
        [chain.near.node, *chain.functions, chain.far.node] for chain in topology.chains.values()
    ]
    expected = [pair for one in stations for pair in pairwise(one)]
    found = [(near, far) for kind, near, far, *_ in lines if kind == "edge"]
    assert sorted(found) == sorted(expected)


@needs_graphviz
def test_graphviz_shows_the_text_as_it_is() -> None:
    picture = ElementTree.fromstring(graphviz(dot(draw(loads(TEXT), NOTES)), "svg"))
    words = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"lan", "10.0.0.1/24", "rule 1.5k pps", "dport 80, 443", 'say "<&>\\"'} <= words


@needs_graphviz
def test_the_verb_makes_an_svg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(TEXT)
    assert main(["graph", str(file), "--format", "svg"]) == ExitCode.OK
    assert ElementTree.fromstring(capsys.readouterr().out).tag.endswith("svg")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_verb_draws_every_example(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(path)]) == ExitCode.OK
    mermaid_text = capsys.readouterr().out
    assert main(["graph", str(path), "--format", "dot"]) == ExitCode.OK
    dot_text = capsys.readouterr().out
    assert len(re.findall(" --- ?", mermaid_text)) == len(re.findall('" -- "', dot_text)) > 0


def test_without_graphviz_the_user_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["graph", str(EXAMPLES[0]), "--format", "svg"]) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err.endswith("hint: apt-get install graphviz\n")
