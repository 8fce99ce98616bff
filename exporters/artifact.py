"""A model file ready for a runtime, with where it came from and how close it came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..targets.facts import TensorSpec
from ..targets.profile import Format
from .quantize.recipe import Precision, Recipe

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Port:
    """One input or output of an artifact, and what the source calls it.

    Attributes:
        source_name: the name that data files use.
        spec: what the artifact itself takes or gives.
        permutation: axes by which an array in the source's layout is transposed to fit the
            artifact, e.g. (0, 2, 3, 1) for NCHW -> NHWC; None where the layouts are the same.
    """

    source_name: str
    spec: TensorSpec
    permutation: tuple[int, ...] | None = None

    @property
    def source_shape(self) -> tuple[int | None, ...]:
        """The shape in the source's layout."""
        if self.permutation is None:
            return self.spec.shape
        return tuple(
            self.spec.shape[self.permutation.index(i)] for i in range(len(self.spec.shape))
        )

    def to_artifact(self, array: Array) -> Array:
        """An array in the source's layout -> as the artifact takes it (real values quantized)."""
        if self.permutation is not None:
            array = np.ascontiguousarray(array.transpose(self.permutation))
        quantization = self.spec.quantization
        if quantization is not None and np.issubdtype(array.dtype, np.floating):
            limits = np.iinfo(self.spec.dtype)
            reals = array.astype(np.float64)
            scaled = np.rint(reals / quantization.scale) + quantization.zero_point
            array = np.clip(scaled, limits.min, limits.max)
        return array.astype(self.spec.dtype, copy=False)

    def to_source(self, array: Array) -> Array:
        """An array as the artifact gives it -> the source's layout, real values as float32."""
        quantization = self.spec.quantization
        if quantization is not None:
            array = (array.astype(np.float32) - quantization.zero_point) * np.float32(
                quantization.scale
            )
        elif array.dtype == np.float16:
            array = array.astype(np.float32)
        if self.permutation is not None:
            array = array.transpose(np.argsort(self.permutation))
        return array


@dataclass(frozen=True)
class OutputDifference:
    """How far one output of an artifact is from the same output of what it was made from.

    Attributes:
        output: the output's name.
        max_abs_error: largest absolute difference.
        sqnr_db: signal-to-quantization-noise ratio, 10 log10(sum(x^2) / sum((x - y)^2)), in dB;
            None where there is no difference at all.
    """

    output: str
    max_abs_error: float
    sqnr_db: float | None


@dataclass(frozen=True)
class Artifact:
    """A model file, never changed once made.

    Attributes:
        made_from: the source's words, or the artifact it was quantized from.
        recipe: how it was quantized; None for float32.
        differences: conversion or quantization error for each output, against what it was made
            from, on `compared_on`; empty where the source is the file itself.
        compared_on: words for the inputs of that comparison.
    """

    path: Path
    format: Format
    precision: Precision
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    size_bytes: int
    sha256: str
    made_from: str
    recipe: Recipe | None = None
    differences: tuple[OutputDifference, ...] = ()
    compared_on: str = ""

    @property
    def name(self) -> str:
        """How tables and reports call it."""
        return f"{self.format}/{self.recipe.name if self.recipe else self.precision}"
