"""Runs a quantized ONNX model with its U8S8 products emulated, and all the rest in ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UsageError
from ...targets.onnx_order import reads_of
from ..artifact import Array
from ..runtime import first_line
from .operators import PRODUCTS


class _Stage:
    """Nodes that run together in ONNX Runtime; then, unless it is the last, one product."""

    def __init__(
        self,
        model: Any,
        nodes: Sequence[Any],
        product: Any | None,
        later: set[str],
        tensors: Mapping[str, Any],
    ) -> None:
        made = {name for node in nodes for name in node.output if name}
        read = {name for node in nodes for name in reads_of(node)}
        self.product = product
        self.writes = sorted(made & later)
        self._model, self._nodes = model, nodes
        self._reads = read - made - set(tensors)
        self._tensors = [tensors[name] for name in sorted(read & set(tensors))]
        self._session: Any | None = None

    def run(self, known: dict[str, Array]) -> None:
        """Adds to the known tensors what these nodes make."""
        if not self.writes:
            return
        feeds = {name: known[name] for name in sorted(self._reads & set(known))}
        if self._session is None:
            self._session = self._load(feeds)
        results = self._session.run(self.writes, feeds)
        known.update(zip(self.writes, results, strict=True))

    def _load(self, feeds: Mapping[str, Array]) -> Any:
        """A session of these nodes; the types of what it reads are those of the first arrays.

        The fused model itself names no types of the tensors inside it.
        """
        import onnx
        import onnxruntime as ort
        from onnx import helper

        graph = helper.make_graph(
            list(self._nodes),
            "stage",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim
                )
                for name, array in feeds.items()
            ],
            [onnx.ValueInfoProto(name=name) for name in self.writes],
            self._tensors,
        )
        piece = helper.make_model(graph, opset_imports=self._model.opset_import)
        piece.ir_version = self._model.ir_version
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        return ort.InferenceSession(
            piece.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


class SaturationEmulator:
    """A model whose uint8 times int8 products are computed here, saturating or not.

    ONNX Runtime fuses the graph as it does by itself; the fused integer products are then cut out,
    and what lies between them becomes one session for each piece. So every node runs once.
    """

    def __init__(self, path: Path) -> None:
        """Fuses and cuts the model.

        Raises:
            UsageError: ONNX Runtime refuses the model.
        """
        from onnx import numpy_helper

        try:
            model = _fused(path)
        except Exception as error:
            raise UsageError(f"{path} can't be loaded: {first_line(error)}") from error
        graph = model.graph
        self.inputs = [value.name for value in graph.input]
        self.outputs = [value.name for value in graph.output]
        tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._constants: dict[str, Array] = {}
        groups: list[tuple[list[Any], Any | None]] = [([], None)]
        for node in graph.node:
            if _is_product(node, tensors):
                groups[-1] = (groups[-1][0], node)
                groups.append(([], None))
                for name in node.input:
                    if name in tensors and name not in self._constants:
                        self._constants[name] = numpy_helper.to_array(tensors[name])
            else:
                groups[-1][0].append(node)
        self.products = len(groups) - 1
        needed_later = _needed_later(groups, self.outputs)
        self._stages = [
            _Stage(model, nodes, product, later, tensors)
            for (nodes, product), later in zip(groups, needed_later, strict=True)
        ]

    def run(self, inputs: Sequence[Array], *, saturating: bool) -> list[Array]:
        """One inference.

        Args:
            inputs: as the model takes them, in its order.
            saturating: whether sums overflow as on x86 without VNNI.
        """
        known: dict[str, Array] = {
            **self._constants,
            **dict(zip(self.inputs, inputs, strict=True)),
        }
        for stage in self._stages:
            stage.run(known)
            if stage.product is not None:
                node = stage.product
                operands = tuple(known[name] if name else None for name in node.input)
                compute = PRODUCTS[node.op_type].compute
                known[node.output[0]] = compute(operands, _options(node), saturating)
        return [np.asarray(known[name]) for name in self.outputs]


def _fused(path: Path) -> Any:
    """The model as ONNX Runtime fuses it, before it chooses layouts for this processor."""
    import onnx
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="edgewright-") as scratch:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(scratch) / "fused.onnx")
        options.log_severity_level = 4
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _is_product(node: Any, tensors: Mapping[str, Any]) -> bool:
    """Whether it multiplies uint8 activations with constant int8 weights."""
    from onnx import TensorProto

    kind = PRODUCTS.get(node.op_type)
    if kind is None:
        return False
    weights = tensors.get(node.input[kind.weights])
    if weights is None or weights.data_type != TensorProto.INT8:
        return False
    if node.op_type == "DynamicQuantizeMatMul":
        return True
    return _zero_type(node, tensors) != int(TensorProto.INT8)


def _zero_type(node: Any, tensors: Mapping[str, Any]) -> int | None:
    """The type of the activations, which is that of their zero point; uint8 where there is none."""
    position = 4 if node.op_type == "MatMulIntegerToFloat" else 2
    name = node.input[position] if len(node.input) > position else ""
    return int(tensors[name].data_type) if name in tensors else None


def _options(node: Any) -> dict[str, Any]:
    from onnx import helper

    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def _needed_later(
    groups: Sequence[tuple[list[Any], Any | None]], outputs: Sequence[str]
) -> list[set[str]]:
    """For each group, the names that its own product or anything after it reads."""
    later = set(outputs)
    found: list[set[str]] = []
    for nodes, product in reversed(groups):
        if product is not None:
            later |= set(product.input)
        found.append(set(later))
        for node in nodes:
            later |= reads_of(node)
    return found[::-1]
