"""Reads a part of the topology file into its model, and words what is wrong for the user."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nfv.chain.fields import quoted
from nfv.chain.report import Report, did_you_mean

ModelT = TypeVar("ModelT", bound=BaseModel)

_MAPPING_ERRORS = ("model_type", "dict_type")
_LIST_ERRORS = ("tuple_type", "list_type")


def read(model: type[ModelT], data: object, report: Report) -> ModelT | None:
    """An instance of `model`, or None with every problem in `report`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            _report(model, details, report)
        return None


def read_mapping(data: object, report: Report) -> dict[str, Any] | None:
    """`data` if it is a mapping, else None with the problem in `report`."""
    if isinstance(data, dict):
        return data
    if data is not None:  # an empty value is reported by the reader of the file
        report.error((), _not_a_mapping(data))
    return None


def unknown_key(key: str, known: Iterable[str], report: Report) -> None:
    """Report a key that means nothing here."""
    hint = did_you_mean(key, known, f"known here: {', '.join(known)}")
    report.error((key,), f"unknown key {quoted(key)}", hint, key=True)


def _report(model: type[BaseModel], details: ErrorDetails, report: Report) -> None:
    kind, value, path = details["type"], details["input"], details["loc"]
    if kind == "missing":
        report.error(path[:-1], f"missing key '{path[-1]}'")
    elif kind == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        unknown_key(str(path[-1]), known, report.at(*path[:-1]))
    elif path and path[-1] == "[key]":
        report.error(path[:-1], *_words(details), key=True)
    elif value is not None:  # an empty value is reported by the reader of the file
        report.error(path, *_words(details))


def _words(details: ErrorDetails) -> tuple[str, str | None]:
    """Message and hint."""
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "refused":
        return context["message"], context["hint"]
    if kind in _MAPPING_ERRORS:
        return _not_a_mapping(value), None
    if kind in _LIST_ERRORS:
        return f"must be a list, not {quoted(value)}", f"write [{_inline(value)}]"
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", context["expected"])
        hint = did_you_mean(value, choices) if isinstance(value, str) else None
        return f"{quoted(value)} is not one of {', '.join(choices)}", hint
    if kind == "greater_than_equal":
        return f"{value} is too small, the least is {context['ge']}", None
    if kind == "less_than_equal":
        return f"{value} is too large, the most is {context['le']}", None
    if kind == "too_short":
        return "must not be empty", None
    return f"must be {_WANTED.get(kind, 'something else')}, not {quoted(value)}", None


_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
}


def _not_a_mapping(value: object) -> str:
    return f"must be a mapping (lines of 'key: value'), not {quoted(value)}"


def _inline(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) else "..."


def _keys_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The keys that the model at `path` below `model` knows."""
    annotation: Any = model
    for part in path:
        annotation = _step(annotation, part)
    found = _model_in(annotation)
    return list(found.model_fields) if found else []


def _step(annotation: Any, part: str | int) -> Any:
    """What stands at key or index `part` of a value of this type."""
    model = _model_in(annotation)
    if model is None or get_origin(annotation) in (dict, tuple):
        return model
    return model.model_fields[str(part)].annotation


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `dict[str, Interface]` or `Match | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)
