"""TFLite files built node by node, and how to run them on each set of kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

Array = npt.NDArray[Any]

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}
ACTIVATIONS = schema.ActivationFunctionType
PADDINGS = schema.Padding


class Graph:
    """A model in the making; tensors are the integers that its methods give."""

    def __init__(self, within: Graph | None = None, name: str = "main") -> None:
        """A model's main graph, or a further one `within` another's model."""
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.graph.name = name.encode()
        if within is not None:
            self.model = within.model
            self.model.subgraphs.append(self.graph)
            return
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes = 3, []
        self.model.buffers = [schema.BufferT()]
        self.model.subgraphs = [self.graph]
        self.model.description = b""

    def tensor(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = name.encode(), list(shape), TYPES[np.dtype(dtype)]
        made.buffer = 0
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def input(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> int:
        index = self.tensor(name, shape, dtype)
        self.graph.inputs.append(index)
        return index

    def constant(self, name: str, values: Array) -> int:
        index = self.tensor(name, values.shape, values.dtype)
        buffer = schema.BufferT()
        buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[index].buffer = len(self.model.buffers) - 1
        return index

    def alias(self, name: str, constant: int) -> int:
        """Another tensor of the same buffer."""
        first = self.graph.tensors[constant]
        index = self.tensor(name, first.shape)
        self.graph.tensors[index].buffer = first.buffer
        return index

    def quantize(self, tensor: int, scale: float, zero_point: int) -> int:
        """The same tensor, with its integers standing for reals."""
        parameters = schema.QuantizationParametersT()
        parameters.scale, parameters.zeroPoint = [scale], [zero_point]
        self.graph.tensors[tensor].quantization = parameters
        return tensor

    def node(
        self, operator: str, inputs: Sequence[int], name: str, shape: Sequence[int],
        options: str | None = None, dtype: Any = np.float32, **values: Any,
    ) -> int:  # fmt: skip
        """Adds a node with one output."""
        code = getattr(schema.BuiltinOperator, operator)
        codes = [each.builtinCode for each in self.model.operatorCodes]
        if code not in codes:
            made = schema.OperatorCodeT()
            made.builtinCode, made.version = code, 1
            made.deprecatedBuiltinCode = min(code, 127)
            self.model.operatorCodes.append(made)
            codes.append(code)
        node = schema.OperatorT()
        node.opcodeIndex = codes.index(code)
        output = self.tensor(name, shape, dtype)
        node.inputs, node.outputs = list(inputs), [output]
        if options is not None:
            node.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            node.builtinOptions = getattr(schema, f"{options}T")(**values)
        self.graph.operators.append(node)
        return output

    def dense(
        self, source: int, weights: int, name: str, bias: int = -1, activation: str = "NONE"
    ) -> int:
        """A matrix product of the last axis."""
        shape = list(self.graph.tensors[source].shape[:-1])
        out = self.graph.tensors[weights].shape[0]
        return self.node(
            "FULLY_CONNECTED", [source, weights, bias], name, [*shape, out],
            "FullyConnectedOptions", keepNumDims=len(shape) > 1,
            fusedActivationFunction=getattr(ACTIVATIONS, activation),
        )  # fmt: skip

    def write(self, path: Path, *outputs: int) -> Path:
        self.graph.outputs = list(outputs)
        path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))
        return path


def run(path: Path, *inputs: Array, **options: Any) -> list[Array]:
    """The outputs as reals, for real inputs, whatever the file takes and gives."""
    interpreter = Interpreter(model_path=str(path), **options)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        scale, zero_point = detail["quantization"]
        if scale:
            limits = np.iinfo(detail["dtype"])
            array = np.clip(np.rint(array / scale) + zero_point, limits.min, limits.max)
        interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))
    interpreter.invoke()
    outputs = []
    for detail in interpreter.get_output_details():
        array, (scale, zero_point) = interpreter.get_tensor(detail["index"]), detail["quantization"]
        outputs.append((array.astype(np.float64) - zero_point) * scale if scale else array)
    return outputs


def sqnr(expected: Sequence[Array], found: Sequence[Array]) -> float:
    """Decibels over all outputs."""
    signal = sum(float(np.square(each, dtype=np.float64).sum()) for each in expected)
    pairs = zip(expected, found, strict=True)
    noise = sum(float(np.square(np.subtract(a, b, dtype=np.float64)).sum()) for a, b in pairs)
    return float(10 * np.log10(signal / max(noise, 1e-300)))


class Stored:
    """What a file holds of its tensors: read from the schema, not through a runtime."""

    def __init__(self, path: Path) -> None:
        self.model = flatbuffer_utils.read_model(str(path))
        self.graph = self.model.subgraphs[0]
        self._names: Mapping[str, int] = {
            tensor.name.decode(): index for index, tensor in enumerate(self.graph.tensors)
        }

    def tensor(self, name: str) -> Any:
        return self.graph.tensors[self._names[name]]

    def integers(self, name: str) -> Array:
        """INT4 is unpacked, the low half of each byte first."""
        tensor = self.tensor(name)
        data = np.frombuffer(self.model.buffers[tensor.buffer].data, np.uint8)
        types = schema.TensorType
        if tensor.type == types.INT4:
            halves = np.stack([data & 15, data >> 4], axis=1).ravel().astype(np.int8)
            values = np.where(halves > 7, halves - 16, halves)[: int(np.prod(tensor.shape))]
        else:
            dtype = {types.INT8: np.int8, types.INT32: np.int32, types.INT64: np.int64}[tensor.type]
            values = data.view(dtype)
        return values.reshape(tensor.shape)

    def scales(self, name: str) -> Array:
        """float32, flat; those of blocks by rows."""
        quantization = self.tensor(name).quantization
        if quantization.details is not None:
            scales = self.graph.tensors[quantization.details.scales]
            data = np.frombuffer(self.model.buffers[scales.buffer].data, np.uint8)
            return data.view(np.float16).astype(np.float32)
        return np.asarray(quantization.scale, dtype=np.float32)

    def zero_points(self, name: str) -> Array:
        return np.asarray(self.tensor(name).quantization.zeroPoint)

    def operators(self) -> list[str]:
        codes = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        return [
            codes[self.model.operatorCodes[node.opcodeIndex].builtinCode]
            for node in self.graph.operators
        ]
