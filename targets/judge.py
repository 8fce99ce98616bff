"""Whether one node can run in one runtime or on one accelerator, by the table of its support."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .dtypes import FLOATS
from .facts import Attribute, GraphFacts, Node, TensorFacts
from .graph_view import GraphView
from .support_table import AttributeRule, OperatorRule, SupportTable
from .versions import at_least

#: Operators that convert between floating point and integers: one side of them is float.
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear"})

#: What a condition that fails is called; the codes of findings about a runtime's kernels.
FailedCondition = Literal[
    "operator-not-supported",
    "operator-too-new",
    "operator-version-too-new",
    "operator-opset-not-supported",
    "type-not-supported",
    "rank-not-supported",
    "input-not-constant",
    "per-channel-not-supported",
    "attribute-not-supported",
    "dynamic-shape-not-supported",
    "control-flow-not-supported",
    "not-full-integer",
]


@dataclass(frozen=True)
class Verdict:
    """What a table says of a node.

    Attributes:
        code: the first condition that fails; None unless the answer is 'no'.
        reason: why not, or why nobody knows; None for a yes.
        note: a condition of the yes that nobody checked.
        source: where the rule comes from.
        dtype: the element type that is refused, where it is for that.
    """

    answer: Literal["yes", "no", "unknown"]
    code: FailedCondition | None = None
    reason: str | None = None
    note: str | None = None
    source: str | None = None
    dtype: str | None = None


_COMPILED = "the model was compiled for this very chip"


@dataclass(frozen=True)
class _Doubt:
    """A condition that fails, or (without a code) that can't be judged."""

    code: FailedCondition | None
    reason: str
    dtype: str | None = None


def judge(
    node: Node,
    graph: GraphFacts | GraphView,
    table: SupportTable,
    version: str | None,
    opsets: Mapping[str, int] | None = None,
) -> Verdict:
    """Judges a node by every condition of the table.

    The rules of its operator are alternatives: one that holds is enough. A condition that can't be
    judged (an unknown rank, an attribute that the file does not give) makes a rule unknown, never
    a yes. Of several rules that fail, the one with the fewest failed conditions gives the reason.

    Args:
        version: of what the table is versioned by; None: the one that the table was read from.
        opsets: those of the ONNX model, by domain.
    """
    view = graph if isinstance(graph, GraphView) else GraphView(graph)
    if node.operator == table.compiled_operator:
        return Verdict("yes", note=_COMPILED, source=table.source)
    rules = table.by_operator.get(node.operator, ())
    if not rules:
        if table.complete or node.operator in table.unsupported:
            why = f"there is no such operator in the {table.title}"
            return Verdict("no", "operator-not-supported", why, source=table.source)
        why = f"nobody says whether it is in the {table.title}"
        return Verdict("unknown", reason=why, source=table.source)
    judged = [
        (list(_doubts(node, view, rule, table, version or table.tables_version, opsets)), rule)
        for rule in rules
    ]
    doubts, rule = min(
        judged, key=lambda each: (sum(d.code is not None for d in each[0]), len(each[0]))
    )
    source = rule.source or table.source
    if not doubts:
        if version and table.oldest_version and not at_least(version, table.oldest_version):
            why = f"what {table.versioned_by} had before {table.oldest_version}, nobody says"
            return Verdict("unknown", reason=f"{why}; here it is {version}", source=source)
        return Verdict("yes", note=rule.note, source=source)
    failed = [doubt for doubt in doubts if doubt.code is not None]
    reason = "; ".join(doubt.reason for doubt in failed or doubts)
    if failed:
        return Verdict("no", failed[0].code, reason, source=source, dtype=failed[0].dtype)
    return Verdict("unknown", reason=reason, source=source)


def _doubts(
    node: Node,
    view: GraphView,
    rule: OperatorRule,
    table: SupportTable,
    version: str,
    opsets: Mapping[str, int] | None,
) -> Iterator[_Doubt]:
    yield from _of_version(node, rule, table, version)
    yield from _of_opset(node, rule, table, opsets)
    yield from _of_type(node, view, rule, table)
    yield from _of_operands(node, view, rule, table)
    yield from _of_rank(node, view, rule, table)
    yield from _of_constants(node, view, rule)
    yield from _of_count(node, rule)
    yield from _of_channels(node, view, rule, table)
    for name, wanted in rule.attributes.items():
        yield from _of_attribute(node, name, wanted, table, opsets)
    yield from _of_shapes(node, view, table)
    if node.graphs and table.control_flow is False:
        yield _Doubt("control-flow-not-supported", f"the {table.title} runs no control flow")


