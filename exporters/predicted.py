"""What a float model's facts would be in another precision, before it is made.

Predictions judge whether a model can fit; they take no part in a release. Weights and activations
shrink with their widths; where every operator has to be quantized, tensors become int8 as
LiteRT's 8-bit quantization specification has it (per channel, symmetric, biases int32).
"""

from __future__ import annotations

from dataclasses import replace

from ..targets.facts import GraphFacts, ModelFacts, TensorFacts, TensorQuantization
from .quantize.recipe import Precision

#: Bits of a weight and of an activation.
_BITS: dict[Precision, tuple[int, int]] = {
    "float32": (32, 32),
    "float16": (16, 32),
    "int8": (8, 8),
    "mixed": (8, 32),
    "int8-dynamic": (8, 32),
    "int8-weights": (8, 32),
    "int4": (4, 32),
    "int16": (8, 16),
}


def predicted(facts: ModelFacts, precision: Precision, *, full_integer: bool) -> ModelFacts:
    """The facts of a float model in this precision.

    Args:
        facts: of the float model.
        full_integer: whether all operators become int8; else only sizes change.
    """
    weight_bits, activation_bits = _BITS[precision]
    peak = facts.peak_activation_bytes
    saved = facts.weight_bytes - facts.weight_bytes * weight_bits // 32
    return replace(
        facts,
        size_bytes=max(facts.size_bytes - saved, 0),
        weight_bytes=facts.weight_bytes - saved,
        peak_activation_bytes=None if peak is None else peak * activation_bits // 32,
        graphs=tuple(map(_integer_graph, facts.graphs)) if full_integer else facts.graphs,
    )


def _integer_graph(graph: GraphFacts) -> GraphFacts:
    return replace(graph, tensors=tuple(map(_integer_tensor, graph.tensors)))


def _integer_tensor(tensor: TensorFacts) -> TensorFacts:
    if tensor.dtype != "float32":
        return tensor
    constant = tensor.constant is not None
    if constant and tensor.shape is not None and len(tensor.shape) < 2:
        return replace(tensor, dtype="int32")
    scales = TensorQuantization(
        per_channel=constant, axis=0 if constant else None, symmetric=constant
    )
    return replace(
        tensor, dtype="int8", quantization=scales, constant_bytes=tensor.constant_bytes // 4
    )
