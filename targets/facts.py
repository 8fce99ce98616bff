"""What a model file says of itself, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .formats import Format


@dataclass(frozen=True)
class Quantization:
    """Per-tensor affine quantization of a model's input or output.

    real = (quantized - zero_point) * scale; see the TFLite 8-bit quantization specification.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True)
class TensorSpec:
    """A model's input or output.

    Attributes:
        name: the name callers use (for TFLite that of the signature, where there is one).
        shape: None marks a dimension known only at run time.
        dtype: NumPy's name of the type, e.g. 'float32'.
        quantization: present where integers stand for real values.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None

    @property
    def is_dynamic(self) -> bool:
        return None in self.shape

    def describe(self) -> str:
        shape = "x".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype}[{shape}]"


@dataclass(frozen=True)
class TensorQuantization:
    """How a tensor's integers stand for reals: real = (integer - zero_point) * scale.

    Attributes:
        per_channel: whether there is more than one scale.
        axis: the dimension that the scales go along; None per tensor.
        symmetric: whether every zero point is 0 (of unsigned types: the middle of the range).
        parameters: scale and zero point where there is one of each and it is known from the file.
        block: how many values along the axis share a scale; None where the whole axis does.
    """

    per_channel: bool
    axis: int | None
    symmetric: bool
    parameters: Quantization | None = None
    block: int | None = None


@dataclass(frozen=True)
class TensorFacts:
    """One tensor of a graph.

    Attributes:
        shape: None marks a dimension known only at run time; None as a whole: unknown rank.
        constant: what identifies the stored values in the file, so that tensors that share them
            can be told; None for activations.
        constant_bytes: bytes that the values take in the file.
        sparse: whether the values are stored without their zeros.
        variable: whether it keeps its value from one inference to the next.
        values: of a small constant (at most `small_values.MOST_VALUES`), flat, in the file's order;
            None of large ones and of activations.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    constant: str | None = None
    constant_bytes: int = 0
    quantization: TensorQuantization | None = None
    sparse: bool = False
    variable: bool = False
    values: tuple[int, ...] | tuple[float, ...] | None = None


