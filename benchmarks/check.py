"""How long `check` and `inspect` take on a model of 100 MB, beside ONNX Runtime's checker.

    python benchmarks/check.py
    python benchmarks/check.py --megabytes 1000 --rounds 3

Every command runs in a process of its own, from its start to its end, as a user runs it; the
commands alternate, round by round. The models are made here: matrix products of 2048 x 2048.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from edgewright.files import write_json
from edgewright.targets.load import load_target

_SIDE = 2048
#: What `check` of 100 MB is to stay under, in seconds.
_GOAL_S = 2.0


@dataclass(frozen=True)
class Subject:
    """A model file and the commands that look at it, by their names."""

    name: str
    path: Path
    commands: dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--targets", default="pixel-9,raspberry-pi-4")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="edgewright-benchmark-") as scratch:
        subjects = make_subjects(Path(scratch), given.megabytes, given.targets.split(","))
        seconds = measure(subjects, given.rounds, console)
    cpu = load_target("host").cpu
    table = Table("model", "command", "median s", "lowest", "highest", header_style="bold")
    rows = []
    for subject in subjects:
        for name in subject.commands:
            times = seconds[subject.name, name]
            median = statistics.median(times)
            table.add_row(
                subject.name, name, f"{median:.2f}", f"{min(times):.2f}", f"{max(times):.2f}"
            )
            rows.append({"model": subject.name, "command": name, "seconds": times})
    console.print(table)
    checks = [
        statistics.median(times) for (_, name), times in seconds.items() if name.startswith("check")
    ]
    told = "all under" if max(checks) < _GOAL_S else "NOT all under"
    console.print(
        f"{given.megabytes} MB each, {given.rounds} rounds on {cpu.core_count} cores of {cpu.soc}, "
        f"load {os.getloadavg()[0]:.1f}: checks {told} {_GOAL_S:g} s"
    )
    if given.json:
        write_json(given.json, {"schema_version": 1, "megabytes": given.megabytes, "rows": rows})


def make_subjects(folder: Path, megabytes: int, targets: Sequence[str]) -> list[Subject]:
    """The models, each with the commands that are compared on it."""
    makers: dict[str, tuple[str, Callable[[Path, int], None]]] = {
        "ONNX float32": ("float.onnx", make_onnx_float),
        "ONNX int8 QDQ": ("int8.onnx", make_onnx_int8),
        "TFLite float32": ("float.tflite", make_tflite_float),
        "TFLite int8 weights": ("int8.tflite", make_tflite_int8),
    }
    subjects = []
    for name, (file, make) in makers.items():
        path = folder / file
        make(path, megabytes)
        edgewright = [sys.executable, "-m", "edgewright"]
        commands = {f"check -t {t}": [*edgewright, "check", str(path), "-t", t] for t in targets}
        commands["inspect"] = [*edgewright, "inspect", str(path)]
        if path.suffix == ".onnx":
            checker = "onnxruntime.tools.check_onnx_model_mobile_usability"
            commands["ONNX Runtime's usability checker"] = [
                sys.executable, "-m", checker, str(path),
            ]  # fmt: skip
        subjects.append(Subject(name, path, commands))
    return subjects


def measure(
    subjects: Sequence[Subject], rounds: int, console: Console
) -> dict[tuple[str, str], list[float]]:
    """Wall-clock seconds of every command, in turn."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        with console.status(f"round {number} of {rounds}"):
            for subject in subjects:
                for name, command in subject.commands.items():
                    began = time.perf_counter()
                    done = subprocess.run(
                        command, capture_output=True, text=True, check=False, cwd="/"
                    )
                    took = time.perf_counter() - began
                    if done.returncode not in (0, 1):
                        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
                    # The first round brings files and programs into the page cache.
                    if number:
                        seconds.setdefault((subject.name, name), []).append(took)
    return seconds


