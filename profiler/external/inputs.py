"""Reference inputs as ONNX Runtime's tools read them: one TensorProto in a file for each input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...exporters.artifact import Array


def write_inputs(names: Sequence[str], inputs: Sequence[Array], directory: Path) -> list[Path]:
    """Writes `input_0.pb`, `input_1.pb`, ... and returns their paths.

    Args:
        names: of the model's inputs, which the tool matches.
        inputs: arrays as the model takes them, in the same order.
    """
    from onnx import numpy_helper

    paths = []
    for index, (name, array) in enumerate(zip(names, inputs, strict=True)):
        path = directory / f"input_{index}.pb"
        path.write_bytes(numpy_helper.from_array(array, name).SerializeToString())
        paths.append(path)
    return paths
