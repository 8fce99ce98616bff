"""Every float activation of a TFLite model, sample by sample."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runtime import quiet_stderr
from .tflite_model import is_float, name_of, read_model, serialized

Array = npt.NDArray[np.generic]


def tap(model_path: Path) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """A function that runs the float model and gives its float inputs and what nodes compute.

    Samples are keyed by position: '0', '1', ... in the order of the interpreter's inputs.
    Activations are float32, by the name of their tensor.
    """
    from ai_edge_litert.interpreter import Interpreter

    model = read_model(model_path)
    graph = model.subgraphs[0]
    computed = dict.fromkeys(int(index) for node in graph.operators for index in node.outputs)
    wanted = [index for index in computed if is_float(graph.tensors[index])]
    names = {index: name_of(graph.tensors[index]) for index in wanted}
    # Delegates keep what lies between their nodes to themselves, unless it is an output. This is
    # twice as fast as the built-in kernels that show all.
    graph.outputs = wanted
    with quiet_stderr():
        interpreter = Interpreter(
            model_content=bytes(serialized(model)), num_threads=min(os.cpu_count() or 1, 4)
        )
        interpreter.allocate_tensors()
    inputs: list[dict[str, Any]] = interpreter.get_input_details()
    shapes = [tuple(detail["shape"]) for detail in inputs]

    def run(sample: Mapping[str, Array]) -> dict[str, Array]:
        arrays = [sample[str(position)] for position in range(len(inputs))]
        if (given := [array.shape for array in arrays]) != shapes:
            for detail, shape in zip(inputs, given, strict=True):
                interpreter.resize_tensor_input(detail["index"], shape)
            interpreter.allocate_tensors()
            shapes[:] = given
        seen: dict[str, Array] = {}
        for detail, array in zip(inputs, arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
            if detail["dtype"] is np.float32:
                seen[detail["name"]] = array
        interpreter.invoke()
        seen.update((name, interpreter.get_tensor(index)) for index, name in names.items())
        return seen

    return run