def make_onnx_float(path: Path, megabytes: int) -> None:
    """Products with float32 weights."""
    random = np.random.default_rng(0)
    nodes, tensors, name = [], [], "x"
    for layer in range(max(megabytes * 10**6 // (_SIDE * _SIDE * 4), 1)):
        weights = random.standard_normal((_SIDE, _SIDE), dtype=np.float32)
        tensors.append(numpy_helper.from_array(weights, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{layer}"], [f"y{layer}"]))
        name = f"y{layer}"
    save_onnx(path, nodes, tensors, name)


def make_onnx_int8(path: Path, megabytes: int) -> None:
    """Products between QDQ pairs, with int8 weights per channel."""
    random = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(np.float32(0.02).reshape(()), "scale"),
        numpy_helper.from_array(np.uint8(128).reshape(()), "zero"),
        numpy_helper.from_array(np.full(_SIDE, 0.01, np.float32), "scales"),
        numpy_helper.from_array(np.zeros(_SIDE, np.int8), "zeros"),
    ]
    nodes, name = [], "x"
    for layer in range(max(megabytes * 10**6 // (_SIDE * _SIDE), 1)):
        weights = random.integers(-127, 128, (_SIDE, _SIDE)).astype(np.int8)
        tensors.append(numpy_helper.from_array(weights, f"w{layer}"))
        nodes += [
            helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"q{layer}"]),
            helper.make_node("DequantizeLinear", [f"q{layer}", "scale", "zero"], [f"d{layer}"]),
            helper.make_node(
                "DequantizeLinear", [f"w{layer}", "scales", "zeros"], [f"v{layer}"], axis=1
            ),
            helper.make_node("MatMul", [f"d{layer}", f"v{layer}"], [f"y{layer}"]),
        ]
        name = f"y{layer}"
    save_onnx(path, nodes, tensors, name)


def save_onnx(
    path: Path, nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto], output: str
) -> None:
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, _SIDE]) for n in ("x", output)]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def make_tflite_float(path: Path, megabytes: int) -> None:
    """Fully connected layers with float32 weights."""
    make_tflite(path, megabytes, quantized=False)


def make_tflite_int8(path: Path, megabytes: int) -> None:
    """Fully connected layers with int8 weights per channel and float activations."""
    make_tflite(path, megabytes, quantized=True)


def make_tflite(path: Path, megabytes: int, *, quantized: bool) -> None:
    random = np.random.default_rng(0)
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = b"main", [], []
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 5 if quantized else 1
    model.operatorCodes = [code]

    def tensor(name: str, shape: list[int], values: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape = name.encode(), np.asarray(shape, np.int32)
        made.type = schema.TensorType.FLOAT32
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = values.view(np.uint8).reshape(-1)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        if values is not None and quantized:
            made.type = schema.TensorType.INT8
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.full(_SIDE, 0.01, np.float32)
            made.quantization.zeroPoint = np.zeros(_SIDE, np.int64)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    name = tensor("x", [1, _SIDE])
    graph.inputs = np.asarray([name], np.int32)
    for layer in range(max(megabytes * 10**6 // (_SIDE * _SIDE * (1 if quantized else 4)), 1)):
        values = (
            random.integers(-127, 128, (_SIDE, _SIDE)).astype(np.int8)
            if quantized
            else random.standard_normal((_SIDE, _SIDE), dtype=np.float32)
        )
        weights = tensor(f"w{layer}", [_SIDE, _SIDE], values)
        out = tensor(f"y{layer}", [1, _SIDE])
        operator = schema.OperatorT()
        operator.inputs = np.asarray([name, weights, -1], np.int32)
        operator.outputs = np.asarray([out], np.int32)
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions = schema.FullyConnectedOptionsT()
        graph.operators.append(operator)
        name = out
    graph.outputs = np.asarray([name], np.int32)
    flatbuffer_utils.write_model(model, str(path))


if __name__ == "__main__":
    main()
