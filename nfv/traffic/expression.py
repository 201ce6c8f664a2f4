"""Frames written as Scapy expressions: `IP(src="10.0.1.10", dst="192.0.2.9")/UDP(dport=53)`.

An expression is read, not executed: it can name Scapy's layers with their fields and put them on
top of each other, and nothing else.
"""

from __future__ import annotations

import ast
from itertools import islice
from typing import Any

from scapy import all as scapy
from scapy.packet import Packet

MAX_FRAMES = 10_000
"""Frames that one expression may stand for."""

_MAX_BYTES = 65535
_OPERATORS = {ast.Div: "/", ast.Mult: "*", ast.Add: "+"}


def layer(name: str) -> type[Packet] | None:
    """The layer that Scapy calls so."""
    found = getattr(scapy, name, None)
    return found if isinstance(found, type) and issubclass(found, Packet) else None


def packets(text: str) -> list[Packet]:
    """The packets of an expression: one, or many with `* 10` or a field that is a list.

    Raises `ValueError` that says what cannot be understood.
    """
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
        made = list(islice(value, MAX_FRAMES + 1)) if isinstance(value, Packet) else value
    except SyntaxError as error:
        raise ValueError(f"not an expression: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(made, list) or not all(isinstance(one, Packet) for one in made):
        raise ValueError("this is no packet")
    if len(made) > MAX_FRAMES:
        raise ValueError(f"more than {MAX_FRAMES:,} packets")
    for one in made:
        _build(one)
    return made


def _build(packet: Packet) -> None:
    try:
        bytes(packet)
    except Exception as error:  # what Scapy raises depends on the field
        raise ValueError(f"Scapy cannot build it: {error}") from error


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    if isinstance(node, ast.Call):
        return _layer(node)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _joined(_OPERATORS[type(node.op)], _value(node.left), _value(node.right))
    raise ValueError(f"'{ast.unparse(node)}' is neither a layer nor a value")


def _number(node: ast.expr) -> int | float:
    value = _value(node)
    if isinstance(value, (int, float)):
        return value
    raise ValueError(f"'{ast.unparse(node)}' is no number")


def _layer(node: ast.Call) -> Packet:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    found = layer(name)
    if found is None:
        raise ValueError(f"Scapy has no layer '{name}'")
    arguments = [_value(argument) for argument in node.args]
    fields = {word.arg or "**": _value(word.value) for word in node.keywords}
    known = {field.name for field in found.fields_desc}
    unknown = sorted(fields.keys() - known)
    if unknown:
        raise ValueError(f"{name} has no field '{unknown[0]}'; it has {', '.join(sorted(known))}")
    try:
        return found(*arguments, **fields)
    except Exception as error:  # what Scapy raises depends on the field
        raise ValueError(f"Scapy cannot build {ast.unparse(node)}: {error}") from error


def _joined(operator: str, left: Any, right: Any) -> Any:
    if operator == "/" and isinstance(left, Packet) and isinstance(right, (Packet, bytes, str)):
        return left / right
    if operator == "+" and isinstance(left, str) and isinstance(right, str):
        return left + right
    if operator == "+" and isinstance(left, bytes) and isinstance(right, bytes):
        return left + right
    if operator == "*" and isinstance(right, int):
        if isinstance(left, Packet) and right <= MAX_FRAMES:
            return [left.copy() for _ in range(right)]
        if isinstance(left, (bytes, str)) and len(left) * right <= _MAX_BYTES:
            return left * right
    raise ValueError(f"'{operator}' does not fit here")
