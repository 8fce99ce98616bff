"""What the conditions of a rule are judged against: one node, with all that tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from .facts import Attribute, Node, TensorFacts
from .graph_view import GraphView
from .support_parts import Operand
from .support_table import SupportTable

#: What lists of a convolution or a window mean where they are left out (ONNX, operators' text).
_LEFT_OUT: dict[str, int] = {"pads": 0, "strides": 1, "dilations": 1}


@dataclass(frozen=True)
class Case:
    """A node and the table that it is judged by.

    Attributes:
        version: of what the table is versioned by.
        opsets: those of the ONNX model, by domain.
    """

    node: Node
    view: GraphView
    table: SupportTable
    version: str
    opsets: Mapping[str, int] | None

    def input(self, position: int) -> TensorFacts | None:
        """The tensor at a position of the inputs; None where it is left out."""
        return self.view.graph.operand(self.node, position)

    def output(self, position: int) -> TensorFacts | None:
        outputs = self.node.outputs
        index = outputs[position] if position < len(outputs) else -1
        return self.view.graph.tensors[index] if index >= 0 else None

    def operand(self, which: Operand) -> TensorFacts | None:
        return self.output(0) if which == "output" else self.input(which)

    def attribute(self, name: str) -> Attribute | None:
        """An attribute's value, or the default that ONNX gives it; None where nobody says it."""
        value = self.node.attributes.get(name)
        if value is None and self._schema is not None and name in self._schema.attributes:
            value = _default(self._schema, name)
        return value

    def lacks(self, name: str) -> bool:
        """Whether the model's opset has no such attribute: the choice came later."""
        return self._schema is not None and name not in self._schema.attributes

    @property
    def _schema(self) -> Any:
        if self.table.format != "onnx":
            return None
        domain, _, plain = self.node.operator.rpartition("::")
        opset = (self.opsets or {}).get(domain)
        return None if opset is None else _schema(plain, opset, domain)


def told(which: Operand) -> str:
    """An operand in words."""
    return "its output" if which == "output" else f"its input {which}"


@cache
def _schema(operator: str, opset: int, domain: str) -> Any:
    """The schema of an ONNX operator in an opset; None where there is none."""
    from onnx import defs

    if not defs.has(operator, domain):
        return None
    try:
        return defs.get_schema(operator, opset, domain)
    except defs.SchemaError:
        return None


def _default(schema: Any, name: str) -> Attribute | None:
    """What ONNX takes an attribute for that a node does not give; None where there is nothing."""
    from onnx import helper

    default = schema.attributes[name].default_value
    if not default.name:
        return _LEFT_OUT.get(name)
    value = helper.get_attribute_value(default)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return tuple(value) if isinstance(value, list) else value
