"""Half precision for some or all of an ONNX graph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from .grid import Floats
from .onnx_graph import Graph, Node


def to_float16(graph: Graph, names: set[str]) -> None:
    """Lets the nodes of these names compute in float16, with their weights stored so.

    Between two of them float16 is passed on; at the edges values are cast, and all other nodes, the
    inputs and the outputs of the model stay float32. Which operators and inputs have no float16 is
    on ONNX Runtime's own lists.
    """
    _Converter(graph, names).convert()


class _Converter:
    def __init__(self, graph: Graph, names: set[str]) -> None:
        self._graph = graph
        self._names = {node.name for node in graph.nodes if self._can_be_half(node, names)}
        #: The float16 form of a tensor; of those that were computed so; and the float32 form of
        #: the latter.
        self._half: dict[str, str] = {}
        self._computed: set[str] = set()
        self._single: dict[str, str] = {}
        self._nodes: list[Node] = []

    def convert(self) -> None:
        for node in self._graph.nodes:
            if node.name in self._names:
                self._read_half(node)
                self._nodes.append(node)
                self._write_half(node)
            else:
                for place, name in enumerate(node.input):
                    node.input[place] = self._as_single(name)
                self._nodes.append(node)
        self._graph.nodes = self._nodes

    def _can_be_half(self, node: Node, names: set[str]) -> bool:
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

        return (
            node.name in names
            and node.op_type not in DEFAULT_OP_BLOCK_LIST
            and not any(attribute.g.node or attribute.graphs for attribute in node.attribute)
            # What reads no floats (a Cast from integers) gets the type of its output elsewhere.
            and any(map(self._graph.is_float_or_constant, node.input))
            and all(map(self._graph.is_typed, (*node.input, *node.output)))
        )

    def _read_half(self, node: Node) -> None:
        from onnxruntime.transformers.float16 import ALWAYS_FLOAT_INPUTS

        for place, name in enumerate(node.input):
            if place in ALWAYS_FLOAT_INPUTS.get(node.op_type, []):
                node.input[place] = self._as_single(name)
                continue
            values = self._graph.float_constant(name)
            if name in self._half:
                pass
            elif values is not None:
                self._half[name] = self._graph.add(_as_half(values), f"{name}_half")
            elif self._graph.is_float(name):
                self._half[name] = self._cast(name, f"{name}_half", TensorProto.FLOAT16)
            node.input[place] = self._half.get(name, name)

    def _write_half(self, node: Node) -> None:
        if node.op_type == "Cast":
            to = next(attribute for attribute in node.attribute if attribute.name == "to")
            if to.i == TensorProto.FLOAT:
                to.i = TensorProto.FLOAT16
        for place, name in enumerate(node.output):
            if not self._graph.is_float(name):
                continue
            half = self._graph.name(f"{name}_half")
            node.output[place] = self._half[name] = half
            self._computed.add(name)
            if name in self._graph.outputs | self._graph.inner_reads:
                cast = self._graph.name(f"{name}_single_Cast")
                made = helper.make_node("Cast", [half], [name], cast, to=TensorProto.FLOAT)
                self._nodes.append(made)
                self._single[name] = name

    def _as_single(self, name: str) -> str:
        """The float32 form of a tensor that may have been computed in float16."""
        if name in self._computed and name not in self._single:
            self._single[name] = self._cast(self._half[name], f"{name}_single", TensorProto.FLOAT)
        return self._single.get(name, name)

    def _cast(self, source: str, wanted: str, to: int) -> str:
        output, title = self._graph.name(wanted), self._graph.name(f"{wanted}_Cast")
        self._nodes.append(helper.make_node("Cast", [source], [output], title, to=to))
        return output


def _as_half(values: Floats) -> npt.NDArray[np.float16]:
    """Kept finite, and what is not zero is not made zero: it may be divided by."""
    limits = np.finfo(np.float16)
    least = np.copysign(limits.smallest_subnormal.astype(np.float32), values)
    near = np.where((values != 0) & (np.abs(values) < np.abs(least)), least, values)
    return np.clip(near, float(limits.min), float(limits.max)).astype(np.float16)
