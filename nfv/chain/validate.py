"""Reads a part of the topology file into its model, and words what is wrong for the user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from nfv.chain.fields import Model, quoted
from nfv.chain.report import Report, did_you_mean, listed

ModelT = TypeVar("ModelT", bound=Model)

_PARTS = (Model, dict, list, tuple)
"""What other parts may be in."""

_WANTED = {
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping (lines of 'key: value')",
    "model_type": "a mapping (lines of 'key: value')",
}

_CHOICE = re.compile(r"(dict\[|constrained-)")


def read(model: type[ModelT], data: object, report: Report) -> ModelT | None:
    """An instance of `model`, or None with every problem in `report`.

    Every part that could be read checks itself, even where others could not.
    """
    try:
        instance = model.model_validate(data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if "constrained-int" in details["loc"] and isinstance(details["input"], dict):
                continue  # a mapping may stand there, too, and what is wrong in it is said
            _report(model, _without_choices(details), report)
        _check_readable(model, data, report)
        return None
    _check_parts(instance, report)
    return instance


def read_mapping(data: object, report: Report) -> dict[str, Any] | None:
    """`data` if it is a mapping, else None with the problem in `report`."""
    if isinstance(data, dict):
        return data
    if data is not None:  # an empty value is reported by the reader of the file
        report.error((), f"must be {_WANTED['dict_type']}, not {quoted(data)}")
    return None


def keys_of(model: type[Model]) -> list[str]:
    """The keys that are written in the file."""
    return [field.alias or key for key, field in model.model_fields.items() if not field.exclude]


def unknown_key(key: str, known: Iterable[str], report: Report) -> None:
    """Report a key that means nothing here."""
    hint = did_you_mean(key, known, f"known here: {listed(known)}")
    report.error((key,), f"unknown key {quoted(key)}", hint, key=True)


def _report(model: type[Model], details: ErrorDetails, report: Report) -> None:
    kind, value, path = details["type"], details["input"], details["loc"]
    if kind == "missing":
        key = str(path[-1])
        description = _field(_model_at(model, path[:-1]), key).description
        hint = f"{key}: {description}" if description else None
        report.error(path[:-1], f"missing key '{key}'", hint)
    elif kind == "extra_forbidden":
        known = keys_of(_model_at(model, path[:-1]))
        unknown_key(str(path[-1]), known, report.at(*path[:-1]))
    elif path and path[-1] == "[key]":
        report.error(path[:-1], *_words(details), key=True)
    elif value is not None:  # an empty value is reported by the reader of the file
        report.error(path, *_words(details))


def _without_choices(details: ErrorDetails) -> ErrorDetails:
    """The same without the names that pydantic gives to what else may stand in a place."""
    path = tuple(part for part in details["loc"] if not _CHOICE.match(str(part)))
    return {**details, "loc": path}


def _words(details: ErrorDetails) -> tuple[str, str | None]:
    """Message and hint."""
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "refused":
        return context["message"], context["hint"]
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
    return f"must be {_WANTED[kind]}, not {quoted(value)}", _type_hint(kind, value)


def _type_hint(kind: str, value: object) -> str | None:
    if kind == "int_type" and isinstance(value, str) and value.isdecimal():
        return "remove the quotes"
    if kind == "tuple_type" and isinstance(value, (str, int)):
        return f"write [{value}]"
    return None


def _check_parts(part: object, report: Report) -> None:
    """Have a part and all parts in it check themselves."""
    if isinstance(part, Model):
        part.check(report)
        part = {name: getattr(part, name) for name in _holding_models(type(part))}
    for key, item in _items(part):
        if isinstance(item, _PARTS):
            _check_parts(item, report.at(key))


@cache
def _holding_models(model: type[Model]) -> Sequence[str]:
    """The fields of a model that other models may be in."""
    return [name for name, field in model.model_fields.items() if _model_in(field.annotation)]


def _check_readable(annotation: Any, data: object, report: Report) -> None:
    """The same for those parts of `data` that can be read, where it cannot as a whole."""
    model = _model_in(annotation)
    if model is None:
        return
    if get_origin(annotation) in (dict, tuple):
        for key, item in _items(data):
            _check_readable(model, item, report.at(key))
        return
    try:
        _check_parts(model.model_validate(data), report)
    except ValidationError:
        for key, item in _items(data):
            if key in model.model_fields:
                _check_readable(model.model_fields[str(key)].annotation, item, report.at(key))


def _items(data: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(data, dict):
        yield from data.items()
    elif isinstance(data, (list, tuple)):
        yield from enumerate(data)


def _model_at(model: type[Model], path: Sequence[str | int]) -> type[Model]:
    """The model of the value at `path` below a value of `model`."""
    annotation: Any = model
    for part in path:
        found = _model_in(annotation)
        kinds = {get_origin(choice) for choice in (annotation, *get_args(annotation))}
        if found is None or isinstance(part, int) or kinds & {dict, tuple}:
            annotation = found
        else:
            annotation = _field(found, str(part)).annotation
    found = _model_in(annotation)
    assert found is not None
    return found


def _field(model: type[Model], key: str) -> FieldInfo:
    """The field that a key of the file is read into."""
    return next(field for name, field in model.model_fields.items() if key in (name, field.alias))


def _model_in(annotation: Any) -> type[Model] | None:
    """The model that an annotation such as `dict[str, Interface]` or `Match | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)
