"""Every tensor and node of an ONNX model, graph by graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .facts import GraphFacts, Node, TensorFacts
from .onnx_attributes import plain_attributes
from .onnx_operators import operator_name
from .onnx_scope import Scope
from .onnx_tensor_scales import Scales
from .onnx_values import small_values


def graph_facts(
    scope: Scope, scales: Scales, macs: Sequence[int | None], folder: Path
) -> GraphFacts:
    """One graph; tensors of the graphs around it that it reads are among its own.

    Args:
        scope: the graph.
        scales: how its integers stand for reals.
        macs: multiply-accumulates of one run of each node.
        folder: the model's folder, where external data lies.
    """
    table = _Tensors(scope, scales, folder)
    graph = scope.graph
    given = {tensor.name for tensor in graph.initializer}
    inputs = tuple(table.index(value.name) for value in graph.input if value.name not in given)
    for tensor in graph.initializer:
        table.index(tensor.name)
    for sparse in graph.sparse_initializer:
        table.index(sparse.values.name)
    nodes = tuple(
        Node(
            index=position,
            operator=operator_name(node),
            name=node.name or next(filter(None, node.output), node.op_type),
            version=None,
            inputs=tuple(table.index(name) for name in node.input),
            outputs=tuple(table.index(name) for name in node.output),
            attributes=plain_attributes(node),
            macs=macs[position],
            graphs=tuple(inner.name for inner in scope.inner.get(position, ())),
        )
        for position, node in enumerate(graph.node)
    )
    outputs = tuple(table.index(value.name) for value in graph.output)
    return GraphFacts(scope.name, tuple(table.tensors), nodes, inputs, outputs)


class _Tensors:
    """The tensors of one graph, in the order in which they are met."""

    def __init__(self, scope: Scope, scales: Scales, folder: Path) -> None:
        self.tensors: list[TensorFacts] = []
        self._scope, self._scales, self._folder = scope, scales, folder
        self._found: dict[str, int] = {"": -1}

    def index(self, name: str) -> int:
        """A tensor's position; -1 where the name is empty: the operand is left out."""
        position = self._found.get(name)
        if position is None:
            position = self._found[name] = len(self.tensors)
            self.tensors.append(self._describe(name))
        return position

    def _describe(self, name: str) -> TensorFacts:
        constant = self._scope.constant(name)
        sparse = constant is not None and self._scope.is_sparse(name)
        return TensorFacts(
            name=name,
            dtype=self._scope.value(name).dtype,
            shape=self._scope.open_shape(name),
            constant=constant[0] if constant is not None else None,
            constant_bytes=constant[1] if constant is not None else 0,
            quantization=self._scales.get(name),
            sparse=sparse,
            values=small_values(self._scope, name, self._folder)
            if constant and not sparse
            else None,
        )
