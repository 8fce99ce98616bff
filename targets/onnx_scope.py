"""What is known of each name in an ONNX graph: its type, its shape, its producer, its constants."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .dtypes import tensor_bytes
from .onnx_file import dtype_name, graphs_of

#: Operators that give other values each time they run, though they read nothing that varies.
_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"}
)

Shape = tuple[int | None, ...] | None


@dataclass(frozen=True)
class Value:
    """A tensor's type and shape, as far as known."""

    dtype: str
    shape: Shape


_UNKNOWN = Value("undefined", None)


class Scope:
    """One graph. Names that it does not define are those of the graph around it."""

    def __init__(
        self,
        graph: Any,
        inferred: Any,
        initializers: Sequence[Any],
        outer: Scope | None = None,
        path: str = "",
    ) -> None:
        """Describes a graph and the graphs inside it.

        Args:
            graph: the GraphProto whose nodes are described.
            inferred: the same graph after shape inference.
            initializers: its constants, with their values.
            outer: the graph around it.
            path: tells constants of the same name in different graphs apart.
        """
        self.graph = graph
        self.outer = outer
        #: The graphs inside each node, by the node's position.
        self.inner: dict[int, list[Scope]] = {}
        self._values: dict[str, Value] = {}
        self._tensors: dict[str, Any] = {}
        self.producers: dict[str, Any] = {}
        #: For names computed from constants alone: the constants, with their bytes.
        self._constants: dict[str, dict[Hashable, int]] = {}
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            self._values[value.name] = _value(value.type)
        for tensor in initializers:
            self._add_constant(path, tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            self._add_constant(path, sparse.values.name, sparse.values)
        for node in graph.node:
            for name in node.output:
                self.producers[name] = node
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                self._add_constant_node(path, node)
            else:
                self._derive(node)
        self._enter(inferred, path)

    def walk(self) -> Iterator[Scope]:
        """This graph and all inside it, the outer one first."""
        yield self
        for scopes in self.inner.values():
            for scope in scopes:
                yield from scope.walk()

    def _enter(self, inferred: Any, path: str) -> None:
        twins = {node.output[0]: node for node in inferred.node if node.output}
        for position, node in enumerate(self.graph.node):
            graphs = graphs_of(node)
            if not graphs:
                continue
            known = graphs_of(twins[node.output[0]]) if node.output else graphs
            self.inner[position] = [
                Scope(one, two, one.initializer, self, f"{path}/{position}.{index}")
                for index, (one, two) in enumerate(zip(graphs, known, strict=True))
            ]

    def _add_constant(self, path: str, name: str, tensor: Any) -> None:
        shape = tuple(tensor.dims)
        dtype = dtype_name(tensor.data_type)
        self._values[name] = Value(dtype, shape)
        self._tensors[name] = tensor
        self._constants[name] = {(path, name): tensor_bytes(dtype, shape) or 0}

    def _add_constant_node(self, path: str, node: Any) -> None:
        for attribute in node.attribute:
            if attribute.name == "value":
                self._add_constant(path, node.output[0], attribute.t)
                return
        for name in node.output:
            self._constants[name] = {}

    def _derive(self, node: Any) -> None:
        if node.op_type in _RANDOM or not node.input:
            return
        sources = [self.constants(name) for name in node.input if name]
        known = [source for source in sources if source is not None]
        if known and len(known) == len(sources):
            merged = {key: size for source in known for key, size in source.items()}
            self._constants.update({name: merged for name in node.output})

    def constants(self, name: str) -> dict[Hashable, int] | None:
        """The constants that a name is computed from; None where it also depends on an input."""
        if name in self._constants:
            return self._constants[name]
        if self.outer is None or name in self.producers or name in self._values:
            return None
        return self.outer.constants(name)

    def value(self, name: str) -> Value:
        if name in self._values:
            return self._values[name]
        return self.outer.value(name) if self.outer is not None else _UNKNOWN

    def tensor(self, name: str) -> Any | None:
        """The TensorProto of a constant; None for everything else."""
        if name in self._tensors:
            return self._tensors[name]
        return self.outer.tensor(name) if self.outer is not None else None

    def producer(self, name: str) -> Any | None:
        if name in self.producers:
            return self.producers[name]
        return self.outer.producer(name) if self.outer is not None else None


def _value(kind: Any) -> Value:
    if kind.WhichOneof("value") != "tensor_type":
        return Value(str(kind.WhichOneof("value") or "undefined").removesuffix("_type"), None)
    tensor = kind.tensor_type
    return Value(
        dtype_name(tensor.elem_type), shape_of(tensor) if tensor.HasField("shape") else None
    )


def shape_of(tensor_type: Any) -> tuple[int | None, ...]:
    """The shape of a TypeProto.Tensor; open dimensions are None."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None
        for dim in tensor_type.shape.dim
    )
