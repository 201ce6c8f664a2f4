"""Profiles of traffic: what a file says, and what is wrong in it, with file and line."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path

import pytest

from nfv.chain.report import format_problem
from nfv.errors import TopologyError
from nfv.traffic.profile import STANDARD_SIZES, Profile, load, plain, schema

WHOLE = """\
proto: tcp
src: 10.0.1.0/24
dst: [192.0.2.0/24, 198.51.100.7]
sport: 2000-2999
dport: [80, 8000-8100]
flows: 500
churn: 100
sizes: [64, 1518, imix]
dst_mac: 02:00:00:00:00:01
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "profile.yaml"
    path.write_text(text)
    return path


def test_a_profile_is_read(tmp_path: Path) -> None:
    found = load(written(tmp_path, WHOLE))
    assert found == Profile.model_validate(
        {
            "proto": "tcp",
            "src": ["10.0.1.0/24"],
            "dst": ["192.0.2.0/24", "198.51.100.7"],
            "sport": "2000-2999",
            "dport": [80, "8000-8100"],
            "flows": 500,
            "churn": 100,
            "sizes": [64, 1518, "imix"],
            "dst_mac": "02:00:00:00:00:01",
        }
    )
    assert found.dst == (ip_network("192.0.2.0/24"), ip_network("198.51.100.7"))
    assert (found.ports, found.dport) == ((2000, 1000), ((80, 80), (8000, 8100)))


def test_the_schema_has_every_key_and_what_it_takes() -> None:
    found = schema()["properties"]
    assert set(found) == set(Profile.model_fields)
    assert found["proto"]["enum"] == ["udp", "tcp"]
    assert (found["flows"]["minimum"], found["flows"]["default"]) == (1, 64)
    assert all("description" in key for key in found.values())


def test_what_is_written_down_can_be_read_again(tmp_path: Path) -> None:
    found = load(written(tmp_path, WHOLE))
    values = {key: value for key, value in plain(found).items() if value is not None}
    text = json.dumps({**values, "sizes": [64, 1518, "imix"]})
    assert load(written(tmp_path, text)) == found


def test_every_key_has_a_default(tmp_path: Path) -> None:
    found = load(written(tmp_path, "flows: 1\n"))
    assert found.sizes == tuple(map(str, STANDARD_SIZES))
    assert (found.proto, found.version, found.ports) == ("udp", 4, (1024, 64512))


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("flow: 3\n", "1:1", "unknown key 'flow'"),
        ("flows: 0\n", "1:8", "0 is too small, the least is 1"),
        ("flows: 2000000\n", "1:8", "2000000 is too large, the most is 1048576"),
        ("proto: udp\nsizes: [64, 63]\n", "2:13", "63 is not a frame size"),
        ("sizes: [64, 3405]\n", "1:13", "3405 is not a frame size"),
        ("sizes: mix\n", "1:8", "'mix' is not a frame size"),
        ("proto: icmp\n", "1:8", "'icmp' is not one of udp, tcp"),
        ("src: 10.0.0.1\ndst: 2001:db8::1\n", "2:1", "src and dst are of IPv4 and of IPv6"),
        ("sport: 1000-1010\nflows: 11\nchurn: 1\n", "3:1", "churn needs more source ports"),
        ("dport: 70000\n", "1:8", "port 70000 is too large"),
        ("- 1\n", "1:1", "must be a mapping"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TopologyError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert caught.value.message == "1 error in the profile"
    assert format_problem(problem).startswith(f"{path}:{place}: error:")
    assert message in problem.message


def test_one_flow_for_each_port_can_be_renewed(tmp_path: Path) -> None:
    assert load(written(tmp_path, "sport: 1000-1010\nflows: 10\nchurn: 1\n")).flows == 10
