"""The network functions: a module each, found by name, here and in NFV_FUNCTIONS."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

from nfv.chain.report import did_you_mean, listed
from nfv.ebpf.sources import MORE
from nfv.errors import InputError
from nfv.functions.base import Function

__path__ = [*__path__, *map(str, MORE)]


@cache
def known() -> tuple[str, ...]:
    """Names of all function types, sorted."""
    return tuple(sorted({module.name for module in pkgutil.iter_modules(__path__)} - {"base"}))


@cache
def find(name: str) -> type[Function[Any]]:
    """The class of function type `name`; InputError if there is no such type.

    A module must define exactly one subclass of Function.
    """
    if name not in known():
        hint = did_you_mean(name, known(), f"types are {listed(known())}")
        raise InputError(f"unknown function type '{name}'", hint)
    module = importlib.import_module(f"{__name__}.{name}")
    (function,) = (
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Function) and member.__module__ == module.__name__
    )
    return function
