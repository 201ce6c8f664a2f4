"""Named sets of a firewall as the file declares them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfv.chain import topology
from nfv.errors import TopologyError
from nfv.functions.firewall import Firewall
from tests.functions.firewalling import firewall

RULE = "action: drop, src_set: bad"


def test_addresses_of_the_file_and_of_another(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(firewall(RULE, sets="{bad: {addresses: 10.0.0.1, file: bad.txt}}"))
    (tmp_path / "bad.txt").write_text("# known\n192.0.2.1\n\n2001:db8::1 # by mail\n")
    fw = topology.load(file).vnfs["fw"]
    assert isinstance(fw, Firewall)
    packed = list(fw.config.sets["bad"].packed(fw.files))
    assert packed == [
        bytes([10, 0, 0, 1]),
        bytes([192, 0, 2, 1]),
        bytes.fromhex("20010db8" + "00" * 11 + "01"),
    ]


@pytest.mark.parametrize(
    ("rule", "sets", "where", "words"),
    [
        ("action: drop, dst_set: bat", "{bad: {}}", "t.yaml:10", "no set 'bat'"),
        (RULE, "{bad: {file: bad.txt}}", "bad.txt:2", "'10.0.0.0/8' is not an IPv4 or IPv6"),
        (RULE, "{bad: {file: ../t.yaml}}", "t.yaml:8", "is not below the directory"),
        (RULE, "{bad: {file: none.txt}}", "t.yaml:8", "cannot read none.txt: no such file"),
        (RULE, "{bad: {addresses: 10.0.0.0/8}}", "t.yaml:8", "has a prefix length"),
        (
            RULE,
            "{bad: {addresses: [192.0.2.1, 192.0.2.2]}}\n    set_size: 1",
            "t.yaml:8",
            "2 addresses in sets, set_size is 1",
        ),
        (
            RULE,
            "{bad: {}" + "".join(f", s{number}: {{}}" for number in range(8)) + "}",
            "t.yaml:8",
            "9 sets, the most is 8",
        ),
    ],
)
def test_what_is_wrong_with_sets(
    tmp_path: Path, rule: str, sets: str, where: str, words: str
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(firewall(rule, sets=sets))
    (tmp_path / "bad.txt").write_text("192.0.2.1\n10.0.0.0/8\n")
    with pytest.raises(TopologyError) as caught:
        topology.load(file)
    (problem,) = caught.value.problems
    position = f"{Path(problem.position.file).name}:{problem.position.line}"
    assert (position, words in problem.message) == (where, True), problem
