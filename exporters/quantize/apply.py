"""From a float artifact and a recipe to a quantized artifact, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import ConversionError, EdgewrightError, UsageError
from ...files import sha256_file, written_whole
from ...targets.facts import ModelFacts
from ...targets.inspect import inspect_model
from ..artifact import Array, Artifact, Port
from ..data import Dataset, Sample
from ..evaluate import differences
from ..runtime import LoadedArtifact, first_line
from . import onnx, tflite
from .calibrate import Statistics, collect
from .recipe import Recipe

_NARROW = frozenset({"float16", "int8", "uint8", "int4", "uint4"})

_FORMATS: dict[str, ModuleType] = {"onnx": onnx, "tflite": tflite}

#: Inputs on which a quantized artifact is compared with its float model when it is made.
COMPARED_SAMPLES = 8


def calibrate(
    artifact: Artifact,
    dataset: Dataset,
    on_sample: Callable[[int, int], None] = lambda done, total: None,
) -> Statistics:
    """Runs a float artifact over the data and keeps statistics of its activations.

    Raises:
        UsageError: the data do not fit, or an activation is NaN or Inf.
    """
    tap = _FORMATS[artifact.format].tap(artifact.path)

    def samples() -> Iterator[Mapping[str, Array]]:
        for sample in dataset:
            yield _keyed(artifact, sample)

    total = len(dataset)
    return collect(tap, samples(), lambda done: on_sample(done, total))


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
    if recipe.format != artifact.format:
        raise UsageError(f"recipe {recipe.name} is for {recipe.format}, not {artifact.format}")
    if recipe.needs_calibration and statistics is None:
        raise UsageError(
            f"recipe {recipe.name} needs calibration data", hint="give --calibration DATA"
        )
    with written_whole(destination) as temporary:
        try:
            _FORMATS[artifact.format].apply(artifact.path, recipe, statistics, temporary)
        except (EdgewrightError, OSError):
            raise
        except Exception as error:
            # The quantizers raise whatever a graph they did not expect makes them stumble over.
            raise ConversionError(
                f"quantizing {artifact.path.name} with {recipe.name} failed: {first_line(error)}",
                hint="choose another --precision",
            ) from error
        _refuse_unchanged(artifact, recipe, temporary)
        draft = _described(artifact, recipe, temporary)
        samples, words = compare_on
        reference = LoadedArtifact(artifact)
        compared = differences(
            lambda sample: reference.run(sample.inputs), _loaded(draft, recipe), samples
        )
    return replace(draft, path=destination, differences=compared, compared_on=words)


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
            hint="choose another --precision",
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


def _keyed(artifact: Artifact, sample: Sample) -> Mapping[str, Array]:
    arrays = [port.to_artifact(sample.inputs[port.source_name]) for port in artifact.inputs]
    if artifact.format == "onnx":
        return {p.spec.name: a for p, a in zip(artifact.inputs, arrays, strict=True)}
    return {str(position): array for position, array in enumerate(arrays)}
