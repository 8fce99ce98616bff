"""Products of integer weights with activations that are quantized at run time."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorProto, helper

from .onnx_graph import Graph, Node, options
from .onnx_units import Unit
from .onnx_weights import WeightStore
from .recipe import Scheme


def quantize_dynamic(
    graph: Graph, chosen: Sequence[tuple[Unit, Scheme]], store: WeightStore
) -> None:
    """Replaces MatMul by MatMulInteger and Conv by ConvInteger, with what goes around them.

    The nodes are in the order that ONNX Runtime fuses into MatMulIntegerToFloat or
    DynamicQuantizeMatMul (its documentation, "Quantize ONNX models: dynamic quantization").
    """
    by_name = {unit.node.name: (unit, scheme) for unit, scheme in chosen}
    quantized: dict[str, list[str]] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name not in by_name:
            nodes.append(node)
            continue
        unit, scheme = by_name[node.name]
        if unit.input not in quantized:
            # DynamicQuantizeLinear: uint8 over the range of the tensor at hand.
            parts = ("quantized", "scale", "zero_point")
            names = [graph.name(f"{unit.input}_{part}") for part in parts]
            title = graph.name(f"{unit.input}_QuantizeLinear")
            nodes.append(helper.make_node("DynamicQuantizeLinear", [unit.input], names, title))
            quantized[unit.input] = names
        nodes += _product(graph, unit, scheme, store, quantized[unit.input])
    graph.nodes = nodes


def _product(
    graph: Graph, unit: Unit, scheme: Scheme, store: WeightStore, activation: list[str]
) -> list[Node]:
    node, output = unit.node, unit.node.output[0]
    is_convolution = node.op_type == "Conv"
    made = store.quantized(unit, scheme)
    stored = store.affine(unit, scheme, made)
    assert stored.zero_point is not None
    scale, zero_point = stored.scale, stored.zero_point
    if is_convolution and scheme.granularity == "per-channel":
        # ConvInteger takes one zero point for all channels; symmetric weights have but one.
        rank = unit.weights(graph).ndim
        scale = graph.add(made.scale.reshape(1, -1, *([1] * (rank - 2))), f"{scale}_channels")
        zeros = graph.constant(zero_point)
        assert zeros is not None
        zero_point = graph.add(zeros[0], f"{zero_point}_scalar")
    integers, cast, scales = (
        graph.name(f"{output}_{part}") for part in ("integers", "cast", "scales")
    )
    bias = node.input[2] if is_convolution and len(node.input) > 2 else ""
    product = graph.name(f"{output}_product") if bias else output
    name = node.name
    made_nodes = [
        helper.make_node(
            "ConvInteger" if is_convolution else "MatMulInteger",
            [activation[0], stored.integers, activation[2], zero_point],
            [integers],
            name,
            **options(node),
        ),
        helper.make_node(
            "Cast", [integers], [cast], graph.name(f"{name}_cast"), to=TensorProto.FLOAT
        ),
        helper.make_node("Mul", [activation[1], scale], [scales], graph.name(f"{name}_scales")),
        helper.make_node("Mul", [cast, scales], [product], graph.name(f"{name}_scaled")),
    ]
    if bias:
        values = graph.float_constant(bias)
        assert values is not None
        rank = unit.weights(graph).ndim
        shaped = graph.add(values.reshape(1, -1, *([1] * (rank - 2))), f"{bias}_channels")
        add = helper.make_node("Add", [product, shaped], [output], graph.name(f"{name}_bias"))
        made_nodes.append(add)
    return made_nodes
