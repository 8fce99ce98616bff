"""What a converter is given and returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..artifact import Array

Layout = Literal["nchw", "nhwc"]


@dataclass(frozen=True)
class Conversion:
    """What to convert to, besides the format.

    Attributes:
        destination: the file to write.
        layout: 'nhwc' gives a TFLite file from a channels-first source channels-last inputs and
            outputs wherever they have four dimensions; None keeps the source's layout.
        max_opset: the newest ONNX operator set that the devices take; None: any.
    """

    destination: Path
    layout: Layout | None = None
    max_opset: int | None = None


@dataclass(frozen=True)
class Converted:
    """What a converter did; the caller compares the file with the source.

    Attributes:
        input_names: the source's names of its inputs, in the order of the file's inputs.
        output_names: the source's names of its outputs, in the order of the file's outputs.
        example_inputs: one sample in the source's layout, in the same order.
        run_source: runs the source itself: arrays in the source's layout -> outputs likewise.
        input_permutations, output_permutations: for each, the axes that turn an array in the
            source's layout into the file's; None where they agree.
    """

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    example_inputs: tuple[Array, ...]
    run_source: Callable[[Sequence[Array]], list[Array]]
    input_permutations: tuple[tuple[int, ...] | None, ...]
    output_permutations: tuple[tuple[int, ...] | None, ...]
