"""An ONNX graph that is being changed: its constants by name, and new ones without a clash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..ir_version import oldest_ir_version

Node = Any
"""An onnx.NodeProto."""

#: The domain of ONNX Runtime's own operators.
CONTRIB = "com.microsoft"

#: Types that QuantizeLinear and DequantizeLinear of ONNX take from opset 21 on; ONNX Runtime's own
#: take them before.
_NARROW_OPSET = 21
_LATE_TYPES = (TensorProto.INT16, TensorProto.INT4)

_LONGEST_NAME = 100


class Graph:
    """The main graph of a model, changed in place.

    Attributes:
        nodes: in an order in which every node stands after those that it reads.
        prelude: nodes to put before all others: they read constants only.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._proto = model.graph
        self._constants = {tensor.name: tensor for tensor in self._proto.initializer}
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._types = _types(model.graph)
        self._taken = set(self._constants) | {v.name for v in self._proto.input}
        self._taken |= {n for node in self._proto.node for n in (*node.output, node.name)}
        self.nodes: list[Node] = list(self._proto.node)
        self.prelude: list[Node] = []
        self.inputs = [v.name for v in self._proto.input if v.name not in self._constants]
        self.outputs = {value.name for value in self._proto.output}
        self.inner_reads = {name for node in self.nodes for name in _reads_inside(node)}
        self._taken |= self.inner_reads

    @property
    def opset(self) -> int:
        """The version of the standard operator set."""
        return next(int(o.version) for o in self._model.opset_import if o.domain in ("", "ai.onnx"))

    def consumers(self) -> dict[str, list[tuple[Node, int]]]:
        """Which nodes read a tensor, and as which of their inputs."""
        found: dict[str, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for place, name in enumerate(node.input):
                if name:
                    found.setdefault(name, []).append((node, place))
        return found

    def producers(self) -> dict[str, Node]:
        """Which node computes a tensor."""
        return {name: node for node in self.nodes for name in node.output if name}

    def is_typed(self, name: str) -> bool:
        """Whether the type of a tensor is known, or it is one that is left out."""
        return not name or name in self._types or name in self._constants

    def is_float(self, name: str) -> bool:
        """Whether a tensor is known to be float32, and no constant."""
        return name in self._types and self._types[name].elem_type == TensorProto.FLOAT

    def is_float_or_constant(self, name: str) -> bool:
        """Whether a tensor is known to be float32, be it computed or a constant."""
        return self.is_float(name) or self.float_constant(name) is not None

    def shape(self, name: str) -> list[int | None] | None:
        """The shape of a tensor as far as known; None marks a size known at run time only."""
        value = self._types.get(name)
        if value is None or not value.HasField("shape"):
            return None
        return [d.dim_value if d.HasField("dim_value") else None for d in value.shape.dim]

    def declare_float(self, name: str, shape: list[int | None] | None) -> None:
        """Notes that a new tensor is float32, and its shape as far as known."""
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        self._proto.value_info.append(value)
        self._types[name] = value.type.tensor_type

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """The values of a constant; None if it is none."""
        if name not in self._constants:
            return None
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self._constants[name])
        return self._arrays[name]

    def float_constant(self, name: str) -> npt.NDArray[np.float32] | None:
        """The values of a float32 constant; None if it is none."""
        if name not in self._constants or self._constants[name].data_type != TensorProto.FLOAT:
            return None
        return self.constant(name)

    def name(self, wanted: str) -> str:
        """A name that nothing in the graph has yet, and that is now taken."""
        # Converters write names of hundreds of characters, and quantization many of each.
        stem = wanted[-_LONGEST_NAME:]
        name, count = stem, 1
        while name in self._taken:
            name, count = f"{stem}_{count}", count + 1
        self._taken.add(name)
        return name

    def add(self, array: npt.NDArray[Any], wanted: str, data_type: int | None = None) -> str:
        """A new constant, and its name.

        Args:
            data_type: INT4 for an integer array that is to be stored in 4 bits; None otherwise.
        """
        name = self.name(wanted)
        if data_type == TensorProto.INT4:
            flat = np.append(array.ravel(), [0] * (array.size % 2)).astype(np.uint8) & 0xF
            raw = (flat[::2] | flat[1::2] << 4).tobytes()
            tensor = helper.make_tensor(name, data_type, array.shape, raw, raw=True)
        else:
            tensor = numpy_helper.from_array(np.asarray(array, order="C"), name)
        self._constants[name] = tensor
        return name

    def quantization_domain(self, data_type: int) -> str:
        """Whose QuantizeLinear and DequantizeLinear take a type."""
        return CONTRIB if data_type in _LATE_TYPES and self.opset < _NARROW_OPSET else ""

    def finish(self) -> onnx.ModelProto:
        """The model, with constants and types that nothing refers to left out.

        Its IR version is the oldest that has all of it, so that old runtimes load it.
        """
        proto = self._proto
        nodes = [*self.prelude, *self.nodes]
        del proto.node[:]
        proto.node.extend(nodes)
        used = {name for node in nodes for name in (*node.input, *_reads_inside(node))}
        used |= self.outputs
        kept = [tensor for name, tensor in self._constants.items() if name in used]
        del proto.initializer[:]
        proto.initializer.extend(kept)
        computed = {name for node in nodes for name in node.output}
        types = [value for value in proto.value_info if value.name in computed]
        del proto.value_info[:]
        proto.value_info.extend(types)
        _import_domains(self._model)
        self._model.ir_version = oldest_ir_version(self._model)
        return self._model


def single(consumers: Sequence[tuple[Node, int]]) -> Node | None:
    """The one node that reads a tensor, once and as its first input; None otherwise."""
    return consumers[0][0] if len(consumers) == 1 and consumers[0][1] == 0 else None


def options(node: Node) -> dict[str, Any]:
    """A node's attributes."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _types(graph: Any) -> dict[str, Any]:
    """Types by name; ONNX Runtime leaves those of constants in the graph, which are not wanted."""
    constants = {tensor.name for tensor in graph.initializer}
    values = (*graph.value_info, *graph.input, *graph.output)
    return {v.name: v.type.tensor_type for v in values if v.name not in constants}


def _reads_inside(node: Node) -> Iterator[str]:
    """What the graphs inside a node read, some of it from the graph around them."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from _reads_inside(inner)
            # A branch may give a value of the graph around it as it is.
            yield from (value.name for value in graph.output)


def _import_domains(model: onnx.ModelProto) -> None:
    """Keeps the operator sets that nodes are of: a runtime may not know the others."""
    used = {"" if name == "ai.onnx" else name for name in _domains(model.graph)} | {""}
    versions = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    versions.setdefault(CONTRIB, 1)
    del model.opset_import[:]
    for domain, version in versions.items():
        if domain in used:
            model.opset_import.append(helper.make_opsetid(domain, version))


def _domains(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield node.domain
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _domains(inner)
