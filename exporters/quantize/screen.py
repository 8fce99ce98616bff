"""Every layer by itself under its own quantization, in one pass over a few samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..metrics import decibel
from .calibrate import Sample, Tap
from .layers import Layer
from .recipe import Scheme
from .statistics import Statistics
from .weights import QuantizedWeights, activation_grid

#: Layers are run together until their weights reach this many bytes.
_CHUNK_BYTES = 200_000_000


@dataclass(frozen=True)
class Screened:
    """What quantizing one layer does to that layer's own output, in dB of SQNR.

    Attributes:
        weights_db: only its weights quantized; None where that changes nothing.
        activations_db: only its input quantized; None where that changes nothing, or where the
            scheme has no static activations.
    """

    weights_db: float | None
    activations_db: float | None


def screen(
    quantized: Sequence[tuple[Layer, Scheme, QuantizedWeights]],
    samples: Iterable[Sample],
    tap: Tap,
    statistics: Statistics | None,
    on_sample: Callable[[int], None] = lambda done: None,
) -> dict[str, Screened]:
    """SQNR of each layer's output under its own quantization, by the layer's name.

    The float model gives each layer's input; the layer then runs three times: as it is, with
    quantized weights, and on quantized inputs (SQNR as in "Mixed precision" of Wu et al. 2020,
    arXiv:2004.09602, section 6, but of the layer's own output).

    Args:
        samples: as `tap` takes them.
        statistics: ranges of the inputs, for static activations.
    """
    chunks = [_Chunk(part, statistics) for part in _chunks(quantized)]
    for done, sample in enumerate(samples, 1):
        seen = tap(sample)
        for chunk in chunks:
            chunk.run(seen)
        on_sample(done)
    return {name: found for chunk in chunks for name, found in chunk.found().items()}


def _chunks(
    quantized: Sequence[tuple[Layer, Scheme, QuantizedWeights]],
) -> list[list[tuple[Layer, Scheme, QuantizedWeights]]]:
    chunks: list[list[tuple[Layer, Scheme, QuantizedWeights]]] = []
    room = 0
    for item in quantized:
        size = item[0].weights.nbytes
        if size > room:
            chunks.append([])
            room = _CHUNK_BYTES
        chunks[-1].append(item)
        room -= size
    return chunks


class _Chunk:
    """Some layers as one ONNX model that gives power and noise of each."""

    def __init__(
        self,
        quantized: Sequence[tuple[Layer, Scheme, QuantizedWeights]],
        statistics: Statistics | None,
    ) -> None:
        import onnx
        import onnxruntime as ort

        self._layers = [layer for layer, _, _ in quantized]
        self._static = [scheme.is_static for _, scheme, _ in quantized]
        self._inputs = {layer.input: f"x{i}" for i, layer in enumerate(self._layers)}
        self._convolved = {x.input for x in self._layers if x.convolution is not None}
        nodes: list[Any] = []
        constants: list[Any] = []
        for index, (layer, scheme, weights) in enumerate(quantized):
            x = self._inputs[layer.input]
            _add_layer(nodes, constants, x, index, layer, scheme, weights, statistics)
        graph = onnx.helper.make_graph(
            nodes,
            "screen",
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.TensorProto.FLOAT, [None] * 4 if tensor in self._convolved else None
                )
                for tensor, name in self._inputs.items()
            ],
            [
                onnx.helper.make_tensor_value_info(f"p{i}", onnx.TensorProto.FLOAT, [3])
                for i in range(len(quantized))
            ],
            constants,
        )
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10
        )
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._powers = np.zeros((len(quantized), 3), dtype=np.float64)

    def run(self, seen: Mapping[str, npt.NDArray[Any]]) -> None:
        feeds = {}
        for tensor, name in self._inputs.items():
            x = seen[tensor]
            # A convolution over one axis is one of height 1; matrix products don't mind.
            flat = tensor in self._convolved and x.ndim == 3
            feeds[name] = x[:, :, None] if flat else x
        self._powers += np.asarray(self._session.run(None, feeds), dtype=np.float64)

    def found(self) -> dict[str, Screened]:
        return {
            layer.name: Screened(
                decibel(signal, of_weights),
                decibel(signal, of_inputs) if is_static else None,
            )
            for layer, is_static, (signal, of_weights, of_inputs) in zip(
                self._layers, self._static, self._powers.tolist(), strict=True
            )
        }


def _add_layer(
    nodes: list[Any],
    constants: list[Any],
    x: str,
    index: int,
    layer: Layer,
    scheme: Scheme,
    weights: QuantizedWeights,
    statistics: Statistics | None,
) -> None:
    """Nodes that compute [signal, noise of the weights, noise of the input] of one layer."""
    from onnx import helper, numpy_helper

    def constant(name: str, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        array = np.asarray(values, dtype=dtype)
        constants.append(numpy_helper.from_array(array, f"{name}{index}"))
        return f"{name}{index}"

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"{output}{index}"], **attributes))
        return f"{output}{index}"

    if layer.convolution is not None and layer.channels_last:
        x = node("Transpose", [x], "nchw", perm=[0, 3, 1, 2])
    noisy = x
    if scheme.is_static:
        assert statistics is not None and scheme.ranges is not None
        noisy = _fake_quantized(x, scheme, layer, statistics, constant, node)

    def product(source: str, values: npt.NDArray[np.float32], tag: str) -> str:
        bias = np.zeros(len(values), np.float32) if layer.bias is None else layer.bias
        if layer.convolution is not None:
            geometry = layer.convolution
            names = [source, constant(f"w{tag}", values), constant(f"b{tag}", bias)]
            result = node(
                "Conv", names, f"y{tag}", strides=geometry.strides, pads=geometry.pads,
                dilations=geometry.dilations, group=geometry.groups,
            )  # fmt: skip
        else:
            plain = node("MatMul", [source, constant(f"w{tag}", values.T)], f"m{tag}")
            result = node("Add", [plain, constant(f"b{tag}", bias)], f"y{tag}")
        low, high = layer.bounds
        if np.isfinite([low, high]).any():
            limits = np.clip([low, high], np.finfo(np.float32).min, np.finfo(np.float32).max)
            names = [result, constant(f"lo{tag}", limits[0]), constant(f"hi{tag}", limits[1])]
            result = node("Clip", names, f"c{tag}")
        return result

    exact = product(x, layer.weights, "e")
    powers = [node("ReduceSumSquare", [exact], "se", keepdims=0)]
    for tag, other in (
        ("w", product(x, weights.dequantized(), "w")),
        ("a", product(noisy, layer.weights, "a") if noisy != x else exact),
    ):
        error = node("Sub", [exact, other], f"d{tag}")
        powers.append(node("ReduceSumSquare", [error], f"s{tag}", keepdims=0))
    axis = constant("axis", [0], np.int64)
    rows = [node("Unsqueeze", [power, axis], f"u{k}") for k, power in enumerate(powers)]
    node("Concat", rows, "p", axis=0)


def _fake_quantized(
    x: str,
    scheme: Scheme,
    layer: Layer,
    statistics: Statistics,
    constant: Callable[..., str],
    node: Callable[..., str],
) -> str:
    """The input rounded to its grid and back."""
    assert scheme.ranges is not None
    grid = activation_grid(scheme)
    scale, zero_point = grid.parameters(*statistics.range(layer.input, grid, scheme.ranges))
    name = constant("scale", scale)
    divided = node("Div", [x, name], "div")
    rounded = node("Round", [divided], "round")
    shifted = (np.asarray([grid.lowest, grid.highest]) - int(zero_point)).astype(np.float32)
    limits = [constant("qlow", shifted[0]), constant("qhigh", shifted[1])]
    clipped = node("Clip", [rounded, *limits], "qclip")
    return node("Mul", [clipped, name], "fake")
