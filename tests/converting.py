"""What the tests of the converters share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgewright.exporters.artifact import Array
from edgewright.exporters.convert import Conversion, Converted, convert_source
from edgewright.exporters.convert.base import Layout
from edgewright.exporters.runtime import load_model
from edgewright.exporters.source import parse_source
from edgewright.targets.profile import Format

REQUIRE_EXTRAS = "EDGEWRIGHT_REQUIRE_EXTRAS"
"""Set to 1 where every extra is expected to be installed: a missing one fails its tests."""


def need_extra(extra: str, modules: Sequence[str]) -> None:
    """Skips, saying why, without an optional extra; fails where the extras are required."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return
    reason = f"extra '{extra}' is not installed: no {', '.join(missing)}"
    if os.environ.get(REQUIRE_EXTRAS) == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@dataclass(frozen=True)
class Result:
    """A conversion, and the file's own answers on the source's example inputs."""

    converted: Converted
    path: Path
    outputs: dict[str, Array]

    def assert_agrees(self, tolerance: float = 1e-5) -> None:
        """The file gives what the source gives, output by output."""
        expected = self.converted.run_source(self.converted.example_inputs)
        assert len(expected) == len(self.outputs)
        for name, wanted, permutation in zip(
            self.converted.output_names,
            expected,
            self.converted.output_permutations,
            strict=True,
        ):
            if permutation is not None:
                wanted = wanted.transpose(permutation)
            np.testing.assert_allclose(
                self.outputs[name].astype(np.float64),
                wanted.astype(np.float64),
                rtol=0,
                atol=tolerance,
                err_msg=name,
            )


def convert(
    spec: str,
    model_format: Format,
    directory: Path,
    *,
    layout: Layout | None = None,
    max_opset: int | None = None,
) -> Result:
    """Converts what the user would name by `spec`, and runs the file once."""
    path = directory / f"converted.{model_format}"
    made = convert_source(parse_source(spec), model_format, Conversion(path, layout, max_opset))
    feeds = []
    for array, permutation, dtype in zip(
        made.example_inputs, made.input_permutations, _dtypes(path, made), strict=True
    ):
        if permutation is not None:
            array = np.ascontiguousarray(array.transpose(permutation))
        feeds.append(array.astype(dtype))
    outputs = load_model(str(path), model_format).run(feeds)
    return Result(made, path, dict(zip(made.output_names, outputs, strict=True)))


def operators(path: Path) -> set[str]:
    """The operators of a TFLite file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    return {detail["op_name"] for detail in interpreter._get_ops_details()}


def _dtypes(path: Path, made: Converted) -> list[str]:
    if path.suffix == ".onnx":
        return [array.dtype.name for array in made.example_inputs]
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_path=str(path)).get_input_details()
    return [np.dtype(detail["dtype"]).name for detail in details]
