"""Attributes of ONNX nodes as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .facts import Attribute
from .onnx_file import dtype_name

#: Numbers of a list that are told; longer ones (tables of decision trees) by their length.
_LONGEST_LIST = 64
#: Characters of a text that are told.
_LONGEST_TEXT = 200

#: Fields of onnx.AttributeProto by onnx.AttributeProto.AttributeType.
_FIELDS = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints", 8: "strings"}
_TENSOR, _GRAPH, _GRAPHS, _SPARSE = 4, 5, 10, 11


def plain_attributes(node: Any) -> dict[str, Attribute]:
    """A node's attributes; tensors are told by type and shape, graphs are left out."""
    return {
        attribute.name: _plain(attribute)
        for attribute in node.attribute
        if attribute.type not in (_GRAPH, _GRAPHS)
    }


def numbers(node: Any) -> Mapping[str, int]:
    """The attributes that are whole numbers."""
    return {attribute.name: attribute.i for attribute in node.attribute}


def short_text(value: bytes | str) -> str:
    """A text for people: what is long or no text at all is told by its size."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return f"{len(value)} bytes"
    return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}…"


def _plain(attribute: Any) -> Attribute:
    kind = attribute.type
    if kind == _TENSOR:
        return _tensor(attribute.t.data_type, attribute.t.dims)
    if kind == _SPARSE:
        sparse = attribute.sparse_tensor
        return f"sparse {_tensor(sparse.values.data_type, sparse.dims)}"
    if kind not in _FIELDS:
        return "not shown"
    value = getattr(attribute, _FIELDS[kind])
    if kind == 2:
        return int(value)
    if kind == 1:
        return _number(value)
    if kind == 3:
        return short_text(value)
    if len(value) > _LONGEST_LIST:
        return f"{len(value)} {_FIELDS[kind]}"
    if kind == 8:
        return tuple(short_text(item) for item in value)
    if kind == 7:
        return tuple(value)
    known = [_number(item) for item in value]
    return tuple(map(str, known)) if any(isinstance(n, str) for n in known) else tuple(value)


def _number(value: float) -> float | str:
    """JSON has no infinity: its name stands for it."""
    return float(value) if math.isfinite(value) else str(value)


def _tensor(element_type: int, dims: Any) -> str:
    return f"{dtype_name(element_type)}[{'x'.join(map(str, dims))}]"
