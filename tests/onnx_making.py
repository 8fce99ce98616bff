"""What the tests of ONNX's quantization share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from models import normal, save_onnx
from onnx import helper, numpy_helper

from edgewright.exporters.quantize.calibrate import channel_axes, collect
from edgewright.exporters.quantize.onnx import apply, layers, tap
from edgewright.exporters.quantize.recipe import RangeMethod, Recipe, Rule, Scheme
from edgewright.exporters.quantize.statistics import Collected, Origin, Statistics
from edgewright.exporters.runtime import load_model

Array = np.ndarray
Inputs = Mapping[str, Array]

MIN_MAX = RangeMethod(method="min-max")
UNSIGNED = Scheme(weights="int8", activations="uint8", ranges=MIN_MAX)
SIGNED = Scheme(weights="int8", activations="int8", ranges=MIN_MAX)
WIDE = Scheme(weights="int8", activations="int16", ranges=MIN_MAX)
DYNAMIC = Scheme(weights="int8", activations="dynamic")
STORED = Scheme(weights="int8")
HALF = Scheme(weights="float16", activations="float16", granularity="per-tensor")


def blocks(size: Any = 32, weights: Any = "int4", **changes: Any) -> Scheme:
    return Scheme(weights=weights, granularity="blockwise", block_size=size, **changes)


def but(scheme: Scheme, **changes: Any) -> Scheme:
    """The same with changes, validated again."""
    return Scheme.model_validate({**scheme.model_dump(exclude_none=True), **changes})


def recipe(*rules: Rule | Scheme) -> Recipe:
    as_rules = [rule if isinstance(rule, Rule) else Rule(scheme=rule) for rule in rules]
    return Recipe(name="mine", rules=tuple(as_rules))


def inputs(path: Path, count: int = 8, highest: int = 4, seed: int = 3) -> list[dict[str, Array]]:
    """Normal floats, and integers below a bound, for each input of a model."""
    generator = np.random.default_rng(seed)
    return [
        {
            value.name: generator.normal(size=value.shape).astype(np.float32)
            if value.type == "tensor(float)"
            else generator.integers(0, highest, value.shape)
            for value in session(path).get_inputs()
        }
        for _ in range(count)
    ]


def statistics(path: Path, samples: Sequence[Inputs] | None = None) -> Statistics:
    """With channels of every layer's input, and covariances of those that products read."""
    found = layers(path)
    products = frozenset(layer.input for layer in found if layer.multiplies_channels)
    return collect(
        tap(path),
        samples or inputs(path),
        Origin("onnx", "0" * 64, "made up", "made up"),
        Collected(channel_axes=channel_axes(found), covariances=products),
    )


def made(
    path: Path, *rules: Rule | Scheme, known: Statistics | None = None, name: str = "quantized"
) -> Path:
    """The quantized file, beside the float one."""
    destination = path.with_name(f"{name}.onnx")
    apply(path, recipe(*rules), known or statistics(path), destination)
    return destination


def session(path: Path, optimized: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path: Path, sample: Inputs) -> Array:
    """The first output, exact on x86 without VNNI, too."""
    names = [value.name for value in session(path).get_inputs()]
    return load_model(str(path), "onnx").run([sample[name] for name in names])[0]


def sqnr(expected: Array, found: Array) -> float:
    noise = np.square(expected.astype(np.float64) - found).sum()
    return float(10 * np.log10(np.square(expected.astype(np.float64)).sum() / max(noise, 1e-30)))


def fidelity(path: Path, quantized: Path) -> float:
    """SQNR in dB over some inputs and all outputs."""
    samples = inputs(path, seed=4)
    names = list(samples[0])
    float_model, model = (load_model(str(each), "onnx") for each in (path, quantized))
    arrays = [[sample[name] for name in names] for sample in samples]
    expected = np.concatenate([each.ravel() for a in arrays for each in float_model.run(a)])
    return sqnr(expected, np.concatenate([each.ravel() for a in arrays for each in model.run(a)]))


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


def loaded(path: Path) -> Counter[str]:
    """The operators that ONNX Runtime makes of a file."""
    optimized = path.with_name("optimized.onnx")
    session(path, optimized)
    return operators(optimized)


@dataclass(frozen=True)
class Held:
    """The weights of one node as a file holds them.

    Attributes:
        integers: in the order of `Layer`: [out, ...].
        scale, zero_point: [1], [out] or [out, blocks].
    """

    integers: Array
    scale: Array
    zero_point: Array


