"""The runtimes, each behind the same few methods."""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
from typing import Any, Callable, Dict, List, Optional, Sequence

from . import operators_onnxruntime, operators_tflite
from .common import Json
from .device import RUNTIMES, distribution_version


class OnnxRuntime:
    """ONNX Runtime on the CPU; idle threads sleep, so that other workers are not disturbed.

    Inputs are bound before an inference and outputs fetched after it: turning NumPy's arrays into
    the runtime's values and back costs as much as a small model.
    """

    #: The inference itself.
    invoke: Any
    run_bound: Any = None

    def __init__(self) -> None:
        import onnxruntime

        self.module = onnxruntime
        self.version = str(onnxruntime.__version__)

    def options(self, task: Json) -> Any:
        options = self.module.SessionOptions()
        options.intra_op_num_threads = task["threads"]
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def load(self, task: Json) -> None:
        self.session = self.module.InferenceSession(
            task["path"], self.options(task), providers=["CPUExecutionProvider"]
        )
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.names = [value.name for value in inputs]
        self.output_names = [value.name for value in outputs]
        self.output_shapes = [value.shape for value in outputs]
        self.bound = self.keeps_outputs = False
        self.binding: Any = None
        # Text, sequences and maps can't be bound.
        if all(re.match(r"tensor\((?!string)", value.type) for value in [*inputs, *outputs]):
            self.binding = self.session.io_binding()
            self.run_bound = self.bound_run()

    def provider(self, chatter: str) -> Optional[str]:
        return str(self.session.get_providers()[0])

    def bind(self, arrays: Sequence[Any]) -> None:
        named = dict(zip(self.names, arrays))  # noqa: B905 - Python 3.10
        if self.binding is None:
            self.invoke = functools.partial(self.run, named)
            return
        for name, array in named.items():
            self.binding.bind_cpu_input(name, array)
        if self.keeps_outputs:
            return
        if self.bound:
            shapes = [value.shape() for value in self.binding.get_outputs()]
            self.keeps_outputs = shapes == self.output_shapes
        # What the last inference left would be written to again, whatever its shape.
        self.binding.clear_binding_outputs()
        for name in self.output_names:
            self.binding.bind_output(name)
        self.invoke = self.run_bound
        self.bound = True

    def bound_run(self) -> Callable[[], None]:
        """The inference alone: no Python that checks things, no options made anew each time."""
        with contextlib.suppress(AttributeError):
            run, binding = self.session._sess.run_with_iobinding, self.binding._iobinding
            return functools.partial(run, binding, self.module.RunOptions())
        return functools.partial(self.session.run_with_iobinding, self.binding)

    def run(self, named: Dict[str, Any]) -> None:
        self.results = self.session.run(None, named)

    def fetch(self) -> List[Any]:
        return list(self.binding.copy_outputs_to_cpu() if self.binding else self.results)

    def operators(self, task: Json, samples: Sequence[Sequence[Any]]) -> Json:
        """Where the time goes; this engine runs nothing afterwards."""
        self.invoke = self.run_bound = self.binding = self.session = None
        return operators_onnxruntime.profile(self.module, self.options(task), task, samples)


class TfliteInterpreter:
    """A TFLite interpreter with its default delegate (XNNPACK, where the runtime has it)."""

    def __init__(self, module: str) -> None:
        self.kernels = "LiteRT" if module == "ai_edge_litert" else "TFLite"
        self.module = module
        self.interpreter_type = importlib.import_module(module + ".interpreter").Interpreter
        self.version = distribution_version(*RUNTIMES[module]) or "unknown"

    def load(self, task: Json, **arguments: Any) -> None:
        self.interpreter = self.interpreter_type(
            model_path=task["path"], num_threads=task["threads"], **arguments
        )
        self.interpreter.allocate_tensors()
        self.inputs = self.interpreter.get_input_details()

    def provider(self, chatter: str) -> Optional[str]:
        """XNNPACK, where it took an operator: it is made, and says so, for every model."""
        if "XNNPACK delegate" not in chatter:
            return None
        graph = self.interpreter._interpreter
        names = [graph.NodeName(node) for node in range(graph.NumNodes())]
        return "XNNPACK" if "DELEGATE" in names else None

    def bind(self, arrays: Sequence[Any]) -> None:
        pairs = [(self.inputs[i], array) for i, array in enumerate(arrays)]
        misfits = [(d["index"], a.shape) for d, a in pairs if tuple(d["shape"]) != a.shape]
        if misfits:
            for index, shape in misfits:
                self.interpreter.resize_tensor_input(index, shape)
            self.interpreter.allocate_tensors()
            self.inputs = self.interpreter.get_input_details()
        for detail, array in pairs:
            self.interpreter.set_tensor(detail["index"], array)

    def invoke(self) -> None:
        self.interpreter.invoke()

    def fetch(self) -> List[Any]:
        return [
            self.interpreter.get_tensor(detail["index"])
            for detail in self.interpreter.get_output_details()
        ]

    def operators(self, task: Json, samples: Sequence[Sequence[Any]]) -> Json:
        """Where the time goes; this engine runs nothing afterwards."""
        del self.interpreter

        def make(**arguments: Any) -> TfliteInterpreter:
            engine = TfliteInterpreter(self.module)
            engine.load(task, **arguments)
            return engine

        return operators_tflite.profile(make, self.kernels, samples)
