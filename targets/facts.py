"""What a model file says of itself, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .profile import Format


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
    """

    operator: str
    count: int
    activation_dtype: str
    weight_dtype: str | None
    per_channel: bool
    dynamic: bool
    max_weight: int | None


@dataclass(frozen=True)
class ModelFacts:
    """What `edgewright inspect` tells.

    Attributes:
        peak_activation_bytes: most bytes of activations alive at once, in the file's order of
            execution and without reuse in place; None where a shape is unknown.
        opset: version of the standard ONNX operator set; None for TFLite.
        min_runtime_version: the oldest TFLite runtime the file itself asks for; None if unsaid.
        ir_version: version of the ONNX file format; None for TFLite.
        quantized: the quantized convolutions and matrix products.
        subgraphs: how many graphs beside the main one (branches, loop bodies); their operators
            are counted, once each.
        external_data: files beside the model that hold its weights; counted in `size_bytes`.
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