class File:
    """A quantized file, looked into."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(str(path))
        self.nodes = {node.name: node for node in self.model.graph.node}
        self._constants = {t.name: t for t in self.model.graph.initializer}
        self.producers = {o: node for node in self.model.graph.node for o in node.output}

    def constant(self, name: str) -> Array:
        """A constant, or what is computed from constants alone."""
        if name in self._constants:
            return numpy_helper.to_array(self._constants[name])
        node = self.producers[name]
        value = self.constant(node.input[0])
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Cast":
            return value.astype(helper.tensor_dtype_to_np_dtype(options["to"]))
        if node.op_type == "Transpose":
            return value.T
        assert node.op_type == "Reshape"
        return value.reshape(
            [s or value.shape[i] for i, s in enumerate(self.constant(node.input[1]))]
        )

    def weights(self, name: str) -> Held:
        """Those of a node, wherever they are."""
        node = self.nodes[name]
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
            return self._blocks(node)
        if node.op_type == "MatMulInteger":
            scales = next(
                n for n in self.nodes.values() if n.op_type == "Mul" and n.name == f"{name}_scales"
            )
            return self._held(node.input[1], scales.input[1], node.input[3], 1)
        source = self.producers[node.input[1]]
        assert source.op_type == "DequantizeLinear"
        (axis,) = (a.i for a in source.attribute if a.name == "axis")
        return self._held(*source.input, axis)

    def _held(self, integers: str, scale: str, zero_point: str, axis: int) -> Held:
        values = self.constant(integers).astype(np.int32)
        values = values.T if axis else values
        zeros = self.constant(zero_point).astype(np.int32)
        return Held(values, np.atleast_1d(self.constant(scale)), np.atleast_1d(zeros))

    def _blocks(self, node: Any) -> Held:
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        bits = options["bits"]
        at = (1, 2) if node.op_type == "MatMulNBits" else (0, 2)
        packed, scale = self.constant(node.input[at[0]]), self.constant(node.input[at[1]])
        middle = 1 << (bits - 1)
        inner = options.get("K") or packed.shape[-1] * 8 // bits
        zeros = np.full(scale.shape, middle)
        if len(node.input) > 3:
            zeros = _unpacked(self.constant(node.input[3]), bits)[:, : scale.shape[1]]
        rows = _unpacked(packed.reshape(len(packed), -1), bits)
        return Held(rows[:, :inner] - middle, scale, zeros - middle)


def _unpacked(packed: Array, bits: int) -> Array:
    if bits == 8:
        return packed.astype(np.int32)
    halves = np.stack([packed & 0xF, packed >> 4], axis=-1)
    return halves.reshape(len(packed), -1).astype(np.int32)


def chain(
    path: Path, middle: Sequence[Any], output: str, constants: dict[str, Array] | None = None
) -> Path:
    """x 1x3x8x8 -> convolutions 'one' (c1) and, if that is read, 'two' (c2) -> nodes -> Reshape ->
    1x1 convolution 'last' -> y."""
    two = helper.make_node("Conv", ["x", "w2"], ["c2"], name="two", pads=[1] * 4)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="one", pads=[1] * 4),
        *([two] if any("c2" in node.input for node in middle) else []),
        *middle,
        helper.make_node("Reshape", [output, "flat"], ["flattened"], name="flatten"),
        helper.make_node("Conv", ["flattened", "w3"], ["y"], name="last"),
    ]
    return save_onnx(
        path,
        nodes,
        {"x": [1, 3, 8, 8]},
        {"y": ["a", "b", "c", "d"]},
        w1=normal(0, 1, 8, 3, 3, 3)[0],
        b1=normal(1, 1, 8)[0],
        w2=normal(2, 1, 8, 3, 3, 3)[0],
        w3=normal(3, 1, 4, 1, 1, 1)[0],
        flat=np.array([1, 1, -1, 1]),
        **(constants or {}),
    )


def mlp(path: Path, sizes: Sequence[int] = (64, 48, 10), rows: int = 2) -> Path:
    """x -> MatMul 'first' -> Relu -> Gemm 'last' (transposed, with a bias) -> y."""
    return save_onnx(
        path,
        [
            helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
            helper.make_node("Relu", ["h"], ["r"], name="relu"),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="last", transB=1),
        ],
        {"x": [rows, sizes[0]]},
        {"y": [rows, sizes[2]]},
        w1=normal(0, 1, sizes[0], sizes[1])[0],
        w2=normal(1, 1, sizes[2], sizes[1])[0],
        b2=normal(2, 1, sizes[2])[0],
    )


def decoder(path: Path, *, width: int = 64, vocabulary: int = 40) -> Path:
    """ids [1, 6] -> embedding 'embed' -> MatMul 'inner' + residual -> tied MatMul 'head' -> y."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], name="embed"),
        helper.make_node("MatMul", ["e", "w"], ["m"], name="inner"),
        helper.make_node("Add", ["e", "m"], ["s"], name="residual"),
        helper.make_node("Transpose", ["table"], ["t"], name="transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["s", "t"], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, 6])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 6, vocabulary])],
        [
            numpy_helper.from_array(normal(0, 1, vocabulary, width)[0], "table"),
            numpy_helper.from_array(normal(1, 1, width, width)[0] / np.float32(8), "w"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
    return path