#: A value of an operator's attribute.
Attribute = str | int | float | bool | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """One operator of a graph.

    Attributes:
        index: its position in the file's graph, from 0.
        operator: as in `OperatorFacts`.
        name: what the file calls it; that of its first output where it has none of its own.
        version: of a TFLite operator; None for ONNX, where the opset says it.
        inputs: positions in the graph's `tensors`; -1 where one is left out.
        outputs: likewise.
        attributes: ONNX attributes, or the options of a TFLite builtin, by name.
        macs: multiply-accumulates of one run at batch 1; None where unknown.
        graphs: names of the graphs that it runs.
    """

    index: int
    operator: str
    name: str
    version: int | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: dict[str, Attribute]
    macs: int | None
    graphs: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphFacts:
    """One graph with its nodes in the file's order; '' is the name of the main one.

    Attributes:
        inputs: positions in `tensors`.
        outputs: likewise.
    """

    name: str
    tensors: tuple[TensorFacts, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def operand(self, node: Node, position: int) -> TensorFacts | None:
        """A node's input by its position; None where it is left out."""
        index = node.inputs[position] if position < len(node.inputs) else -1
        return self.tensors[index] if index >= 0 else None


@dataclass(frozen=True)
class OperatorFacts:
    """All the nodes of one operator.

    Attributes:
        name: the operator as the format names it; ONNX operators outside the standard domain
            carry theirs ('com.microsoft::MatMulNBits').
        count: how many nodes.
        dtypes: the element types of the nodes' inputs and outputs, sorted.
        macs: multiply-accumulates of one inference at batch 1; None where a shape, or how often
            a node runs, is unknown.
        weight_bytes: bytes of constants that the nodes read.
        float_count: how many of the nodes read or write floating point values.
    """

    name: str
    count: int
    dtypes: tuple[str, ...]
    macs: int | None
    weight_bytes: int
    float_count: int = 0


@dataclass(frozen=True)
class QuantizedProducts:
    """Convolutions and matrix products of one operator that were quantized in the same way.

    Attributes:
        operator: as in `OperatorFacts`; for QDQ the operator between the QDQ pairs.
        count: how many nodes.
        activation_dtype: what the activations are stored as; 'float32' where only the weights are
            quantized.
        weight_dtype: what the weights are stored as; None where both operands are activations.
        per_channel: whether any weights have more than one scale.
        dynamic: whether the activations are quantized at run time.
        max_weight: largest magnitude of a weight relative to its zero point; None if unknown.
        nodes: their names.
    """

    operator: str
    count: int
    activation_dtype: str
    weight_dtype: str | None
    per_channel: bool
    dynamic: bool
    max_weight: int | None
    nodes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class SignatureFacts:
    """Names that callers use (TFLite), each with the name of the tensor that it stands for."""

    name: str
    graph: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class WeightFacts:
    """The stored constants of one element type.

    Attributes:
        tensors: how many constants; those that share their values count once.
        parameters: how many values they stand for; None where a shape is unknown.
        size_bytes: in the file.
        sparse_tensors: how many of them are stored without their zeros.
        shared_tensors: how many further tensors read values that are counted already.
    """

    dtype: str
    tensors: int
    parameters: int | None
    size_bytes: int
    sparse_tensors: int = 0
    shared_tensors: int = 0


@dataclass(frozen=True)
class UnfusedPair:
    """A QuantizeLinear or DequantizeLinear that the runtime has to run as an operator.

    Attributes:
        asked: whether the runtime itself said so; else its published rules.
    """

    node: str
    operator: str
    reason: str
    asked: bool = False


@dataclass(frozen=True)
class ModelFacts:
    """What `edgewright inspect` tells.

    Attributes:
        peak_activation_bytes: most bytes of activations alive at once, in the file's order of
            execution and without reuse in place, with the state that is kept from one inference
            to the next (TFLite's variables); None where a shape is unknown.
        opset: version of the standard ONNX operator set; None for TFLite.
        min_runtime_version: the oldest TFLite runtime the file itself asks for; None if unsaid.
        ir_version: version of the ONNX file format; None for TFLite.
        quantized: the quantized convolutions and matrix products.
        subgraphs: how many graphs beside the main one (branches, loop bodies); their operators
            are counted, once each.
        external_data: files beside the model that hold its weights; counted in `size_bytes`.
        format_version: of the file format itself: IR version (ONNX), schema version (TFLite).
        producer: the program that wrote the file, with its version, where the file says so.
        opsets: version of every ONNX operator set that the file imports, '' is the standard one.
        metadata: what the file says of itself, by name; long or binary values by their size.
        weights: all stored constants by element type, most bytes first.
        scheme: in words, what is quantized how, and what stayed float.
        unfused: QDQ operators that don't fuse with their neighbours (ONNX).
        graphs: the main graph, then those that nodes run, node by node.
    """

    path: Path
    format: Format
    size_bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[OperatorFacts, ...]
    weight_bytes: int
    peak_activation_bytes: int | None
    opset: int | None = None
    min_runtime_version: str | None = None
    ir_version: int | None = None
    quantized: tuple[QuantizedProducts, ...] = ()
    subgraphs: int = 0
    external_data: tuple[str, ...] = ()
    format_version: int | None = None
    producer: str | None = None
    opsets: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    signatures: tuple[SignatureFacts, ...] = ()
    weights: tuple[WeightFacts, ...] = ()
    scheme: tuple[str, ...] = ()
    unfused: tuple[UnfusedPair, ...] = ()
    graphs: tuple[GraphFacts, ...] = ()

    @property
    def macs(self) -> int | None:
        if any(operator.macs is None for operator in self.operators):
            return None
        return sum(operator.macs or 0 for operator in self.operators)

    @property
    def convolution_share(self) -> float:
        """Convolutions' part of the work; of the weights, where the work is unknown."""
        return self._share(CONVOLUTIONS)

    @property
    def is_quantized(self) -> bool:
        """Whether weights or activations of any operator are integers that stand for reals."""
        return bool(self.quantized) or any(o.name in QUANTIZED_OPERATORS for o in self.operators)

    @property
    def is_float16(self) -> bool:
        """Whether it holds half-precision weights or activations."""
        return any("float16" in operator.dtypes for operator in self.operators)

    def count(self, names: frozenset[str]) -> int:
        return sum(operator.count for operator in self.operators if operator.name in names)

    def _share(self, names: frozenset[str]) -> float:
        def weigh(operator: OperatorFacts) -> int:
            return operator.weight_bytes if self.macs is None else operator.macs or 0

        total = sum(weigh(o) for o in self.operators if o.name in CONVOLUTIONS | MATRIX_PRODUCTS)
        part = sum(weigh(operator) for operator in self.operators if operator.name in names)
        return part / total if total else 0.0


#: Operators of either format whose work is convolution.
CONVOLUTIONS = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "ConvInteger",
        "QLinearConv",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "TRANSPOSE_CONV",
        "CONV_3D",
        "CONV_3D_TRANSPOSE",
    }
)

#: Operators of either format whose work is a matrix product.
MATRIX_PRODUCTS = frozenset(
    {
        "MatMul",
        "Gemm",
        "MatMulInteger",
        "QLinearMatMul",
        "com.microsoft::MatMulNBits",
        "com.microsoft::MatMulIntegerToFloat",
        "com.microsoft::DynamicQuantizeMatMul",
        "FULLY_CONNECTED",
        "BATCH_MATMUL",
    }
)

#: ONNX operators that stand around what is to be computed with integers.
QDQ_OPERATORS = frozenset({"QuantizeLinear", "DequantizeLinear"})

#: ONNX operators that only a quantized model has.
QUANTIZED_OPERATORS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "com.microsoft::MatMulNBits",
        "com.microsoft::GatherBlockQuantized",
    }
)
