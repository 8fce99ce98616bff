"""TFLite models of one operator each, in any combination of types, for every common operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import ml_dtypes
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Shape = tuple[int, ...]

#: Element type by name -> its number in the schema.
_NUMBERS = {
    name.lower(): value for name, value in vars(schema.TensorType).items() if name[0] != "_"
}

#: Types that stand for reals, with a scale.
QUANTIZED = frozenset({"int8", "uint8", "int16", "int4"})


@dataclass(frozen=True)
class Operand:
    """An input or output.

    Attributes:
        dtype: 'T' stands for the type that is tried, 'W' for that of the weights.
            'B' for that of the bias.
        values: of a constant; ones where none are given.
    """

    shape: Shape
    dtype: str = "T"
    values: tuple[int, ...] | None = None
    constant: bool = False


@dataclass(frozen=True)
class Operator:
    """How to use an operator.

    Attributes:
        options: the schema's table and its fields.
        weights: whether it has weights, whose type may be another than that of its data.
        version: that of the operator.
    """

    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]
    options: tuple[str, dict[str, Any]] | None = None
    weights: bool = False
    version: int = 1


def A(*shape: int, dtype: str = "T") -> Operand:  # noqa: N802
    return Operand(shape, dtype)


def ints(*values: int, dtype: str = "int32") -> Operand:
    return Operand((len(values),), dtype, values, constant=True)


def weights(*shape: int) -> Operand:
    return Operand(shape, "W", None, constant=True)


X = A(1, 4, 4, 4)
Y = (X,)


def _unary(*shape: int, options: Any = None, out: str = "T") -> Operator:
    shape = shape or (1, 4, 4, 4)
    return Operator((A(*shape),), (A(*shape, dtype=out),), options)


def _binary(options: Any = None, out: str = "T") -> Operator:
    return Operator((X, X), (A(1, 4, 4, 4, dtype=out),), options)


def _reduce() -> Operator:
    return Operator((X, ints(1, 2)), (A(1, 4),), ("ReducerOptions", {"keepDims": False}))


_POOL = {"padding": 1, "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
_CONV = {"padding": 1, "strideW": 1, "strideH": 1}

OPERATORS: dict[str, Operator] = {
    "ADD": _binary(("AddOptions", {})),
    "SUB": _binary(("SubOptions", {})),
    "MUL": _binary(("MulOptions", {})),
    "DIV": _binary(("DivOptions", {})),
    "MAXIMUM": _binary(("MaximumMinimumOptions", {})),
    "MINIMUM": _binary(("MaximumMinimumOptions", {})),
    "SQUARED_DIFFERENCE": _binary(("SquaredDifferenceOptions", {})),
    "POW": _binary(("PowOptions", {})),
    "FLOOR_DIV": _binary(("FloorDivOptions", {})),
    "FLOOR_MOD": _binary(("FloorModOptions", {})),
    "ATAN2": _binary(),
    "EQUAL": _binary(("EqualOptions", {}), "bool"),
    "NOT_EQUAL": _binary(("NotEqualOptions", {}), "bool"),
    "GREATER": _binary(("GreaterOptions", {}), "bool"),
    "GREATER_EQUAL": _binary(("GreaterEqualOptions", {}), "bool"),
    "LESS": _binary(("LessOptions", {}), "bool"),
    "LESS_EQUAL": _binary(("LessEqualOptions", {}), "bool"),
    "LOGICAL_AND": _binary(("LogicalAndOptions", {})),
    "LOGICAL_OR": _binary(("LogicalOrOptions", {})),
    "LOGICAL_NOT": _unary(options=("LogicalNotOptions", {})),
    "BITWISE_XOR": _binary(),
    "RIGHT_SHIFT": _binary(),
    "ABS": _unary(options=("AbsOptions", {})),
    "NEG": _unary(options=("NegOptions", {})),
    "SIGN": _unary(),
    "CEIL": _unary(),
    "FLOOR": _unary(),
    "ROUND": _unary(),
    "EXP": _unary(options=("ExpOptions", {})),
    "LOG": _unary(),
    "SIN": _unary(),
    "COS": _unary(options=("CosOptions", {})),
    "SQRT": _unary(),
    "RSQRT": _unary(),
    "SQUARE": _unary(options=("SquareOptions", {})),
    "RELU": _unary(),
    "RELU6": _unary(),
    "RELU_N1_TO_1": _unary(),
    "RELU_0_TO_1": _unary(),
    "LEAKY_RELU": _unary(options=("LeakyReluOptions", {"alpha": 0.1})),
    "PRELU": Operator((X, Operand((1, 1, 4), constant=True)), Y),
    "ELU": _unary(),
    "GELU": _unary(options=("GeluOptions", {})),
    "HARD_SWISH": _unary(options=("HardSwishOptions", {})),
    "LOGISTIC": _unary(),
    "TANH": _unary(),
    "SOFTMAX": _unary(1, 8, options=("SoftmaxOptions", {"beta": 1.0})),
    "LOG_SOFTMAX": _unary(1, 8, options=("LogSoftmaxOptions", {})),
    "L2_NORMALIZATION": _unary(options=("L2NormOptions", {})),
    "LOCAL_RESPONSE_NORMALIZATION": _unary(
        options=("LocalResponseNormalizationOptions", {"radius": 1, "bias": 1.0, "alpha": 1.0})
    ),
    "AVERAGE_POOL_2D": Operator((X,), (A(1, 2, 2, 4),), ("Pool2DOptions", _POOL)),
    "MAX_POOL_2D": Operator((X,), (A(1, 2, 2, 4),), ("Pool2DOptions", _POOL)),
    "L2_POOL_2D": Operator((X,), (A(1, 2, 2, 4),), ("Pool2DOptions", _POOL)),
    "CONV_2D": Operator(
        (X, weights(8, 1, 1, 4), Operand((8,), "B", constant=True)),
        (A(1, 4, 4, 8),),
        ("Conv2DOptions", _CONV | {"dilationWFactor": 1, "dilationHFactor": 1}),
        weights=True,
    ),
    "DEPTHWISE_CONV_2D": Operator(
        (X, weights(1, 3, 3, 4), Operand((4,), "B", constant=True)),
        (A(1, 2, 2, 4),),
        (
            "DepthwiseConv2DOptions",
            _CONV | {"depthMultiplier": 1, "dilationWFactor": 1, "dilationHFactor": 1},
        ),
        weights=True,
    ),
    "TRANSPOSE_CONV": Operator(
        (ints(1, 8, 8, 8), weights(8, 2, 2, 4), X),
        (A(1, 8, 8, 8),),
        ("TransposeConvOptions", {"padding": 1, "strideW": 2, "strideH": 2}),
        weights=True,
    ),
    "CONV_3D": Operator(
        (A(1, 4, 4, 4, 2), weights(1, 1, 1, 2, 4)),
        (A(1, 4, 4, 4, 4),),
        ("Conv3DOptions", {"padding": 1, "strideD": 1, "strideW": 1, "strideH": 1}),
        weights=True,
    ),
    "FULLY_CONNECTED": Operator(
        (A(1, 8), weights(4, 8), Operand((4,), "B", constant=True)),
        (A(1, 4),),
        ("FullyConnectedOptions", {}),
        weights=True,
    ),
    "BATCH_MATMUL": Operator(
        (A(1, 4, 8), weights(1, 8, 4)), (A(1, 4, 4),), ("BatchMatMulOptions", {}), weights=True
    ),
    "EMBEDDING_LOOKUP": Operator((ints(0, 1), A(8, 4)), (A(2, 4),)),
    "CONCATENATION": Operator((X, X), (A(1, 4, 4, 8),), ("ConcatenationOptions", {"axis": 3})),
    "RESHAPE": Operator((X, ints(1, 64)), (A(1, 64),), ("ReshapeOptions", {"newShape": [1, 64]})),
    "TRANSPOSE": Operator((X, ints(0, 3, 1, 2)), Y, ("TransposeOptions", {})),
    "SQUEEZE": Operator((X,), (A(4, 4, 4),), ("SqueezeOptions", {"squeezeDims": [0]})),
    "EXPAND_DIMS": Operator((A(4, 4), ints(0)), (A(1, 4, 4),), ("ExpandDimsOptions", {})),
    "SLICE": Operator(
        (X, ints(0, 0, 0, 0), ints(1, 2, 2, 2)), (A(1, 2, 2, 2),), ("SliceOptions", {})
    ),
    "STRIDED_SLICE": Operator(
        (X, ints(0, 0, 0, 0), ints(1, 2, 2, 2), ints(1, 1, 1, 1)),
        (A(1, 2, 2, 2),),
        ("StridedSliceOptions", {}),
    ),
    "PAD": Operator(
        (X, Operand((4, 2), "int32", (0, 0, 1, 1, 1, 1, 0, 0), True)),
        (A(1, 6, 6, 4),),
        ("PadOptions", {}),
    ),
    "PADV2": Operator(
        (
            X,
            Operand((4, 2), "int32", (0, 0, 1, 1, 1, 1, 0, 0), True),
            Operand((1,), "T", (0,), True),
        ),
        (A(1, 6, 6, 4),),
        ("PadV2Options", {}),
    ),
    "MIRROR_PAD": Operator(
        (X, Operand((4, 2), "int32", (0, 0, 1, 1, 1, 1, 0, 0), True)),
        (A(1, 6, 6, 4),),
        ("MirrorPadOptions", {}),
    ),
    "SPLIT": Operator(
        (ints(3), X), (A(1, 4, 4, 2), A(1, 4, 4, 2)), ("SplitOptions", {"numSplits": 2})
    ),
    "SPLIT_V": Operator(
        (X, ints(1, 3), ints(3)),
        (A(1, 4, 4, 1), A(1, 4, 4, 3)),
        ("SplitVOptions", {"numSplits": 2}),
    ),
    "PACK": Operator((A(4, 4), A(4, 4)), (A(2, 4, 4),), ("PackOptions", {"valuesCount": 2})),
    "UNPACK": Operator((A(2, 4, 4),), (A(4, 4), A(4, 4)), ("UnpackOptions", {"num": 2})),
    "TILE": Operator((A(1, 4), ints(2, 1)), (A(2, 4),), ("TileOptions", {})),
    "GATHER": Operator((A(4, 4), ints(0, 1)), (A(2, 4),), ("GatherOptions", {})),
    "GATHER_ND": Operator(
        (A(4, 4), Operand((2, 1), "int32", (0, 1), True)), (A(2, 4),), ("GatherNdOptions", {})
    ),
    "SCATTER_ND": Operator(
        (Operand((2, 1), "int32", (0, 1), True), A(2, 4), ints(4, 4)),
        (A(4, 4),),
        ("ScatterNdOptions", {}),
    ),
    "BROADCAST_TO": Operator(
        (A(1, 4), ints(4, 4)), (A(4, 4),), ("BroadcastToOptions", {}), version=2
    ),
    "REVERSE_V2": Operator((X, ints(1)), Y, ("ReverseV2Options", {})),
    "CAST": Operator((X,), (A(1, 4, 4, 4, dtype="float32"),), ("CastOptions", {})),
    "QUANTIZE": Operator((X,), (A(1, 4, 4, 4, dtype="int8"),), ("QuantizeOptions", {})),
    "DEQUANTIZE": Operator((X,), (A(1, 4, 4, 4, dtype="float32"),), ("DequantizeOptions", {})),
    "MEAN": _reduce(),
    "SUM": _reduce(),
    "REDUCE_MAX": _reduce(),
    "REDUCE_MIN": _reduce(),
    "REDUCE_PROD": _reduce(),
    "REDUCE_ANY": _reduce(),
    "REDUCE_ALL": _reduce(),
    "ARG_MAX": Operator(
        (X, ints(3)),
        (A(1, 4, 4, dtype="int32"),),
        ("ArgMaxOptions", {"outputType": schema.TensorType.INT32}),
    ),
    "ARG_MIN": Operator(
        (X, ints(3)),
        (A(1, 4, 4, dtype="int32"),),
        ("ArgMinOptions", {"outputType": schema.TensorType.INT32}),
    ),
    "TOPK_V2": Operator(
        (A(1, 8), Operand((), "int32", (2,), True)),
        (A(1, 2), A(1, 2, dtype="int32")),
        ("TopKV2Options", {}),
    ),
    "CUMSUM": Operator((X, ints(3)), Y, ("CumsumOptions", {})),
    "RESIZE_BILINEAR": Operator((X, ints(8, 8)), (A(1, 8, 8, 4),), ("ResizeBilinearOptions", {})),
    "RESIZE_NEAREST_NEIGHBOR": Operator(
        (X, ints(8, 8)), (A(1, 8, 8, 4),), ("ResizeNearestNeighborOptions", {})
    ),
    "DEPTH_TO_SPACE": Operator((X,), (A(1, 8, 8, 1),), ("DepthToSpaceOptions", {"blockSize": 2})),
    "SPACE_TO_DEPTH": Operator((X,), (A(1, 2, 2, 16),), ("SpaceToDepthOptions", {"blockSize": 2})),
    "SPACE_TO_BATCH_ND": Operator(
        (X, ints(2, 2), Operand((2, 2), "int32", (0, 0, 0, 0), True)),
        (A(4, 2, 2, 4),),
        ("SpaceToBatchNDOptions", {}),
    ),
    "BATCH_TO_SPACE_ND": Operator(
        (A(4, 2, 2, 4), ints(2, 2), Operand((2, 2), "int32", (0, 0, 0, 0), True)),
        Y,
        ("BatchToSpaceNDOptions", {}),
    ),
    "SELECT": Operator(
        (A(1, 4, dtype="bool"), A(1, 4), A(1, 4)), (A(1, 4),), ("SelectOptions", {})
    ),
    "SELECT_V2": Operator(
        (A(1, 4, dtype="bool"), A(1, 4), A(1, 4)), (A(1, 4),), ("SelectV2Options", {})
    ),
    "WHERE": Operator(
        (
            A(
                4,
            ),
        ),
        (A(4, 1, dtype="int64"),),
        ("WhereOptions", {}),
    ),
    "ZEROS_LIKE": _unary(options=("ZerosLikeOptions", {})),
    "SHAPE": Operator(
        (X,), (A(4, dtype="int32"),), ("ShapeOptions", {"outType": schema.TensorType.INT32})
    ),
    "FILL": Operator((ints(2, 2), A()), (A(2, 2),), ("FillOptions", {})),
    "RANGE": Operator(
        tuple(Operand((), "T", (v,), True) for v in (0, 4, 1)), (A(4),), ("RangeOptions", {})
    ),
    "ONE_HOT": Operator(
        (A(2, dtype="int32"), Operand((), "int32", (4,), True), A(), A()),
        (A(2, 4),),
        ("OneHotOptions", {"axis": -1}),
    ),
    "DYNAMIC_UPDATE_SLICE": Operator((A(4, 4), A(2, 4), ints(0, 0)), (A(4, 4),)),
}


TYPES = (
    "float32",
    "float16",
    "bfloat16",
    "float64",
    "int4",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "bool",
    "complex64",
)

#: Activations and weights that kernels are written for. Other pairs that a kernel does not refuse
#: are read as something that they are not.
PAIRS = (
    "float32*float32",
    "float16*float16",
    "float32*int8",
    "float32*uint8",
    "float32*int4",
    "int8*int8",
    "int8*int4",
    "uint8*uint8",
    "int16*int8",
    "int16*int4",
    "int16*int16",
)


def typed_models() -> dict[str, bytes]:
    """'OPERATOR/TYPES/CHANNELS' -> a model; CHANNELS is 'one' or 'each', of the scales."""
    made = {}
    for name, operator in OPERATORS.items():
        if not operator.weights:
            made |= {f"{name}/{each}/one": one_operator(name, each) for each in TYPES}
            continue
        for pair in PAIRS:
            data, weights = pair.split("*")
            made[f"{name}/{pair}/one"] = one_operator(name, data, weights)
            if weights in ("int8", "int4", "uint8"):
                made[f"{name}/{pair}/each"] = one_operator(name, data, weights, per_channel=True)
    return made


def code_only(code: int, number: int) -> bytes:
    """A model that names an operator and runs none."""
    model, graph, entry = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), number
    graph.name, graph.tensors, graph.operators, graph.inputs, graph.outputs = b"", [], [], [], []
    model.version, model.description, model.buffers = 3, b"", [schema.BufferT()]
    model.operatorCodes, model.subgraphs = [entry], [graph]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def custom_node(name: str) -> bytes:
    """A model of one custom operator without options, on four floats."""
    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = name.encode(), 1
    node = schema.OperatorT()
    node.opcodeIndex, node.inputs, node.outputs = 0, [0], [1]
    graph.name, graph.tensors, graph.operators, graph.inputs, graph.outputs = (
        b"main", [], [node], [0], [1],
    )  # fmt: skip
    model.version, model.description, model.buffers = 3, b"", [schema.BufferT()]
    model.operatorCodes, model.subgraphs = [code], [graph]
    for _ in range(2):
        _add(model, graph, A(1, 4), {"T": "float32"}, per_channel=False, name="CUSTOM")
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def one_operator(
    name: str,
    dtype: str,
    weights: str | None = None,
    *,
    per_channel: bool = False,
    operator: Operator | None = None,
) -> bytes:
    """A model of one node, with `dtype` for its data and `weights` for its weights.

    Args:
        operator: another use of it than that of `OPERATORS`.
    """
    operator = operator or OPERATORS[name]
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.buffers = 3, b"", [schema.BufferT()]
    graph.name, graph.tensors, graph.inputs, graph.outputs = b"main", [], [], []
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = operator.version
    node = schema.OperatorT()
    node.opcodeIndex, node.inputs, node.outputs = 0, [], []
    if operator.options is not None:
        table, values = operator.options
        made = getattr(schema, f"{table}T")()
        for key, value in values.items():
            setattr(made, key, value)
        node.builtinOptions = made
        node.builtinOptionsType = getattr(schema.BuiltinOptions, table)
    model.operatorCodes, model.subgraphs, graph.operators = [code], [graph], [node]
    named = {"T": dtype, "W": weights or dtype, "B": _bias(dtype, weights or dtype)}
    for side, operands in ((node.inputs, operator.inputs), (node.outputs, operator.outputs)):
        for operand in operands:
            if operand is None:
                side.append(-1)
                continue
            index = _add(model, graph, operand, named, per_channel, name)
            side.append(index)
            if side is node.outputs:
                graph.outputs.append(index)
            elif not operand.constant:
                graph.inputs.append(index)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _bias(dtype: str, weights: str) -> str:
    if dtype in ("int8", "uint8"):
        return "int32"
    return {"int16": "int64"}.get(dtype, dtype)


def _add(model: Any, graph: Any, operand: Any, named: dict[str, str], per_channel: bool,
         name: str) -> int:  # fmt: skip
    dtype = named.get(operand.dtype, operand.dtype)
    tensor = schema.TensorT()
    tensor.name, tensor.shape = str(len(graph.tensors)).encode(), list(operand.shape)
    tensor.type, tensor.buffer = _NUMBERS[dtype], 0
    tensor.hasRank = True
    scaled = operand.dtype in ("T", "W", "B") or dtype != "int32"
    bias = operand.dtype == "B" and dtype in ("int32", "int64")
    if bias or (scaled and dtype in QUANTIZED):
        weight = operand.dtype == "W" or bias
        axis = _AXIS.get(name, 0) if operand.dtype == "W" and per_channel else 0
        count = operand.shape[axis] if weight and per_channel else 1
        quantization = schema.QuantizationParametersT()
        quantization.scale = [_scale(name, operand, dtype, bias)] * count
        quantization.zeroPoint = [_zero(name, operand, dtype)] * count
        quantization.quantizedDimension = axis
        tensor.quantization = quantization
    if operand.constant:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(_bytes(operand, dtype), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


#: Which dimension of the weights has a scale for each channel.
_AXIS = {"DEPTHWISE_CONV_2D": 3}

#: Operators whose quantized output has one scale by definition: (scale, zero point of int8).
_FIXED = {
    "SOFTMAX": (1 / 256, -128),
    "LOGISTIC": (1 / 256, -128),
    "TANH": (1 / 128, 0),
    "LOG_SOFTMAX": (16 / 256, 127),
    "L2_NORMALIZATION": (1 / 128, 0),
}


def _is_output(name: str, operand: Operand) -> bool:
    return any(operand is each for each in OPERATORS[name].outputs)


def _scale(name: str, operand: Operand, dtype: str, bias: bool) -> float:
    if bias:
        return 0.25
    if name in _FIXED and _is_output(name, operand):
        return 1 / 32768 if dtype == "int16" else _FIXED[name][0]
    return 0.5


def _zero(name: str, operand: Operand, dtype: str) -> int:
    if name in _FIXED and _is_output(name, operand):
        zero = _FIXED[name][1]
        return {"int8": zero, "uint8": zero + 128}.get(dtype, 0)
    return 0


def _bytes(operand: Operand, dtype: str) -> bytes:
    count = int(np.prod(operand.shape, dtype=int))
    values = operand.values or (1,) * count
    if dtype in ("int4", "uint4"):
        return b"\x11" * ((count + 1) // 2)
    if dtype in ("int2", "uint2"):
        return b"\x55" * ((count + 3) // 4)
    numpy_type = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    return np.array(values).astype(numpy_type).tobytes()
