"""Weights as integers in an ONNX graph that computes with floats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

from .grid import Floats
from .onnx_graph import CONTRIB, Graph, Node
from .onnx_units import Unit
from .onnx_weights import WeightStore, bits_of, block_size
from .recipe import Scheme
from .weights import QuantizedWeights

#: MatMulNBits' accuracy_level. 4: the kernel rounds activations to INT8 block by block; 1: it
#: computes in float32. A decoder of GPT-2's size ran at 1.9x of float with 4, at 1.6x without.
_ACCURACY_LEVELS = {"dynamic": 4, "float32": 1}

_FLOAT = TensorProto.FLOAT


def fits(unit: Unit, scheme: Scheme, graph: Graph) -> bool:
    """Whether a unit's weights can be stored so: blocks are for MatMul and embeddings."""
    if unit.is_embedding:
        return bits_of(scheme) == 8 or unit.weights(graph).shape[1] % 2 == 0
    return scheme.granularity != "blockwise" or unit.node.op_type in ("MatMul", "Gemm")


def quantize_weights_only(
    graph: Graph, chosen: Sequence[tuple[Unit, Scheme]], store: WeightStore
) -> None:
    """Puts integers in the place of the units' weights.

    Matrix products in blocks become MatMulNBits; those per tensor or channel get DequantizeLinear,
    of which ONNX Runtime makes MatMulNBits. Embeddings look up integers and scale what they find.
    8-bit weights of convolutions are scaled by operators that it folds when it loads the model,
    which costs no time at all, where DequantizeLinear would be computed each time (0.4x).
    """
    new: dict[str, list[Node]] = {}
    # Embeddings last: they look for the bytes of a product that they are tied to.
    for unit, scheme in sorted(chosen, key=lambda pair: pair[0].is_embedding):
        node = unit.node
        is_narrow = scheme.granularity == "blockwise" or bits_of(scheme) < 8
        if unit.is_embedding:
            make = _gather_blocks if is_narrow else _gather
            new[node.name] = make(graph, unit, scheme, store)
        elif scheme.granularity == "blockwise":
            new[node.name] = [_product(graph, unit, scheme, store)]
        elif node.op_type == "Conv" and not is_narrow:
            node.input[unit.weight_place] = _folded(graph, unit, scheme, store)
        else:
            made = store.quantized(unit, scheme)
            node.input[unit.weight_place] = store.dequantized(unit, scheme, made)
    graph.nodes = [made for node in graph.nodes for made in new.get(node.name, [node])]


def _folded(graph: Graph, unit: Unit, scheme: Scheme, store: WeightStore) -> str:
    made = store.quantized(unit, scheme)
    stored = store.affine(unit, scheme, made)
    values = graph.name(f"{unit.weight}_values")
    title = graph.name(f"{unit.weight}_Cast")
    graph.prelude.append(helper.make_node("Cast", [stored.integers], [values], title, to=_FLOAT))
    shape = (-1, *([1] * (made.integers.ndim - 1)))
    for operator, numbers in _steps(made):
        title = graph.name(f"{unit.weight}_{operator}")
        operand = graph.add(numbers.reshape(shape), f"{title}_operand")
        result = graph.name(f"{title}_result")
        graph.prelude.append(helper.make_node(operator, [values, operand], [result], title))
        values = result
    return values


def _product(graph: Graph, unit: Unit, scheme: Scheme, store: WeightStore) -> Node:
    stored = store.blocks(unit, scheme)
    out, inner = unit.weights(graph).shape
    names = [unit.input, stored.integers, stored.scale]
    return helper.make_node(
        "MatMulNBits",
        [*names, stored.zero_point] if stored.zero_point else names,
        list(unit.node.output),
        unit.node.name,
        domain=CONTRIB,
        K=inner,
        N=out,
        bits=bits_of(scheme),
        block_size=scheme.block_size,
        accuracy_level=_ACCURACY_LEVELS[scheme.activations],
    )


def _gather_blocks(graph: Graph, unit: Unit, scheme: Scheme, store: WeightStore) -> list[Node]:
    stored = store.rows(unit, scheme)
    names = [stored.integers, unit.input, stored.scale]
    node = helper.make_node(
        "GatherBlockQuantized",
        [*names, stored.zero_point] if stored.zero_point else names,
        list(unit.node.output),
        unit.node.name,
        domain=CONTRIB,
        bits=bits_of(scheme),
        block_size=block_size(scheme, unit.weights(graph).shape[1]),
        gather_axis=0,
        quantize_axis=1,
    )
    return [node]


def _gather(graph: Graph, unit: Unit, scheme: Scheme, store: WeightStore) -> list[Node]:
    """Rows of integers, less their zero points, times their scales: all of it standard ONNX.

    DequantizeLinear would have to go through the whole table each time.
    """
    name, output = unit.node.name, unit.node.output[0]
    made = store.quantized(unit, scheme)
    stored = store.affine(unit, scheme, made)
    rows, values = graph.name(f"{output}_rows"), graph.name(f"{output}_integers")
    nodes = [
        helper.make_node("Gather", [stored.integers, unit.input], [rows], name),
        helper.make_node("Cast", [rows], [values], graph.name(f"{name}_Cast"), to=_FLOAT),
    ]
    for operator, numbers in _steps(made):
        title = graph.name(f"{name}_{operator}")
        if numbers.size == 1:
            operand = graph.add(numbers.reshape(()), f"{title}_operand")
        else:
            constant = graph.add(numbers.reshape(-1, 1), f"{title}_rows")
            operand, lookup = graph.name(f"{title}_operand"), graph.name(f"{title}_Gather")
            nodes.append(helper.make_node("Gather", [constant, unit.input], [operand], lookup))
        result = output if operator == "Mul" else graph.name(f"{title}_result")
        nodes.append(helper.make_node(operator, [values, operand], [result], title))
        values = result
    return nodes


def _steps(made: QuantizedWeights) -> list[tuple[str, Floats]]:
    """What makes reals of integers: real = (integer - zero point) * scale."""
    steps = [("Mul", made.scale)]
    if made.zero_point.any():
        steps.insert(0, ("Sub", made.zero_point.astype(np.float32)))
    return steps
