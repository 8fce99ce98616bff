"""From a float artifact and a recipe to a quantized artifact, whatever the format."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import ConversionError, EdgewrightError, UsageError
from ...files import sha256_file, written_whole
from ...targets.facts import ModelFacts
from ...targets.inspect import inspect_model
from ...targets.profile import Format
from ..artifact import Array, Artifact, Port
from ..data import Dataset, Sample
from ..evaluate import differences
from ..runtime import LoadedArtifact, first_line
from . import onnx, tflite
from .bias_correction import corrected_bias
from .calibrate import Tap, channel_axes, collect
from .equalize import channel_factors, equalize, find_pairs
from .layers import Layer, LayerWeights, Operator
from .recipe import Recipe, Rule
from .rescale import rescaled
from .statistics import Collected, Origin, Statistics
from .statistics_file import load, save
from .weights import quantize_weights

_NARROW = frozenset({"float16", "int8", "uint8", "int4", "uint4"})

_FORMATS: dict[Format, ModuleType] = {"onnx": onnx, "tflite": tflite}

#: Inputs on which a quantized artifact is compared with its float model when it is made.
COMPARED_SAMPLES = 8


def layers_of(artifact: Artifact) -> list[Layer]:
    """The layers with weights of a float artifact."""
    found: list[Layer] = _FORMATS[artifact.format].layers(artifact.path)
    return found


def operators_of(artifact: Artifact) -> list[Operator]:
    """All the operators of a float artifact, as rules see them."""
    found: list[Operator] = _FORMATS[artifact.format].operators(artifact.path)
    return found


def tap_of(artifact: Artifact) -> Tap:
    """A function that runs a float artifact and gives every float activation by its name."""
    run: Tap = _FORMATS[artifact.format].tap(artifact.path)
    return run


def native(artifact: Artifact, sample: Sample) -> Mapping[str, Array]:
    """A sample as `tap_of` takes it: in the artifact's names, layouts and types."""
    arrays = [port.to_artifact(sample.inputs[port.source_name]) for port in artifact.inputs]
    if artifact.format == "onnx":
        return {p.spec.name: a for p, a in zip(artifact.inputs, arrays, strict=True)}
    return {str(position): array for position, array in enumerate(arrays)}


def calibrate(
    artifact: Artifact,
    dataset: Dataset,
    *,
    covariances: bool = False,
    checkpoint: Path | None = None,
    on_sample: Callable[[int, int], None] = lambda done, total: None,
) -> Statistics:
    """Runs a float artifact over the data and keeps statistics of its activations.

    Args:
        covariances: also of the inputs of matrix products across channels, for GPTQ.
        checkpoint: where a calibration that is stopped is kept, and taken up again.

    Raises:
        UsageError: the data do not fit, or an activation is NaN or Inf.
    """
    layers = layers_of(artifact)
    products = {layer.input for layer in layers if layer.multiplies_channels}
    axes = channel_axes(layers)
    collected = Collected(
        channel_axes=axes,
        covariances=frozenset(products & axes.keys()) if covariances else frozenset(),
    )
    origin = Origin(artifact.format, artifact.sha256, dataset.identity, dataset.description)
    begun = _begun(checkpoint, origin, collected) if checkpoint else None
    tap, total = tap_of(artifact), len(dataset)

    def keep(statistics: Statistics) -> None:
        if checkpoint is not None:
            save(statistics, checkpoint)

    return collect(
        tap, (native(artifact, sample) for sample in dataset), origin, collected,
        resume_from=begun, checkpoint=keep, on_sample=lambda done: on_sample(done, total),
    )  # fmt: skip


def _begun(path: Path, origin: Origin, collected: Collected) -> Statistics | None:
    """What an earlier run on the same model and data kept; None where that is something else."""
    if not path.exists():
        return None
    try:
        found = load(path)
    except EdgewrightError:
        return None
    same = found.origin == origin and found.collected == collected
    return found if same else None


def refuse_unfit(recipe: Recipe, model_format: Format) -> None:
    """That the format can hold every scheme of a recipe; named before any work.

    Raises:
        UsageError: it can't.
    """
    if recipe.format not in (None, model_format):
        raise UsageError(
            f"recipe {recipe.name} is for {recipe.format}, not {model_format}",
            hint="`edgewright recipes list` shows what each recipe is for",
        )
    for scheme in recipe.schemes:
        why = _FORMATS[model_format].unsupported(scheme)
        if why is not None:
            raise UsageError(
                f"recipe {recipe.name}: {why}",
                hint="`edgewright recipes list` shows what each format holds",
            )


def unmatched(recipe: Recipe, artifact: Artifact) -> list[str]:
    """A warning for each rule that matches no operator, with the nearest names."""
    operators = operators_of(artifact)
    return [
        f"rule {number} of recipe {recipe.name} (scope {rule.scope!r}, operator {rule.operator!r}) "
        f"matches nothing; {_nearest(rule, operators)}"
        for number, rule in enumerate(recipe.rules, 1)
        if not any(rule.matches(operator.name, operator.kind) for operator in operators)
    ]


