"""Conditions of a support table on versions, shapes, constants and attributes of a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .doubt import Doubt
from .facts import Attribute, Node
from .graph_view import GraphView
from .support_table import AttributeRule, OperatorRule, SupportTable
from .versions import at_least


def of_version(
    node: Node, rule: OperatorRule, table: SupportTable, version: str
) -> Iterator[Doubt]:
    if rule.since is not None and not at_least(version, rule.since):
        yield Doubt(
            "operator-too-new",
            f"{table.versioned_by} has it since {rule.since}, and here it is {version}",
        )
    if rule.until is not None and at_least(version, rule.until):
        yield Doubt(
            "operator-not-supported",
            f"{table.versioned_by} had it before {rule.until}, and here it is {version}",
        )
    if not rule.versions or node.version is None:
        return
    known = rule.newest_version(version)
    if known is None:
        since = rule.first_with_version(node.version)
        yield Doubt(
            "operator-too-new",
            f"{table.versioned_by} {version} is older than all that is known to have it"
            + (f" (since {since})" if since else ""),
        )
    elif node.version > known:
        since = rule.first_with_version(node.version)
        yield Doubt(
            "operator-version-too-new",
            f"version {node.version} of the operator; {table.versioned_by} {version} knows up to "
            f"{known}" + (f" ({since} knows it)" if since else ""),
        )


def of_opset(
    node: Node, rule: OperatorRule, table: SupportTable, opsets: Mapping[str, int] | None
) -> Iterator[Doubt]:
    oldest = rule.min_opset if rule.min_opset is not None else table.min_opset
    newest = rule.max_opset if rule.max_opset is not None else table.max_opset
    if oldest is None and newest is None:
        return
    opset = (opsets or {}).get(node.operator.rpartition("::")[0])
    if opset is None:
        yield Doubt(None, "the model's opset is unknown")
    elif opset < (oldest or 0):
        yield Doubt("operator-opset-not-supported", f"opset {opset}; it needs {oldest} or newer")
    elif newest is not None and opset > newest:
        yield Doubt("operator-opset-not-supported", f"opset {opset}; it is known up to {newest}")


def of_rank(
    node: Node, view: GraphView, rule: OperatorRule, table: SupportTable
) -> Iterator[Doubt]:
    most = rule.max_rank if rule.max_rank is not None else table.max_rank
    wide = rule.max_non_singleton
    wide = wide if wide is not None else table.max_non_singleton
    index = view.data_input(node)
    limits = (most, rule.min_rank, wide, rule.max_batch)
    if index is None or all(limit is None for limit in limits):
        return
    shape = view.graph.tensors[index].shape
    if shape is None:
        yield Doubt(None, "the rank of its input is unknown")
        return
    if most is not None and len(shape) > most:
        yield Doubt("rank-not-supported", f"rank {len(shape)}; it takes up to {most} dimensions")
    elif rule.min_rank is not None and len(shape) < rule.min_rank:
        yield Doubt(
            "rank-not-supported", f"rank {len(shape)}; it takes {rule.min_rank} dimensions or more"
        )
    larger = sum(size is not None and size > 1 for size in shape)
    if wide is not None and larger > wide:
        yield Doubt(
            "rank-not-supported", f"{larger} dimensions are larger than 1; it takes up to {wide}"
        )
    batch = shape[0] if shape else None
    if rule.max_batch is not None and batch is not None and batch > rule.max_batch:
        yield Doubt("rank-not-supported", f"batch {batch}; it takes up to {rule.max_batch}")


def of_constants(node: Node, view: GraphView, rule: OperatorRule) -> Iterator[Doubt]:
    for position in rule.constant_inputs:
        if position >= len(node.inputs) or node.inputs[position] < 0:
            continue
        if node.inputs[position] not in view.constants:
            yield Doubt("input-not-constant", f"its input {position} is computed, not constant")


def of_count(node: Node, rule: OperatorRule) -> Iterator[Doubt]:
    given = sum(position >= 0 for position in node.inputs)
    if rule.min_inputs is not None and given < rule.min_inputs:
        yield Doubt("operator-not-supported", f"{given} inputs; it takes {rule.min_inputs} or more")
    elif rule.max_inputs is not None and given > rule.max_inputs:
        yield Doubt("operator-not-supported", f"{given} inputs; it takes up to {rule.max_inputs}")


def of_attribute(
    node: Node,
    name: str,
    wanted: AttributeRule,
    table: SupportTable,
    opsets: Mapping[str, int] | None,
) -> Iterator[Doubt]:
    value = node.attributes.get(name)
    if value is None and table.format == "onnx":
        schema = _schema(node.operator, opsets)
        if schema is not None and name not in schema.attributes:
            return  # the choice came with a later opset
        value = _default(schema, name)
    if value is None:
        yield Doubt(None, f"the file does not say its {name}")
        return
    for each in value if isinstance(value, tuple) else (value,):
        if not wanted.allows(each):
            yield Doubt("attribute-not-supported", f"{name} is {each}; it takes {wanted.told}")
            return


def _schema(operator: str, opsets: Mapping[str, int] | None) -> Any:
    """The schema of an ONNX operator in the model's opset; None where there is none."""
    from onnx import defs

    domain, _, plain = operator.rpartition("::")
    opset = (opsets or {}).get(domain)
    if opset is None or not defs.has(plain, domain):
        return None
    try:
        return defs.get_schema(plain, opset, domain)
    except defs.SchemaError:
        return None


#: What lists of a convolution or a window mean where they are left out (ONNX, operators' text).
_LEFT_OUT: dict[str, int] = {"pads": 0, "strides": 1, "dilations": 1}


def _default(schema: Any, name: str) -> Attribute | None:
    """What ONNX takes an attribute for that a node does not give; None where there is nothing."""
    from onnx import helper

    if schema is None:
        return None
    default = schema.attributes[name].default_value
    if not default.name:
        return _LEFT_OUT.get(name)
    value = helper.get_attribute_value(default)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return tuple(value) if isinstance(value, list) else value


def of_shapes(node: Node, view: GraphView, table: SupportTable) -> Iterator[Doubt]:
    if table.dynamic_shapes:
        return
    tensors = [view.graph.tensors[i] for i in (*node.inputs, *node.outputs) if i >= 0]
    if not any(tensor.shape is None or None in tensor.shape for tensor in tensors):
        return
    if table.dynamic_shapes is None:
        yield Doubt(None, f"nobody says whether the {table.title} takes open dimensions")
    else:
        yield Doubt("dynamic-shape-not-supported", "a dimension is known only at run time")
