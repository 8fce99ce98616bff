"""Running a model file on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..errors import UsageError
from .artifact import Array, Artifact


class HostModel(Protocol):
    """A loaded model: arrays in the file's own order, layout and dtype in and out."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """One inference."""


class LoadedArtifact:
    """An artifact on this machine, spoken to in the source's names and layout."""

    def __init__(self, artifact: Artifact, *, threads: int = 1, saturating: bool = False) -> None:
        """Loads the file; arguments as of `load_model`."""
        self.artifact = artifact
        self._model = load_model(
            str(artifact.path), artifact.format, threads=threads, saturating=saturating
        )

    def run(self, sample: Mapping[str, Array]) -> list[Array]:
        """One inference.

        Args:
            sample: each input under the source's name, in the source's layout.

        Returns:
            The outputs in order, in the source's layout, real values as floating point.
        """
        arrays = self.native_inputs(sample)
        outputs = self._model.run(arrays)
        return [
            port.to_source(array)
            for port, array in zip(self.artifact.outputs, outputs, strict=True)
        ]

    def native_inputs(self, sample: Mapping[str, Array]) -> list[Array]:
        """The arrays that the file itself takes, in its order."""
        return [port.to_artifact(sample[port.source_name]) for port in self.artifact.inputs]

    def native_outputs(self, sample: Mapping[str, Array]) -> list[Array]:
        """One inference, the outputs as the file itself gives them."""
        return self._model.run(self.native_inputs(sample))


def load_model(
    path: str, model_format: str, *, threads: int = 1, saturating: bool = False
) -> HostModel:
    """Loads a model in this machine's runtime for its format.

    Args:
        saturating: let U8S8 products overflow 16 bits where this CPU's fast kernels do (x86 without
            VNNI). False computes what ARM and VNNI compute, more slowly, so that what is proven
            here holds there (ONNX Runtime's session option `session.x64quantprecision`).

    Raises:
        UsageError: the runtime refuses the file.
    """
    try:
        if model_format == "onnx":
            return _OnnxModel(path, threads, saturating)
        return _TfliteModel(path, threads)
    except Exception as error:
        raise UsageError(f"{path} can't be loaded: {first_line(error)}") from error


class _OnnxModel:
    def __init__(self, path: str, threads: int, saturating: bool) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its errors come as exceptions
        # Several sessions live in one process here; spinning threads would steal each other's time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.x64quantprecision", "0" if saturating else "1")
        providers = ["CPUExecutionProvider"]
        try:
            self._session = ort.InferenceSession(path, options, providers=providers)
        except Exception as error:
            # What makes U8S8 exact stumbles over weights that two nodes share (1.23 to 1.31).
            if saturating or "replace the existing tensor" not in str(error):
                raise
            self._session = ort.InferenceSession(_unshared(path), options, providers=providers)
        self._names = [value.name for value in self._session.get_inputs()]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        feeds = dict(zip(self._names, inputs, strict=True))
        return [np.asarray(output) for output in self._session.run(None, feeds)]


def _unshared(path: str) -> bytes:
    """An ONNX model in which every node has INT8 constants of its own."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    constants = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.INT8}
    dequantized = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    nodes: list[Any] = []
    for node in graph.node:
        if node.output and node.output[0] in dequantized:
            continue  # copied before each of its readers
        for place, name in enumerate(node.input):
            if name in dequantized:
                own = onnx.NodeProto()
                own.CopyFrom(dequantized[name])
                own.name = own.output[0] = node.input[place] = f"{name}/{len(nodes)}"
                nodes.append(own)
        nodes.append(node)
    for index, node in enumerate(nodes):
        for place, name in enumerate(node.input):
            if name in constants:
                copied = graph.initializer.add()
                copied.CopyFrom(constants[name])
                copied.name = node.input[place] = f"{name}/{index}.{place}"
    del graph.node[:]
    graph.node.extend(nodes)
    serialized: bytes = model.SerializeToString()
    return serialized


class _TfliteModel:
    def __init__(self, path: str, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet_stderr():
            self._interpreter: Any = Interpreter(model_path=path, num_threads=threads)
            self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        self._fit_shapes(inputs)
        for detail, array in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs]

    def _fit_shapes(self, inputs: Sequence[Array]) -> None:
        wrong = [
            (detail, array)
            for detail, array in zip(self._inputs, inputs, strict=True)
            if tuple(detail["shape"]) != array.shape
        ]
        if not wrong:
            return
        for detail, array in wrong:
            self._interpreter.resize_tensor_input(detail["index"], array.shape)
        self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hides what native code writes to file descriptor 2 (runtimes greet at every start)."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def first_line(error: BaseException) -> str:
    """The first line of a library's message, which is what a person can use of it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
