"""The JSON Schema: complete, and in agreement with the model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfv import functions
from nfv.chain.sap import KINDS
from nfv.chain.schema import schema
from nfv.chain.source import read

TOPOLOGIES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))
SCHEMA = schema()

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
}
ANNOTATIONS = {"$schema", "$defs", "title", "description", "examples", "default"}


def valid(value: Any, part: Any) -> bool:
    """Whether `value` satisfies a schema, for the keywords that ours uses (draft 2020-12)."""
    return all(holds(value, key, part) for key in part.keys() - ANNOTATIONS)


def holds(value: Any, keyword: str, part: Any) -> bool:
    wanted = part[keyword]
    if keyword == "$ref":
        return valid(value, SCHEMA["$defs"][wanted.removeprefix("#/$defs/")])
    if keyword == "type":
        return isinstance(value, TYPES[wanted]) and (wanted == "boolean") == isinstance(value, bool)
    if keyword == "const":
        return bool(value == wanted)
    if keyword == "enum":
        return value in wanted
    if keyword == "anyOf":
        return any(valid(value, choice) for choice in wanted)
    if keyword == "oneOf":
        return sum(valid(value, choice) for choice in wanted) == 1
    if keyword == "minimum":
        return not isinstance(value, int) or value >= int(wanted)
    if keyword == "maximum":
        return not isinstance(value, int) or value <= int(wanted)
    if keyword in ("pattern", "maxLength"):
        return not isinstance(value, str) or text_holds(value, keyword, wanted)
    if keyword in ("items", "minItems"):
        return not isinstance(value, list) or list_holds(value, keyword, wanted)
    return not isinstance(value, dict) or object_holds(value, keyword, part)


def text_holds(value: str, keyword: str, wanted: Any) -> bool:
    if keyword == "maxLength":
        return len(value) <= int(wanted)
    return re.search(wanted, value) is not None


def list_holds(value: list[Any], keyword: str, wanted: Any) -> bool:
    if keyword == "minItems":
        return len(value) >= int(wanted)
    return all(valid(item, wanted) for item in value)


def object_holds(value: dict[str, Any], keyword: str, part: Any) -> bool:
    wanted = part[keyword]
    properties, patterns = part.get("properties", {}), part.get("patternProperties", {})
    if keyword == "required":
        return set(wanted) <= value.keys()
    if keyword == "minProperties":
        return len(value) >= int(wanted)
    if keyword == "propertyNames":
        return all(valid(key, wanted) for key in value)
    if keyword == "properties":
        return all(valid(value[key], wanted[key]) for key in value.keys() & wanted.keys())
    if keyword == "patternProperties":
        return all(valid(v, wanted[p]) for p in wanted for k, v in value.items() if re.search(p, k))
    assert keyword == "additionalProperties", f"unknown keyword {keyword}"
    assert wanted is False
    return all(key in properties or any(re.search(p, key) for p in patterns) for key in value)


def parts(part: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema."""
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from parts(value)
    elif isinstance(part, list):
        for value in part:
            yield from parts(value)


def test_schema_is_json_of_draft_2020_12() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["required"] == ["name", "saps", "chains"]


def test_every_reference_leads_somewhere_and_every_definition_is_used() -> None:
    used = {part["$ref"].removeprefix("#/$defs/") for part in parts(SCHEMA) if "$ref" in part}
    assert used == SCHEMA["$defs"].keys()


def test_every_function_type_and_sap_kind_is_told_apart_by_a_constant() -> None:
    definitions = SCHEMA["$defs"].values()
    types = {
        one["properties"]["type"].get("const") for one in definitions if "type" in one["properties"]
    }
    kinds = {
        one["properties"]["kind"]["const"] for one in definitions if "kind" in one["properties"]
    }
    assert types - {None} == set(functions.known())
    assert kinds == KINDS.keys()


def test_every_object_refuses_unknown_keys_and_nothing_may_be_null() -> None:
    for part in parts(SCHEMA):
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
        assert part.get("type") != "null"


def test_every_property_is_described() -> None:
    for one in [SCHEMA, *SCHEMA["$defs"].values()]:
        for key, value in one["properties"].items():
            assert "const" in value or value.get("description"), key


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.name)
def test_examples_are_valid(file: Path) -> None:
    assert valid(read(file).data, SCHEMA)


TAPS: dict[str, Any] = {"a": {"kind": "tap"}, "b": {"kind": "tap"}}
WIRE: dict[str, Any] = {"name": "t", "saps": TAPS, "chains": {"c": {"path": ["a", "b"]}}}


def with_vnf(**config: Any) -> dict[str, Any]:
    return {**WIRE, "vnfs": {"f": config}}


def with_rule(**rule: Any) -> dict[str, Any]:
    return with_vnf(type="firewall", rules=[{"action": "drop", **rule}])


@pytest.mark.parametrize(
    "data",
    [
        WIRE,
        with_rule(proto="tcp", dport=80),
        with_rule(proto=["tcp", 17], dport=[80, "1000-2000"]),
        with_rule(proto="icmp", icmp_type="3/4", name="x"),
        with_rule(src="office", dst=["10.0.0.0/8"], direction="forward"),
        with_vnf(type="router", interfaces={"lan": {"ip": "10.0.0.1/24", "mtu": 9000}}),
    ],
)
def test_valid(data: Any) -> None:
    assert valid(data, SCHEMA)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {**WIRE, "name": "Bad_Name"},
        {**WIRE, "chain": {}},
        {**WIRE, "saps": {"a": {"kind": "hst"}}},
        {**WIRE, "saps": {"a": {"kind": "tap", "name": "a"}}},
        {**WIRE, "saps": {"a": {"kind": "nic"}}},
        {**WIRE, "saps": {"A": {"kind": "tap"}}},
        {**WIRE, "saps": {"x" * 33: {"kind": "tap"}}},
        {**WIRE, "saps": {"a": {"kind": "tap", "mtu": 100}}},
        {**WIRE, "saps": {"a": {"kind": "tap", "mtu": True}}},
        {**WIRE, "saps": {"a": {"kind": "tap", "mac": None}}},
        {**WIRE, "chains": {"c": {"path": ["a"]}}},
        {**WIRE, "chains": {"c": {"path": ["a", "b:"]}}},
        with_vnf(type="ruter"),
        with_vnf(rules=[]),
        with_vnf(type="router"),
        with_vnf(type="router", interfaces={}),
        with_vnf(type="router", interfaces={"lan": {"ip": []}}),
        with_vnf(type="router", interfaces={"lan": {"ip": "10.0.0.1/24"}}, rules=[]),
        with_rule(proto="tpc"),
        with_rule(dport=70000),
        with_rule(acton="drop"),
        with_vnf(type="firewall", rules=[{"proto": "tcp"}]),
    ],
)
def test_invalid(data: Any) -> None:
    assert not valid(data, SCHEMA)
