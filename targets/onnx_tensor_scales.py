"""How the integer tensors of an ONNX graph stand for reals (Operators.md, ContribOperators.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .facts import Quantization, TensorQuantization
from .onnx_attributes import numbers
from .onnx_quantized import folded_weights
from .onnx_scope import Scope
from .onnx_values import values

#: Names of a graph's tensors with their quantization.
Scales = dict[str, TensorQuantization]

#: Not among the inputs.
_NONE = -1

#: Operators on integers: positions of (tensor, scale, zero point) among the inputs, and of the
#: first output's scale and zero point among them.
_ON_INTEGERS: dict[str, tuple[tuple[tuple[int, int, int], ...], tuple[int, int] | None]] = {
    "ConvInteger": (((1, _NONE, 3),), None),
    "MatMulInteger": (((1, _NONE, 3),), None),
    "QLinearConv": (((0, 1, 2), (3, 4, 5)), (6, 7)),
    "QLinearMatMul": (((0, 1, 2), (3, 4, 5)), (6, 7)),
    "QGemm": (((0, 1, 2), (3, 4, 5)), (7, 8)),
    "QLinearAdd": (((0, 1, 2), (3, 4, 5)), (6, 7)),
    "QLinearMul": (((0, 1, 2), (3, 4, 5)), (6, 7)),
    "QLinearSigmoid": (((0, 1, 2),), (3, 4)),
    "QLinearLeakyRelu": (((0, 1, 2),), (3, 4)),
    "QLinearSoftmax": (((0, 1, 2),), (3, 4)),
    "QLinearAveragePool": (((0, 1, 2),), (3, 4)),
    "QLinearGlobalAveragePool": (((0, 1, 2),), (3, 4)),
    "MatMulIntegerToFloat": (((0, 2, 4), (1, 3, 5)), None),
    "DynamicQuantizeMatMul": (((1, 2, 3),), None),
}

#: The dimension of the weights that several scales of these operators go along.
_WEIGHT_AXIS = {"QLinearConv": 0, "ConvInteger": 0}

_INTEGERS = ("int", "uint")


class _Use(NamedTuple):
    tensor: str
    scale: str
    zero_point: str
    axis: int
    block: int


def tensor_scales(scope: Scope, folder: Path, outer: Mapping[str, TensorQuantization]) -> Scales:
    """The quantization of each integer tensor that an operator of the graph reads or writes so.

    Args:
        folder: the model's folder, where external data lies.
        outer: the same of the graph around it.
    """
    found: Scales = dict(outer)
    for node in scope.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            found.setdefault(node.output[0], TensorQuantization(False, None, False))
        elif node.op_type == "MatMulNBits" and len(node.input) > 2:
            found.setdefault(node.input[1], _in_blocks(node))
        else:
            for use in _uses(scope, node):
                if use.tensor not in found and use.tensor:
                    dtype = scope.value(use.tensor).dtype
                    if dtype.startswith(_INTEGERS):
                        found[use.tensor] = _described(scope, use, dtype, folder)
    return found


def _uses(scope: Scope, node: Any) -> Iterator[_Use]:
    names = [*node.input, "", "", ""]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        given = numbers(node)
        tensor = node.output[0] if node.op_type == "QuantizeLinear" else names[0]
        axis, block = given.get("axis", 1), given.get("block_size", 0)
        yield _Use(tensor, names[1], names[2], axis, block)
    elif node.op_type == "QLinearConcat":
        yield _Use(node.output[0], names[0], names[1], 1, 0)
        for first in range(2, len(node.input) - 2, 3):
            yield _Use(names[first], names[first + 1], names[first + 2], 1, 0)
    elif node.op_type in _ON_INTEGERS:
        reads, writes = _ON_INTEGERS[node.op_type]
        axis = _WEIGHT_AXIS.get(node.op_type, 1)
        if node.op_type == "QGemm" and numbers(node).get("transB"):
            axis = 0
        names += [""] * 9
        for tensor_at, scale, zero_point in reads:
            yield _Use(names[tensor_at], names[scale], names[zero_point], axis, 0)
        if writes is not None:
            yield _Use(node.output[0], names[writes[0]], names[writes[1]], axis, 0)
    elif node.op_type == "Mul" and (folded := folded_weights(scope, node.output[0])) is not None:
        axis = _longest(scope.value(folded.scale).shape)
        yield _Use(folded.integers, folded.scale, folded.zero_point, axis, 0)


def _described(scope: Scope, use: _Use, dtype: str, folder: Path) -> TensorQuantization:
    # Operators without scales tell by their zero points whether there are several.
    shape = scope.value(use.scale or use.zero_point).shape
    several = shape is not None and any(size != 1 for size in shape)
    rank = len(scope.value(use.tensor).shape or ())
    axis = use.axis + rank if use.axis < 0 else use.axis
    zeros = _values(scope, use.zero_point, folder) if use.zero_point else [0]
    # Of a type without sign, the middle of the range stands for zero.
    middle = 1 << (int(dtype[4:]) - 1) if dtype.startswith("uint") else 0
    scales = None if several or not use.scale else _values(scope, use.scale, folder)
    parameters = None
    if scales and zeros and len(scales) == len(zeros) == 1 and math.isfinite(scales[0]):
        parameters = Quantization(float(scales[0]), int(zeros[0]))
    return TensorQuantization(
        per_channel=several,
        axis=axis if several else None,
        symmetric=zeros is not None and all(zero == middle for zero in zeros),
        parameters=parameters,
        block=use.block or None if several else None,
    )


def _values(scope: Scope, name: str, folder: Path) -> list[Any] | None:
    """A constant's values; None if it is none."""
    tensor = scope.tensor(name)
    array = None if tensor is None else values(tensor, folder)
    return None if array is None else list(array.reshape(-1).tolist())


def _in_blocks(node: Any) -> TensorQuantization:
    """MatMulNBits: weights packed as [N, blocks, bytes], with a scale for each block."""
    symmetric = len(node.input) < 4 or not node.input[3]
    return TensorQuantization(True, 1, symmetric, None, numbers(node).get("block_size"))


def _longest(shape: tuple[int | None, ...] | None) -> int:
    sizes = [size or 0 for size in shape or ()]
    return sizes.index(max(sizes)) if sizes else 0
