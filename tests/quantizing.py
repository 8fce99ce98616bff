"""A net with layers that quantization spoils, and what it takes to quantize and to judge it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from models import artifact, save_onnx
from onnx import helper

from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Dataset, Sample, open_dataset
from edgewright.exporters.examiner import Examiner
from edgewright.exporters.metrics import get_metric
from edgewright.exporters.quantize.apply import calibrate
from edgewright.exporters.quantize.recipe import Recipe, Rule, Scheme
from edgewright.exporters.quantize.statistics import Statistics

WIDTH = 32

#: One scale for all weights of a layer, so that an outlier among them takes it from the others.
PER_TENSOR = Recipe(
    name="per-tensor",
    rules=(
        Rule(
            operator="MatMul",
            scheme=Scheme(weights="int8", activations="uint8", granularity="per-tensor"),
        ),
    ),
)


def spoilt_net(
    path: Path, layers: int, spoilt: Sequence[int], outlier: float = 3000, seed: int = 0
) -> Artifact:
    """x 1x32 -> matrix products "layer0"... with tanh between -> y 1x10.

    A spoilt one has a weight out of all proportion, which meets a channel that is always zero.
    """
    generator = np.random.default_rng(seed)
    mask = np.ones((1, WIDTH), np.float32)
    mask[0, 3] = 0
    nodes, constants, last = [], {"mask": mask}, "x"
    for number in range(layers):
        width = 10 if number == layers - 1 else WIDTH
        weights = generator.normal(size=(WIDTH, width)).astype(np.float32) / np.float32(6)
        if number in spoilt:
            weights[3, 4] = outlier
        constants[f"w{number}"] = weights
        out = "y" if number == layers - 1 else f"h{number}"
        nodes += [
            helper.make_node("Mul", [last, "mask"], [f"m{number}"], f"mask{number}"),
            helper.make_node("MatMul", [f"m{number}", f"w{number}"], [out], f"layer{number}"),
        ]
        if out != "y":
            nodes.append(helper.make_node("Tanh", [out], [f"t{number}"], f"tanh{number}"))
            last = f"t{number}"
    return artifact(save_onnx(path, nodes, {"x": [1, WIDTH]}, {"y": [1, 10]}, **constants))


def uneven_net(path: Path) -> Artifact:
    """Depthwise between two pointwise convolutions, with channels of very different reach."""
    generator = np.random.default_rng(0)
    reach = np.geomspace(0.02, 40, 16).astype(np.float32)
    w1 = generator.normal(size=(16, 3, 1, 1)).astype(np.float32) * reach[:, None, None, None]
    w1[5] = 0  # a channel that nothing feeds
    w2 = generator.normal(size=(16, 1, 3, 3)).astype(np.float32)
    w3 = generator.normal(size=(8, 16, 1, 1)).astype(np.float32) / reach[:, None, None]
    b1 = generator.normal(size=16).astype(np.float32)
    b1[5] = 0
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "expand"),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "depthwise", group=16, pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "w3"], ["y"], "project"),
    ]
    return artifact(
        save_onnx(path, nodes, {"x": [1, 3, 6, 6]}, {"y": [1, 8, 6, 6]}, w1=w1, b1=b1, w2=w2, w3=w3)
    )


def rows(path: Path, model: Artifact, count: int, seed: int = 5) -> Dataset:
    """Standard normal inputs as a data file."""
    port = model.inputs[0]
    shape = [size or 1 for size in port.spec.shape]
    values = np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)
    np.savez(path, **{port.source_name: values})
    return open_dataset(str(path), model.inputs)


class Ready:
    """A model with statistics, samples and a judge."""

    def __init__(
        self, model: Artifact, folder: Path, *, metric: str = "sqnr", max_drop: float = 3e-3,
        evaluated: int = 60, covariances: bool = False,
    ) -> None:  # fmt: skip
        data = rows(folder / "calibration.npz", model, 16, seed=1)
        self.model = model
        self.statistics: Statistics = calibrate(model, data, covariances=covariances)
        self.samples: list[Sample] = data.first(8)
        self.told: list[tuple[int, int]] = []
        self.examiner = Examiner(
            model, rows(folder / "evaluation.npz", model, evaluated, seed=2), get_metric(metric),
            max_drop, on_sample=lambda done, total: self.told.append((done, total)),
        )  # fmt: skip