def _of_version(
    node: Node, rule: OperatorRule, table: SupportTable, version: str
) -> Iterator[_Doubt]:
    if rule.since is not None and not at_least(version, rule.since):
        yield _Doubt(
            "operator-too-new",
            f"{table.versioned_by} has it since {rule.since}, and here it is {version}",
        )
    if rule.until is not None and at_least(version, rule.until):
        yield _Doubt(
            "operator-not-supported",
            f"{table.versioned_by} had it before {rule.until}, and here it is {version}",
        )
    if not rule.versions or node.version is None:
        return
    known = rule.newest_version(version)
    if known is None:
        since = rule.first_with_version(node.version)
        yield _Doubt(
            "operator-too-new",
            f"{table.versioned_by} {version} is older than all that is known to have it"
            + (f" (since {since})" if since else ""),
        )
    elif node.version > known:
        since = rule.first_with_version(node.version)
        yield _Doubt(
            "operator-version-too-new",
            f"version {node.version} of the operator; {table.versioned_by} {version} knows up to "
            f"{known}" + (f" ({since} knows it)" if since else ""),
        )


def _of_opset(
    node: Node, rule: OperatorRule, table: SupportTable, opsets: Mapping[str, int] | None
) -> Iterator[_Doubt]:
    oldest = rule.min_opset if rule.min_opset is not None else table.min_opset
    newest = rule.max_opset if rule.max_opset is not None else table.max_opset
    if oldest is None and newest is None:
        return
    opset = (opsets or {}).get(node.operator.rpartition("::")[0])
    if opset is None:
        yield _Doubt(None, "the model's opset is unknown")
    elif opset < (oldest or 0):
        yield _Doubt("operator-opset-not-supported", f"opset {opset}; it needs {oldest} or newer")
    elif newest is not None and opset > newest:
        yield _Doubt("operator-opset-not-supported", f"opset {opset}; it is known up to {newest}")


def _of_type(
    node: Node, view: GraphView, rule: OperatorRule, table: SupportTable
) -> Iterator[_Doubt]:
    used = _types_of(node, view, table)
    if table.full_integer and node.operator not in CONVERSIONS:
        floats = sorted(set(used.all) & FLOATS)
        if floats:
            yield _Doubt(
                "not-full-integer",
                f"it computes in {floats[0]}, and the {table.title} takes integers only",
                floats[0],
            )
            return
    types = table.spelled_out(rule.types or table.types)
    if not types or used.data is None:
        return
    if used.data == "undefined":
        yield _Doubt(None, "the type of its input is unknown")
        return
    if any(_fits(wanted, used, types) for wanted in types):
        return
    mixed = used.weights is not None and used.weights != used.data
    paired = any(wanted.startswith(f"{used.data}*") for wanted in types)
    if mixed and used.data in types and not paired:
        yield _Doubt(None, f"nobody says whether {used.weights} weights go with {used.data}")
        return
    told = f"activations*weights {used.data}*{used.weights}" if mixed else f"type {used.data}"
    yield _Doubt("type-not-supported", f"{told}; it takes {', '.join(types)}", used.data)


def _of_operands(
    node: Node, view: GraphView, rule: OperatorRule, table: SupportTable
) -> Iterator[_Doubt]:
    """The types by position. One that the file does not tell can't be judged."""
    sides = (("input", node.inputs, rule.inputs), ("output", node.outputs, rule.outputs))
    for side, indices, wanted in sides:
        for position, given in wanted.items():
            if position >= len(indices) or indices[position] < 0:
                continue
            types = table.spelled_out(given)
            used = view.graph.tensors[indices[position]].dtype
            if used == "undefined":
                yield _Doubt(None, f"the type of its {side} {position} is unknown")
            elif used not in types:
                yield _Doubt(
                    "type-not-supported",
                    f"{side} {position} has type {used}; it takes {', '.join(types)}",
                    used,
                )


@dataclass(frozen=True)
class _Types:
    data: str | None
    weights: str | None
    all: tuple[str, ...]


def _types_of(node: Node, view: GraphView, table: SupportTable) -> _Types:
    """The element types that count: for ONNX accelerators those between QDQ pairs."""
    tensors = view.graph.tensors
    between = table.role == "accelerator" and table.format == "onnx" and table.fuses_qdq

    def dtype(index: int | None) -> str | None:
        if index is None:
            return None
        return (view.stored(index) if between else tensors[index]).dtype

    def result(index: int) -> str:
        if between:
            readers = view.readers.get(index, [])
            if readers and all(r.operator == "QuantizeLinear" for r in readers):
                return tensors[readers[0].outputs[0]].dtype
        return tensors[index].dtype

    everything = [dtype(i) for i in node.inputs if i >= 0] + [
        result(i) for i in node.outputs if i >= 0
    ]
    return _Types(
        dtype(view.data_input(node)),
        dtype(view.weights_input(node)),
        tuple(name for name in everything if name is not None),
    )


