"""What the tests of TFLite's quantization share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from small_tflite import Array

from edgewright.exporters.quantize.calibrate import collect
from edgewright.exporters.quantize.recipe import Recipe, Rule, Scheme
from edgewright.exporters.quantize.statistics import Collected, Origin, Statistics
from edgewright.exporters.quantize.tflite import apply, layers, tap

STATIC = Scheme(weights="int8", activations="int8")
WIDE = Scheme(weights="int8", activations="int16", symmetric_activations=True)
DYNAMIC = Scheme(weights="int8", activations="dynamic")
STORED = Scheme(weights="int8")
HALF = Scheme(weights="float16", activations="float16", granularity="per-tensor")


def blocks(size: Any = 32, **changes: Any) -> Scheme:
    return Scheme(
        weights="int4", activations="dynamic", granularity="blockwise", block_size=size, **changes
    )


def but(scheme: Scheme, **changes: Any) -> Scheme:
    """The same with changes, validated again."""
    before = scheme.model_dump(exclude_none=True)
    if "activations" in changes:
        before.pop("ranges", None)
    return Scheme.model_validate({**before, **changes})


def recipe(*rules: Rule | Scheme) -> Recipe:
    as_rules = [rule if isinstance(rule, Rule) else Rule(scheme=rule) for rule in rules]
    return Recipe(name="mine", rules=tuple(as_rules))


def inputs(path: Path, count: int = 8, highest: int = 4) -> list[list[Array]]:
    """Normal floats, and integers below a bound, for each input of a model."""
    generator = np.random.default_rng(3)
    details = Interpreter(model_path=str(path)).get_input_details()
    return [
        [
            generator.normal(size=detail["shape"]).astype(np.float32)
            if detail["dtype"] is np.float32
            else generator.integers(0, highest, detail["shape"]).astype(detail["dtype"])
            for detail in details
        ]
        for _ in range(count)
    ]


def statistics(path: Path, samples: Sequence[Sequence[Array]] | None = None) -> Statistics:
    """With channels and covariances of every layer's input."""
    found = layers(path)
    products = frozenset(layer.input for layer in found if layer.multiplies_channels)
    axes = {name: -1 for layer in found for name in (layer.input, layer.output)}
    return collect(
        tap(path),
        [{str(i): array for i, array in enumerate(s)} for s in samples or inputs(path)],
        Origin("tflite", "0" * 64, "made up", "made up"),
        Collected(channel_axes=axes, covariances=products),
    )


def made(path: Path, *rules: Rule | Scheme, known: Statistics | None = None) -> Path:
    """The quantized file, beside the float one."""
    destination = path.with_name("quantized.tflite")
    apply(path, recipe(*rules), known or statistics(path), destination)
    return destination
