"""Numbers on the command line, with prefixes."""

from __future__ import annotations

import re
from typing import Any

import click

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kMG]?)")
_PREFIXES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}


class Quantity(click.ParamType):  # type: ignore[type-arg]
    """A positive number, in units or with a prefix: 1500, 100k, 1.5M, 10G."""

    name = "quantity"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = _QUANTITY.fullmatch(value)
        number = float(found[1]) * _PREFIXES[found[2]] if found else 0
        if not number:
            self.fail(f"'{value}' is no positive number such as 1500, 100k or 1.5M", param, ctx)
        return number
