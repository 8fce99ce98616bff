"""A model's quantization in words: what is stored and computed as what, and what stayed float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .dtypes import FLOATS
from .facts import CONVOLUTIONS, MATRIX_PRODUCTS, GraphFacts, Node, TensorFacts
from .tally import QuantizedUse

_PRODUCTS = CONVOLUTIONS | MATRIX_PRODUCTS | {"LSTM", "GRU", "RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
#: Layers that are named one by one; of more there is a count.
_NAMED = 4
#: Operators that stand between stored weights and the product that reads them.
_BETWEEN = frozenset(
    {"DequantizeLinear", "Cast", "Sub", "Mul", "Transpose", "Reshape", "Identity", "Squeeze"}
    | {"Unsqueeze", "DEQUANTIZE", "DENSIFY", "TRANSPOSE", "RESHAPE", "CAST"}
)
_LONGEST_CHAIN = 6


def describe_scheme(
    graphs: Sequence[GraphFacts], uses: Sequence[QuantizedUse | None]
) -> tuple[str, ...]:
    """One line for each way in which products are computed, most frequent first.

    Args:
        uses: how each node was quantized, in the order of the graphs' nodes.
    """
    quantized: dict[_Scheme, list[Node]] = {}
    floats: dict[str, list[Node]] = {}
    of_activations: Counter[str] = Counter()
    remaining = iter(uses)
    for graph in graphs:
        producers = {index: node for node in graph.nodes for index in node.outputs}
        for node in graph.nodes:
            use = next(remaining)
            if use is not None:
                scheme = _scheme(use, _weights(graph, node, producers, use))
                quantized.setdefault(scheme, []).append(node)
            elif node.operator in _PRODUCTS:
                kind = _float_kind(graph, node, producers)
                if kind is None:
                    of_activations[_computed_in(graph, node)] += 1
                else:
                    floats.setdefault(kind, []).append(node)
    lines = [
        f"{_words(scheme, graphs)}: {_kinds(nodes)}"
        for scheme, nodes in sorted(quantized.items(), key=lambda item: -len(item[1]))
    ]
    for kind, nodes in sorted(floats.items(), key=lambda item: -len(item[1])):
        named = f" ({_names(nodes)})" if quantized else ""
        lines.append(f"{'stayed ' if quantized else ''}{kind}: {_kinds(nodes)}{named}")
    for dtype, count in of_activations.most_common():
        lines.append(f"{dtype}: {count} product{'s' * (count > 1)} of two activations")
    return tuple(lines)


class _Scheme(NamedTuple):
    """What products have in common that stand on one line."""

    activations: str
    weights: str | None
    per_channel: bool
    dynamic: bool
    symmetric: bool | None
    block: int | None


def _scheme(use: QuantizedUse, weights: TensorFacts | None) -> _Scheme:
    scales = weights.quantization if weights is not None else None
    return _Scheme(
        use.activation_dtype,
        use.weight_dtype,
        use.per_channel,
        use.dynamic,
        scales.symmetric if scales is not None else None,
        scales.block if scales is not None else None,
    )


def _weights(
    graph: GraphFacts, node: Node, producers: dict[int, Node], use: QuantizedUse
) -> TensorFacts | None:
    if use.weight_dtype is None:
        return None
    stored = [_stored(graph, index, producers) for index in node.inputs]
    return max(filter(None, stored), key=lambda tensor: tensor.constant_bytes, default=None)


def _words(scheme: _Scheme, graphs: Sequence[GraphFacts]) -> str:
    weights = "no weights"
    if scheme.weights is not None:
        spread = "per channel" if scheme.per_channel else "per tensor"
        if scheme.block:
            spread = f"in blocks of {scheme.block}"
        even = {True: ", symmetric", False: ", asymmetric", None: ""}[scheme.symmetric]
        weights = f"{type_name(scheme.weights)} weights ({spread}{even})"
    if scheme.dynamic:
        return f"{weights}, activations quantized at run time (dynamic)"
    if scheme.activations in FLOATS:
        return f"{weights}, {type_name(scheme.activations)} activations (weights only)"
    even = _activations_even(scheme.activations, graphs)
    return f"{weights}, {type_name(scheme.activations)} activations ({even}static)"


def _activations_even(dtype: str, graphs: Iterable[GraphFacts]) -> str:
    found = [
        tensor.quantization
        for graph in graphs
        for tensor in graph.tensors
        if tensor.dtype == dtype and tensor.constant is None and tensor.quantization is not None
    ]
    if not found:
        return ""
    spread = "per channel" if any(scales.per_channel for scales in found) else "per tensor"
    even = "symmetric" if all(scales.symmetric for scales in found) else "asymmetric"
    return f"{spread}, {even}, "


def type_name(dtype: str) -> str:
    """'INT8', 'UINT4', 'FP16': types as people name precisions."""
    return dtype.replace("bfloat", "BF").replace("float", "FP").upper()


def _float_kind(graph: GraphFacts, node: Node, producers: dict[int, Node]) -> str | None:
    """How a product in floating point stores its weights; None if it has none."""
    computed = _computed_in(graph, node)
    for index in node.inputs[:4]:
        stored = _stored(graph, index, producers)
        if stored is None or len(stored.shape or ()) < 2:
            continue
        sparse = ", sparse" if stored.sparse else ""
        if type_name(stored.dtype) == computed:
            return f"{computed}{sparse}"
        return f"{computed} with weights stored as {type_name(stored.dtype)}{sparse}"
    return None


def _computed_in(graph: GraphFacts, node: Node) -> str:
    outputs = [graph.tensors[index].dtype for index in node.outputs if index >= 0]
    return type_name(outputs[0]) if outputs else "unknown type"


def _stored(graph: GraphFacts, index: int, producers: dict[int, Node]) -> TensorFacts | None:
    """The constant that an operand comes from."""
    for _ in range(_LONGEST_CHAIN):
        if index < 0:
            return None
        if graph.tensors[index].constant is not None:
            return graph.tensors[index]
        node = producers.get(index)
        if node is None or node.operator not in _BETWEEN or not node.inputs:
            return None
        index = node.inputs[0]
    return None


def _kinds(nodes: Iterable[Node]) -> str:
    return ", ".join(
        f"{count} {name}" for name, count in Counter(node.operator for node in nodes).most_common()
    )


def _names(nodes: Sequence[Node]) -> str:
    # TFLite joins the names of what was fused.
    named = [node.name.partition(";")[0] for node in nodes[:_NAMED]]
    more = len(nodes) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