def _fits(wanted: str, used: _Types, types: tuple[str, ...]) -> bool:
    data, star, weights = wanted.partition("*")
    if data != used.data:
        return False
    return used.weights in (None, weights if star else data)


def _of_rank(
    node: Node, view: GraphView, rule: OperatorRule, table: SupportTable
) -> Iterator[_Doubt]:
    most = rule.max_rank if rule.max_rank is not None else table.max_rank
    wide = rule.max_non_singleton
    wide = wide if wide is not None else table.max_non_singleton
    index = view.data_input(node)
    limits = (most, rule.min_rank, wide, rule.max_batch)
    if index is None or all(limit is None for limit in limits):
        return
    shape = view.graph.tensors[index].shape
    if shape is None:
        yield _Doubt(None, "the rank of its input is unknown")
        return
    if most is not None and len(shape) > most:
        yield _Doubt("rank-not-supported", f"rank {len(shape)}; it takes up to {most} dimensions")
    elif rule.min_rank is not None and len(shape) < rule.min_rank:
        yield _Doubt(
            "rank-not-supported", f"rank {len(shape)}; it takes {rule.min_rank} dimensions or more"
        )
    larger = sum(size is not None and size > 1 for size in shape)
    if wide is not None and larger > wide:
        yield _Doubt(
            "rank-not-supported", f"{larger} dimensions are larger than 1; it takes up to {wide}"
        )
    batch = shape[0] if shape else None
    if rule.max_batch is not None and batch is not None and batch > rule.max_batch:
        yield _Doubt("rank-not-supported", f"batch {batch}; it takes up to {rule.max_batch}")


def _of_constants(node: Node, view: GraphView, rule: OperatorRule) -> Iterator[_Doubt]:
    for position in rule.constant_inputs:
        if position >= len(node.inputs) or node.inputs[position] < 0:
            continue
        if node.inputs[position] not in view.constants:
            yield _Doubt("input-not-constant", f"its input {position} is computed, not constant")


def _of_count(node: Node, rule: OperatorRule) -> Iterator[_Doubt]:
    given = sum(position >= 0 for position in node.inputs)
    if rule.min_inputs is not None and given < rule.min_inputs:
        yield _Doubt(
            "operator-not-supported", f"{given} inputs; it takes {rule.min_inputs} or more"
        )
    elif rule.max_inputs is not None and given > rule.max_inputs:
        yield _Doubt("operator-not-supported", f"{given} inputs; it takes up to {rule.max_inputs}")


def _of_channels(
    node: Node, view: GraphView, rule: OperatorRule, table: SupportTable
) -> Iterator[_Doubt]:
    wanted = rule.per_channel if rule.per_channel is not None else table.per_channel
    index = view.weights_input(node)
    if wanted is None or index is None:
        return
    stored: TensorFacts = view.stored(index)
    if stored.quantization is None or stored.quantization.per_channel == wanted:
        return
    has, takes = ("one scale", "more") if wanted else ("a scale for each channel", "one")
    yield _Doubt("per-channel-not-supported", f"its weights have {has}; it takes {takes}")


def _of_attribute(
    node: Node,
    name: str,
    wanted: AttributeRule,
    table: SupportTable,
    opsets: Mapping[str, int] | None,
) -> Iterator[_Doubt]:
    value = node.attributes.get(name)
    if value is None and table.format == "onnx":
        schema = _schema(node.operator, opsets)
        if schema is not None and name not in schema.attributes:
            return  # the choice came with a later opset
        value = _default(schema, name)
    if value is None:
        yield _Doubt(None, f"the file does not say its {name}")
        return
    for each in value if isinstance(value, tuple) else (value,):
        if not wanted.allows(each):
            yield _Doubt("attribute-not-supported", f"{name} is {each}; it takes {wanted.told}")
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


def _of_shapes(node: Node, view: GraphView, table: SupportTable) -> Iterator[_Doubt]:
    if table.dynamic_shapes:
        return
    tensors = [view.graph.tensors[i] for i in (*node.inputs, *node.outputs) if i >= 0]
    if not any(tensor.shape is None or None in tensor.shape for tensor in tensors):
        return
    if table.dynamic_shapes is None:
        yield _Doubt(None, f"nobody says whether the {table.title} takes open dimensions")
    else:
        yield _Doubt("dynamic-shape-not-supported", "a dimension is known only at run time")
