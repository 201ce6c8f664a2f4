"""The JSON Schema of topology files, so that editors complete and check them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from nfv import functions
from nfv.chain.fields import Model
from nfv.chain.path import ChainConfig
from nfv.chain.sap import KINDS
from nfv.chain.topology import File

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_Schema = dict[str, Any]


def schema() -> _Schema:
    """JSON Schema (draft 2020-12) of the whole file, with every type of function there is."""
    configs = {name: functions.find(name).Config for name in functions.known()}
    models: list[type[Model]] = [File, ChainConfig, *KINDS.values(), *configs.values()]
    references, definitions = models_json_schema([(model, "validation") for model in models])
    ref = {model: references[model, "validation"] for model, _ in references}
    defs = tidy(definitions["$defs"])

    def definition(model: type[Model]) -> _Schema:
        found: _Schema = defs[ref[model]["$ref"].rpartition("/")[2]]
        return found

    for model in KINDS.values():
        _drop(
            definition(model), [key for key, field in model.model_fields.items() if field.exclude]
        )
    for name, config in configs.items():
        _add_constant(definition(config), "type", name)
    whole = definition(File)
    _fill(whole, "saps", {"oneOf": [ref[model] for model in KINDS.values()]})
    _fill(whole, "vnfs", {"oneOf": [ref[config] for config in configs.values()]})
    _fill(whole, "chains", ref[ChainConfig])
    used = {name: value for name, value in defs.items() if value is not whole}
    return {"$schema": DIALECT, "title": "nfv topology", **whole, "$defs": used}


def _fill(whole: _Schema, section: str, content: Mapping[str, Any]) -> None:
    """Say what the values of a section are."""
    values = whole["properties"][section]
    for pattern in values["patternProperties"]:
        values["patternProperties"][pattern] = content


def _drop(model: _Schema, keys: list[str]) -> None:
    model["required"] = [key for key in model["required"] if key not in keys]
    for key in keys:
        del model["properties"][key]


def _add_constant(model: _Schema, key: str, value: str) -> None:
    model["properties"] = {key: {"const": value}, **model["properties"]}
    model["required"] = [key, *model.get("required", [])]


def tidy(part: Any) -> Any:
    """Without null, which files don't have, and without the titles made from field names."""
    if isinstance(part, list):
        return [tidy(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {key: tidy(value) for key, value in part.items()}
    if isinstance(found.get("title"), str):
        del found["title"]
    if "default" in found and found["default"] is None:
        del found["default"]
    if "patternProperties" in found:
        found["additionalProperties"] = False
    choices = found.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        others = [choice for choice in choices if choice != {"type": "null"}]
        del found["anyOf"]
        found = {**(others[0] if len(others) == 1 else {"anyOf": others}), **found}
    return found
