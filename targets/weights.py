"""The stored constants of a model, summed up by element type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .dtypes import elements
from .facts import GraphFacts, TensorFacts, WeightFacts
from .formats import Format


@dataclass(frozen=True)
class StoredConstant:
    """Values in the file, with the tensors that read them.

    Attributes:
        dtype: the element type; of values that an operator unpacks itself, that of the values.
        parameters: how many values there are; None where the shape is unknown.
        tensors: the tensors with these values, each with the name of its graph.
    """

    dtype: str
    parameters: int | None
    size_bytes: int
    tensors: tuple[tuple[str, TensorFacts], ...]

    @property
    def first(self) -> TensorFacts:
        return self.tensors[0][1]


def stored_constants(graphs: Iterable[GraphFacts], model_format: Format) -> list[StoredConstant]:
    """All constants of a model in the order of its file, those that share their values once."""
    groups: dict[str, dict[object, tuple[str, TensorFacts]]] = {}
    packed: dict[str, tuple[str, int]] = {}
    for graph in graphs:
        packed.update(_packed(graph))
        for position, tensor in enumerate(graph.tensors):
            if tensor.constant is not None:
                # Graphs of ONNX also list what they read of the graph around them, under its name.
                key = tensor.name if model_format == "onnx" else (graph.name, position)
                groups.setdefault(tensor.constant, {}).setdefault(key, (graph.name, tensor))
    constants = []
    for identity, tensors in groups.items():
        first = next(iter(tensors.values()))[1]
        dtype, parameters = packed.get(identity, (first.dtype, elements(first.shape)))
        constants.append(
            StoredConstant(dtype, parameters, first.constant_bytes, tuple(tensors.values()))
        )
    return constants


def sum_weights(constants: Iterable[StoredConstant]) -> tuple[WeightFacts, ...]:
    """Constants by element type, most bytes first."""
    groups: dict[str, list[StoredConstant]] = {}
    for constant in constants:
        groups.setdefault(constant.dtype, []).append(constant)
    facts = [_sum(dtype, members) for dtype, members in groups.items()]
    return tuple(sorted(facts, key=lambda weights: (-weights.size_bytes, weights.dtype)))


def _sum(dtype: str, members: list[StoredConstant]) -> WeightFacts:
    known = [member.parameters for member in members if member.parameters is not None]
    return WeightFacts(
        dtype=dtype,
        tensors=len(members),
        parameters=sum(known) if len(known) == len(members) else None,
        size_bytes=sum(member.size_bytes for member in members),
        sparse_tensors=sum(member.first.sparse for member in members),
        shared_tensors=sum(len(member.tensors) - 1 for member in members),
    )


def _packed(graph: GraphFacts) -> Iterator[tuple[str, tuple[str, int]]]:
    """Of constants that hold several values in a byte: what they are, and how many.

    MatMulNBits packs a matrix of K x N values (ONNX Runtime, ContribOperators.md).
    """
    for node in graph.nodes:
        if node.operator == "com.microsoft::MatMulNBits":
            weights = graph.operand(node, 1)
            rows, columns = node.attributes.get("K"), node.attributes.get("N")
            if weights is None or weights.constant is None:
                continue
            if isinstance(rows, int) and isinstance(columns, int):
                yield weights.constant, (f"uint{node.attributes.get('bits', 4)}", rows * columns)
