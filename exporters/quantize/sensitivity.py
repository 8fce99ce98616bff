"""Which layers quantization hurts: a cheap look at all, then the true effect of the worst."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import ConversionError, UsageError
from ..artifact import Artifact, OutputDifference
from ..data import Sample
from ..evaluate import differences
from ..runtime import LoadedArtifact
from .apply import is_of_the_disk, layers_of, native, quantize, tap_of
from .layers import Layer
from .plan import with_float
from .recipe import Recipe
from .screen import Screened, screen
from .statistics import Statistics
from .timing import relative_times
from .weights import quantize_weights

#: Layers whose true effect is measured.
WORST = 8

#: A channel whose greatest weight is so many times that of the median channel stands out.
_OUTLIER_FACTOR = 8.0

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class WeightDistribution:
    """How the weights of a layer are spread.

    Attributes:
        low, high: extremes.
        kurtosis: fourth standardized moment; 3 for a normal distribution, and more the more a few
            weights stand out.
        channels: output channels.
        outlier_channels: output channels whose greatest weight is 8 times that of the median one.
    """

    low: float
    high: float
    kurtosis: float | None
    channels: int
    outlier_channels: int


@dataclass(frozen=True)
class Sensitivity:
    """One layer's part in what quantization costs.

    Attributes:
        screened: SQNR of its own output; None where the recipe keeps it float.
        effect_db: how much the SQNR of the model's outputs gains when this layer alone stays
            float; None where that was not measured.
        cost: time of the model with this layer in float relative to that without, on this machine;
            None where that was not measured.
    """

    name: str
    operator: str
    weights: WeightDistribution
    screened: Screened | None
    effect_db: float | None = None
    cost: float | None = None

    @property
    def noise(self) -> float:
        """Noise relative to the signal at the layer's own output, of weights and input together."""
        if self.screened is None:
            return 0.0
        levels = (self.screened.weights_db, self.screened.activations_db)
        return sum(10 ** (-db / 10) for db in levels if db is not None)

    @property
    def gain_for_cost(self) -> float:
        """What float gives for each part of the time that it takes; for layers that were tried."""
        if self.effect_db is None or self.cost is None:
            return -math.inf
        # A cost within the noise of a timing counts as one per cent.
        return self.effect_db / max(self.cost - 1, 0.01)


def distribution(layer: Layer) -> WeightDistribution:
    """How the weights of a layer are spread."""
    from scipy.stats import kurtosis

    values = layer.weights.ravel().astype(np.float64)
    greatest = np.abs(layer.weights).reshape(len(layer.weights), -1).max(axis=1)
    alive = greatest[greatest > 0]
    outliers = int((greatest > _OUTLIER_FACTOR * np.median(alive)).sum()) if alive.size else 0
    spread = np.ptp(values) > 0
    return WeightDistribution(
        low=float(values.min()),
        high=float(values.max()),
        kurtosis=float(kurtosis(values, fisher=False)) if spread else None,
        channels=len(layer.weights),
        outlier_channels=outliers,
    )


def look(
    artifact: Artifact,
    recipe: Recipe,
    statistics: Statistics | None,
    samples: Sequence[Sample],
    on_progress: OnProgress = lambda what, done, total: None,
) -> list[Sensitivity]:
    """The cheap screen of every layer, in the order of the graph."""
    layers = layers_of(artifact)
    chosen = []
    for layer in layers:
        scheme = recipe.scheme_for(layer.name, layer.operator)
        if scheme is None or scheme.weights == "float16":
            continue
        covariance = statistics.covariance(layer.input) if statistics else None
        made = quantize_weights(layer.weights, scheme, covariance=covariance, name=layer.name)
        chosen.append((layer, scheme, made))
    found = screen(
        chosen, [native(artifact, sample) for sample in samples], tap_of(artifact), statistics,
        lambda done: on_progress("looking at each layer", done, len(samples)),
    )  # fmt: skip
    return [
        Sensitivity(layer.name, layer.operator, distribution(layer), found.get(layer.name))
        for layer in layers
    ]


def measure_worst(
    artifact: Artifact,
    quantized: Artifact,
    statistics: Statistics | None,
    samples: Sequence[Sample],
    looked: Sequence[Sensitivity],
    on_progress: OnProgress = lambda what, done, total: None,
    *,
    worst: int = WORST,
) -> list[Sensitivity]:
    """The true effect, on the model's outputs and on its time, of keeping one layer float.

    Args:
        quantized: the artifact as a whole; its recipe is varied.
        looked: what `look` found; the layers with the most noise are measured.
    """
    assert quantized.recipe is not None
    ranked = sorted((s for s in looked if s.noise > 0), key=lambda s: -s.noise)[:worst]
    base = level_db(artifact, quantized, samples)
    measured = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, layer in enumerate(ranked):
            on_progress("the worst layers in float, one by one", number, len(ranked))
            recipe = with_float(quantized.recipe, [layer.name])
            path = Path(scratch) / f"{number}.{artifact.format}"
            try:
                other = quantize(artifact, recipe, statistics, (list(samples), ""), path)
            except (ConversionError, UsageError) as error:
                if is_of_the_disk(error):
                    raise
                # It was the only layer, or what is left can't be made: nothing to compare with.
                continue
            measured[layer.name] = replace(
                layer,
                effect_db=lowest_db(other.differences) - base,
                cost=relative_times(quantized, [other], samples[0])[0],
            )
            path.unlink()
    return [measured.get(each.name, each) for each in looked]


def level_db(artifact: Artifact, quantized: Artifact, samples: Sequence[Sample]) -> float:
    """SQNR of the worst output of a quantized artifact against its float one."""
    reference = LoadedArtifact(artifact)
    found = differences(
        lambda sample: reference.run(sample.inputs), LoadedArtifact(quantized), samples
    )
    return lowest_db(found)


def lowest_db(compared: Sequence[OutputDifference]) -> float:
    """The SQNR of the worst output; that of float32 where there is no noise at all."""
    return min((d.sqnr_db for d in compared if d.sqnr_db is not None), default=150.0)
