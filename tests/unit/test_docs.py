"""The documentation is true: examples load, links resolve, reference pages are up to date."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfv import functions, reference
from nfv.chain import topology
from nfv.cli.main import VERBS
from nfv.ebpf import sources
from nfv.testing import case
from nfv.traffic import profile

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
NEW_FUNCTION = "dscp"  # which CONTRIBUTING.md adds
PROFILE = "flows:"  # a key of profiles of traffic, likewise
CASE = "replay:"  # a key of test cases, which topologies have not

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_NAMED_FILE = re.compile(r"^`([\w/.-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"`((?:nfv|docs|tests|scripts|topologies)/[\w./-]+)`")
_COMMAND = re.compile(r"(?:`|^[#$] |^sudo )nfvctl ([a-z]+)\b", re.MULTILINE)
_ENUMERATOR = re.compile(r"\bNF_REASON_(\w+)\s*=\s*\d+")
_ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _topologies() -> Iterator[tuple[str, str]]:
    """Every YAML block that is a whole topology, and every example file."""
    for page in PAGES:
        for number, (language, text) in enumerate(_FENCE.findall(page.read_text()), 1):
            is_other = NEW_FUNCTION in text or CASE in text or PROFILE in text
            if language == "yaml" and not is_other:
                yield f"{_id(page)}, block {number}", text
    for path in sorted((ROOT / "topologies").glob("*.yaml")):
        yield _id(path), path.read_text()


def _profiles() -> Iterator[str]:
    """Every YAML block that says what traffic a bench sends."""
    for page in PAGES:
        blocks = _FENCE.findall(page.read_text())
        yield from (text for language, text in blocks if language == "yaml" and PROFILE in text)


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    headings = _HEADING.findall(_prose(page))
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize(
    ("where", "text"), [pytest.param(*one, id=one[0]) for one in _topologies()]
)
def test_a_yaml_block_is_a_topology_that_loads(where: str, text: str) -> None:
    assert topology.loads(text, where).chains


@pytest.mark.parametrize("text", list(_profiles()))
def test_a_profile_of_traffic_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    assert profile.load(path).sizes


def test_the_case_of_the_page_loads(tmp_path: Path) -> None:
    """Cases are run by tests/integration."""
    blocks = _FENCE.findall((DOCS / "testbench.md").read_text())
    (text,) = (text for language, text in blocks if language == "yaml" and CASE in text)
    (tmp_path / "topologies").symlink_to(ROOT / "topologies")
    (tmp_path / "cases").mkdir()
    path = tmp_path / "cases" / case.SUFFIX
    path.write_text(text)
    assert case.load(path).config.title


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_prose(page)):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_files_that_are_named_exist(page: Path) -> None:
    named = {path for path in _PATH.findall(_prose(page)) if NEW_FUNCTION not in path}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_verbs_that_are_named_exist(page: Path) -> None:
    verbs = {verb for section in VERBS.values() for verb in section}
    assert set(_COMMAND.findall(page.read_text())) <= verbs


def test_reference_pages_are_up_to_date() -> None:
    differing = [
        _id(path)
        for path, text in reference.pages(DOCS).items()
        if not path.exists() or path.read_text() != text
    ]
    assert differing == [], "run .venv/bin/python -m nfv.reference docs"


def test_every_function_has_a_page_and_no_other_has() -> None:
    assert {path.stem for path in (DOCS / "functions").glob("*.md")} == set(functions.known())


def test_the_table_of_reasons_has_all_that_the_header_defines() -> None:
    table = (DOCS / "architecture.md").read_text().partition("<!-- begin reasons -->")[2]
    listed = _ROW.findall(table.partition("<!-- end reasons -->")[0])
    defined = [name.lower() for name in _ENUMERATOR.findall(sources.read("nf.h"))]
    assert listed == [name for name in defined if name != "count"]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the function that CONTRIBUTING.md adds."""
    tree = tmp_path_factory.mktemp("contributing")
    for part in ("nfv", "topologies"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in _NAMED_FILE.findall((ROOT / "CONTRIBUTING.md").read_text()):
        assert not (tree / path).exists()
        (tree / path).write_text(text)
    return tree


def _python(tree: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _nfvctl(tree: Path, *arguments: str) -> str:
    run = "import sys; from nfv.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return _python(tree, "-c", run, *arguments)


def test_the_function_of_contributing_is_composed_into_a_chain(extended: Path) -> None:
    example = f"topologies/{NEW_FUNCTION}.yaml"
    assert f"{example}: valid" in _nfvctl(extended, "validate", example)
    text = _nfvctl(extended, "render", example, "left")
    called = [line.strip() for line in text.splitlines() if "f0_process" in line]
    for line in called:
        assert line in (ROOT / "CONTRIBUTING.md").read_text()
    assert any(line.startswith("verdict = ") for line in called)
    assert "self_" not in text


def test_the_function_of_contributing_gets_a_page(extended: Path) -> None:
    (extended / "docs").mkdir(exist_ok=True)
    _python(extended, "-m", "nfv.reference", "docs")
    page = (extended / "docs" / "functions" / f"{NEW_FUNCTION}.md").read_text()
    assert "| `mark` | 0 to 63 | required |" in page
    assert "rfc2474" in page