def quantize(
    artifact: Artifact,
    recipe: Recipe,
    statistics: Statistics | None,
    compare_on: tuple[list[Sample], str],
    destination: Path,
) -> Artifact:
    """Writes a quantized artifact, whole or not at all.

    Args:
        artifact: a float artifact of the recipe's format.
        statistics: for recipes that need calibration.
        compare_on: inputs for the quantization error, and words for what they are.

    Raises:
        UsageError: the recipe does not fit the model, or quantizes nothing in it.
        ConversionError: the library failed, or made a model that its own runtime refuses.
    """
    refuse_unfit(recipe, artifact.format)
    if recipe.needs_calibration and statistics is None:
        raise UsageError(
            f"recipe {recipe.name} needs calibration data",
            hint="give --calibration DATA, or --statistics of an earlier calibration",
        )
    with written_whole(destination) as temporary, tempfile.TemporaryDirectory() as scratch:
        try:
            path, known = _corrected(artifact, recipe, statistics, Path(scratch))
            _FORMATS[artifact.format].apply(path, recipe, known, temporary)
        except (EdgewrightError, OSError):
            raise
        except Exception as error:
            # The quantizers raise whatever a graph they did not expect makes them stumble over.
            raise ConversionError(
                f"quantizing {artifact.path.name} with {recipe.name} failed: {first_line(error)}",
                hint="choose another precision or recipe",
            ) from error
        _refuse_unchanged(artifact, recipe, temporary)
        draft = _described(artifact, recipe, temporary)
        samples, words = compare_on
        reference = LoadedArtifact(artifact)
        compared = differences(
            lambda sample: reference.run(sample.inputs), _loaded(draft, recipe), samples
        )
    return replace(draft, path=destination, differences=compared, compared_on=words)


def is_of_the_disk(error: EdgewrightError) -> bool:
    """Whether `quantize` could not write, so that any other candidate would fail likewise."""
    return isinstance(error.__cause__, OSError)


def _corrected(
    artifact: Artifact, recipe: Recipe, statistics: Statistics | None, scratch: Path
) -> tuple[Path, Statistics | None]:
    """The float model, equalized and with corrected biases where the recipe asks for it."""
    path, module = artifact.path, _FORMATS[artifact.format]
    if not (recipe.equalization or recipe.bias_correction):
        return path, statistics
    assert statistics is not None
    layers = layers_of(artifact)
    if recipe.equalization:
        pairs = find_pairs(layers, _consumers(artifact))
        changed = equalize(layers, pairs, statistics)
        statistics = rescaled(statistics, channel_factors(layers, pairs, statistics))
        path = scratch / f"equalized.{artifact.format}"
        module.with_weights(artifact.path, changed, path)
        layers = module.layers(path)
    if recipe.bias_correction:
        changed = {}
        for layer in layers:
            scheme = recipe.scheme_for(layer.name, layer.operator)
            if scheme is None or scheme.weights == "float16":
                continue
            quantized = quantize_weights(
                layer.weights,
                scheme,
                covariance=statistics.covariance(layer.input),
                name=layer.name,
            )
            means = statistics.means(layer.input)
            bias = corrected_bias(layer, quantized.dequantized(), means)
            changed[layer.name] = LayerWeights(layer.weights, bias)
        before, path = path, scratch / f"corrected.{artifact.format}"
        module.with_weights(before, changed, path)
    return path, statistics


def _consumers(artifact: Artifact) -> Counter[str]:
    """How many operators read each tensor; an output of the model is read once more."""
    read = Counter(name for operator in operators_of(artifact) for name in operator.inputs)
    read.update(_FORMATS[artifact.format].output_names(artifact.path))
    return read


def _nearest(rule: Rule, operators: list[Operator]) -> str:
    kinds = sorted({operator.kind for operator in operators})
    if not any(rule.names_operator(kind) for kind in kinds):
        near = get_close_matches(rule.operator, kinds, n=3, cutoff=0.4) or kinds
        return f"nearest operators: {', '.join(near)}"
    names = [operator.name for operator in operators if rule.names_operator(operator.kind)]
    near = get_close_matches(
        rule.scope.removesuffix(r"\Z").strip("^$.*").replace("\\", ""), names, n=3, cutoff=0.0
    )
    return f"nearest names: {', '.join(near)}"


def _described(artifact: Artifact, recipe: Recipe, path: Path) -> Artifact:
    facts = inspect_model(path)
    return Artifact(
        path=path,
        format=artifact.format,
        precision=recipe.precision,
        inputs=_ports(artifact.inputs, facts.inputs),
        outputs=_ports(artifact.outputs, facts.outputs),
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        made_from=artifact.sha256,
        recipe=recipe,
    )


def _loaded(draft: Artifact, recipe: Recipe) -> LoadedArtifact:
    try:
        return LoadedArtifact(draft)
    except UsageError as error:
        raise ConversionError(
            f"{recipe.name} makes a model that its runtime refuses: "
            f"{first_line(error.__cause__ or error)}",
            hint="choose another precision or recipe",
        ) from error


def _refuse_unchanged(artifact: Artifact, recipe: Recipe, path: Path) -> None:
    before, after = inspect_model(artifact.path), inspect_model(path)
    if _narrow_operators(after) <= _narrow_operators(before):
        raise UsageError(
            f"recipe {recipe.name} quantizes nothing in {artifact.path.name}",
            hint="the model has " + ", ".join(sorted(o.name for o in before.operators)),
        )


def _narrow_operators(facts: ModelFacts) -> int:
    return sum(operator.count for operator in facts.operators if _NARROW & set(operator.dtypes))


def _ports(before: tuple[Port, ...], specs: tuple[Any, ...]) -> tuple[Port, ...]:
    return tuple(replace(port, spec=spec) for port, spec in zip(before, specs, strict=True))
