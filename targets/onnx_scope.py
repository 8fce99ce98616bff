"""What is known of each name in an ONNX graph: its type, its shape, its producer, its constants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .dtypes import tensor_bytes
from .onnx_file import dtype_name, external_location, external_range, graphs_of, named_graphs

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


#: As onnx.TensorProto.EXTERNAL.
_EXTERNAL = 1

_UNKNOWN = Value("undefined", None)


class Inferred(NamedTuple):
    """A GraphProto after shape inference; the same twice where no dimension is open."""

    at_one: Any
    opened: Any


class Scope:
    """One graph. Names that it does not define are those of the graph around it."""

    def __init__(
        self,
        graph: Any,
        inferred: Inferred,
        initializers: Sequence[Any],
        outer: Scope | None = None,
        path: str = "",
        name: str = "",
    ) -> None:
        """Describes a graph and the graphs inside it.

        Args:
            graph: the GraphProto whose nodes are described.
            inferred: the same graph after shape inference, at a batch of 1 and with open
                dimensions left open.
            initializers: its constants, with their values.
            outer: the graph around it.
            path: tells constants of the same name in different graphs apart.
            name: that of the graph; '' for the main one.
        """
        self.graph = graph
        self.name = name
        self.outer = outer
        #: The graphs inside each node, by the node's position.
        self.inner: dict[int, list[Scope]] = {}
        self._values: dict[str, Value] = {}
        self._tensors: dict[str, Any] = {}
        self.producers: dict[str, Any] = {}
        self.sparse: set[str] = set()
        self._inputs = frozenset(value.name for value in graph.input)
        #: For names computed from constants alone: the constants, with their bytes.
        self._constants: dict[str, dict[str, int]] = {}
        for value in _value_infos(inferred.at_one):
            self._values[value.name] = _value(value.type)
        #: Where they differ from those at a batch of 1.
        self._open_shapes: dict[str, Shape] = {}
        if inferred.opened is not inferred.at_one:
            self._open_shapes = {
                v.name: _value(v.type).shape for v in _value_infos(inferred.opened)
            }
        for tensor in initializers:
            self._add_constant(path, tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            self._add_sparse(path, sparse.values.name, sparse)
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

    def has(self, name: str) -> bool:
        """Whether there is such a tensor: an input, a constant, or what a node computes."""
        here = (self._inputs, self.producers, self._tensors, self.sparse)
        if any(name in names for names in here):
            return True
        return self.outer is not None and self.outer.has(name)

    def _enter(self, inferred: Inferred, path: str) -> None:
        graphs = [(p, node, named_graphs(node)) for p, node in enumerate(self.graph.node)]
        holders = [holder for holder in graphs if holder[2] and holder[1].output]
        if not holders:
            return
        at_one, opened = _by_output(inferred.at_one), _by_output(inferred.opened)
        names = Counter(node.name for _, node, _ in holders)
        for position, node, held in holders:
            output = node.output[0]
            # Nodes need no name, and may share one; outputs are there but once.
            name = node.name if names[node.name] == 1 and node.name else output
            twins = zip(graphs_of(at_one[output]), graphs_of(opened[output]), strict=True)
            self.inner[position] = [
                Scope(
                    graph,
                    Inferred(*twin),
                    graph.initializer,
                    self,
                    f"{path}/{position}.{index}",
                    "/".join(filter(None, (self.name, name, attribute))),
                )
                for index, ((attribute, graph), twin) in enumerate(zip(held, twins, strict=True))
            ]

    def _add_constant(self, path: str, name: str, tensor: Any) -> None:
        shape = tuple(tensor.dims)
        dtype = dtype_name(tensor.data_type)
        self._values[name] = Value(dtype, shape)
        self._tensors[name] = tensor
        self._constants[name] = {_identity(path, name, tensor): _stored_bytes(tensor, dtype, shape)}

    def _add_sparse(self, path: str, name: str, sparse: Any) -> None:
        """Values and where they stand; everything else is zero."""
        dtype = dtype_name(sparse.values.data_type)
        size = sum(
            tensor_bytes(dtype_name(part.data_type), tuple(part.dims)) or 0
            for part in (sparse.values, sparse.indices)
        )
        self._values[name] = Value(dtype, tuple(sparse.dims))
        self._constants[name] = {f"{path}/{name}": size}
        self.sparse.add(name)

    def _add_constant_node(self, path: str, node: Any) -> None:
        name = node.output[0]
        for attribute in node.attribute:
            if attribute.name == "value":
                self._add_constant(path, name, attribute.t)
                return
            if attribute.name == "sparse_value":
                self._add_sparse(path, name, attribute.sparse_tensor)
                return
        value = self._values.get(name, _UNKNOWN)
        self._constants[name] = {f"{path}/{name}": tensor_bytes(value.dtype, value.shape) or 0}

    def _derive(self, node: Any) -> None:
        if node.op_type in _RANDOM or not node.input:
            return
        sources = [self.constants(name) for name in node.input if name]
        known = [source for source in sources if source is not None]
        if known and len(known) == len(sources):
            merged = {key: size for source in known for key, size in source.items()}
            self._constants.update({name: merged for name in node.output})

    def constant(self, name: str) -> tuple[str, int] | None:
        """What identifies a constant in the file, and its bytes; None for what is computed."""
        if name in self._values or name in self.producers or self.outer is None:
            is_stored = name in self._tensors or name in self.sparse or self._is_constant_node(name)
            return next(iter(self._constants[name].items())) if is_stored else None
        return self.outer.constant(name)

    def is_sparse(self, name: str) -> bool:
        if name in self._values or self.outer is None:
            return name in self.sparse
        return self.outer.is_sparse(name)

    def _is_constant_node(self, name: str) -> bool:
        node = self.producers.get(name)
        return node is not None and node.op_type == "Constant" and name in self._constants

    def constants(self, name: str) -> dict[str, int] | None:
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

    def open_shape(self, name: str) -> Shape:
        """The shape with open dimensions left open."""
        if name in self._open_shapes and name not in self._constants:
            return self._open_shapes[name]
        if name in self._values or self.outer is None:
            return self.value(name).shape
        return self.outer.open_shape(name)

    def tensor(self, name: str) -> Any | None:
        """The TensorProto of a constant; None for everything else."""
        if name in self._tensors:
            return self._tensors[name]
        return self.outer.tensor(name) if self.outer is not None else None

    def producer(self, name: str) -> Any | None:
        if name in self.producers:
            return self.producers[name]
        return self.outer.producer(name) if self.outer is not None else None


def _value_infos(graph: Any) -> Iterator[Any]:
    yield from graph.value_info
    yield from graph.input
    yield from graph.output


def _by_output(graph: Any) -> dict[str, Any]:
    """The nodes that hold graphs, by their first output."""
    return {n.output[0]: n for n in graph.node if n.output and named_graphs(n)}


def _identity(path: str, name: str, tensor: Any) -> str:
    """Of a constant in the file: external ones can share their bytes."""
    if tensor.data_location != _EXTERNAL:
        return f"{path}/{name}"
    offset, length = external_range(tensor)
    return f"{external_location(tensor)}@{offset}+{length or ''}"


def _stored_bytes(tensor: Any, dtype: str, shape: tuple[int, ...]) -> int:
    size = tensor_bytes(dtype, shape)
    return sum(map(len, tensor.string_data)) if size is None else size


def _value(kind: Any) -> Value:
    if not kind.HasField("tensor_type"):
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
