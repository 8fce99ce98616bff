"""What a model's weights and activations are like, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..artifact import Artifact
from ..data import Sample
from .layers import short_names
from .plan import with_float
from .recipe import Recipe
from .sensitivity import Sensitivity, level_db, look, measure_worst
from .statistics import Statistics

#: A layer whose float precision gains the model so much SQNR is suggested to stay float.
_WORTH_DB = 0.5

#: Weights are called heavy-tailed from here; a normal distribution has 3, a Laplace 6.
_HEAVY_TAIL = 12.0

#: Above this SQNR of the outputs, top-1 answers seldom change.
_CLEAN_DB = 20.0

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Analysis:
    """One model under one recipe.

    Attributes:
        data: words for the inputs that it was looked at with.
        model_db: SQNR of the model's outputs, quantized as a whole.
        layers: in the order of the graph.
        suggested: the recipe with what is worth it kept in float.
    """

    recipe: Recipe
    data: str
    model_db: float
    layers: tuple[Sensitivity, ...]
    suggestions: tuple[str, ...]
    suggested: Recipe


def analyze(
    reference: Artifact,
    quantized: Artifact,
    statistics: Statistics | None,
    samples: tuple[Sequence[Sample], str],
    on_progress: OnProgress = lambda what, done, total: None,
    *,
    worst: int,
) -> Analysis:
    """Looks at every layer and measures the true effect of the worst.

    Args:
        quantized: made from `reference` by the recipe in question.
        samples: inputs to look at it with, and words for them.
        worst: how many layers are measured.
    """
    recipe = quantized.recipe
    assert recipe is not None
    inputs, words = samples
    looked = look(reference, recipe, statistics, inputs, on_progress)
    layers = measure_worst(
        reference, quantized, statistics, inputs, looked, on_progress, worst=worst
    )
    model_db = level_db(reference, quantized, inputs)
    worth = [s for s in layers if s.effect_db is not None and s.effect_db >= _WORTH_DB]
    worth.sort(key=lambda s: -(s.effect_db or 0.0))
    suggested = with_float(recipe, [s.name for s in worth]) if worth else recipe
    suggestions = tuple(_suggestions(recipe, model_db, layers, worth))
    return Analysis(recipe, words, model_db, tuple(layers), suggestions, suggested)


def _suggestions(
    recipe: Recipe, model_db: float, layers: Sequence[Sensitivity], worth: Sequence[Sensitivity]
) -> list[str]:
    found = []
    short = short_names([layer.name for layer in layers])
    if model_db >= _CLEAN_DB:
        found.append(
            f"{recipe.name} keeps {model_db:.1f} dB of SQNR: prove its accuracy with "
            "`edgewright quantize --recipe ... --evaluation ...`"
        )
    for layer in worth:
        cost = "" if layer.cost is None else f" for {layer.cost - 1:+.0%} time on this machine"
        found.append(
            f"keep {short[layer.name]} ({layer.operator}) in float: {layer.effect_db:+.1f} dB{cost}"
        )
    schemes = {scheme.granularity for scheme in recipe.schemes}
    outliers = [s for s in layers if s.weights.outlier_channels]
    if outliers and "per-tensor" in schemes:
        found.append(
            f"weights of {_names(outliers, short)} have outlier channels: quantize per channel"
        )
    heavy = [s for s in layers if (s.weights.kurtosis or 0) > _HEAVY_TAIL]
    if heavy and any(scheme.weights == "int4" for scheme in recipe.schemes):
        found.append(
            f"weights of {_names(heavy, short)} are heavy-tailed: smaller blocks, weight_ranges "
            "'mse' or rounding 'gptq'"
        )
    by_input = [
        s
        for s in layers
        if s.screened is not None
        and s.screened.activations_db is not None
        and s.screened.weights_db is not None
        and s.screened.activations_db + 6 < s.screened.weights_db
    ]
    if by_input and model_db < _CLEAN_DB:
        found.append(
            f"inputs, not weights, cost most in {_names(by_input, short)}: compare range methods, "
            "or let `edgewright quantize --target` do it"
        )
    if not found:
        found.append("no single layer stands out: climb the ladder with `edgewright quantize`")
    return found


def _names(layers: Sequence[Sensitivity], short: Mapping[str, str], most: int = 3) -> str:
    told = ", ".join(short[layer.name] for layer in layers[:most])
    return told if len(layers) <= most else f"{told} and {len(layers) - most} more"
