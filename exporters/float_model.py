"""From a source to a float artifact that is shown to give the source's answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import ConversionError, UsageError
from ..files import written_whole
from ..targets.facts import ModelFacts
from ..targets.inspect import inspect_model
from ..targets.profile import Format
from ..targets.safe_load import assert_loads
from .artifact import Array, Artifact, OutputDifference, Port
from .convert import Conversion, Converted, convert_source
from .convert.base import Layout
from .data import Dataset, Sample, seeded_samples
from .evaluate import answers, differences
from .quantize.recipe import Precision
from .runtime import LoadedArtifact
from .source import Source

#: Largest conversion error: below this SQNR an output is said to have changed.
MIN_CONVERSION_SQNR_DB = 60.0

#: Errors below this are rounding whatever the SQNR (outputs that are all but zero).
NEGLIGIBLE_ERROR = 1e-6

_COMPARED_SAMPLES = 4

OpenData = Callable[[tuple[Port, ...]], Dataset | None]


def make_float_artifact(
    source: Source,
    model_format: Format,
    directory: Path,
    *,
    layout: Layout | None = None,
    max_opset: int | None = None,
    open_data: OpenData = lambda ports: None,
) -> tuple[Artifact, tuple[list[Sample], str]]:
    """Converts a source (or copies a file already in the format) and compares the outputs.

    Args:
        directory: the artifact is written to `<stem>.float32.<format>` in it.
        layout: for TFLite from a channels-first source.
        max_opset: the newest ONNX operator set that the devices take; a file keeps its own.
        open_data: gives real inputs for the comparison once the model's inputs are known.

    Returns:
        The artifact, and the samples it was compared on with words for them.

    Raises:
        UsageError: the source, or the combination, is wrong.
        ConversionError: an output differs past the tolerance; it is named.
    """
    destination = directory / f"{source.stem}.float32.{model_format}"
    if source.kind == model_format:
        return _copied(source, model_format, destination, layout, open_data)
    with written_whole(destination) as temporary:
        conversion = Conversion(temporary, layout=layout, max_opset=max_opset)
        converted = convert_source(source, model_format, conversion)
        facts = inspect_model(temporary)
        draft = replace(
            _artifact(facts, temporary, source.spec),
            inputs=_ports(facts, "inputs", converted),
            outputs=_ports(facts, "outputs", converted),
        )
        samples, words = _inputs_for(draft, converted, open_data)
        compared = _compared(draft, converted, samples)
    made = replace(draft, path=destination, differences=compared, compared_on=words)
    return made, (samples, words)


def _copied(
    source: Source,
    model_format: Format,
    destination: Path,
    layout: Layout | None,
    open_data: OpenData,
) -> tuple[Artifact, tuple[list[Sample], str]]:
    if layout is not None:
        raise UsageError(
            f"{source.spec} is {model_format} already; its layout can't be changed",
            hint="--layout is for TFLite made from PyTorch",
        )
    facts = inspect_model(source.file)
    assert_loads(source.file)
    if facts.is_quantized or facts.is_float16:
        raise UsageError(
            f"{source.spec} is {'quantized' if facts.is_quantized else 'FP16'} already; there is "
            "no float32 model to compare with",
            hint="export from the float model, or use edgewright check and edgewright profile "
            "on this file as it is",
        )
    with written_whole(destination) as temporary:
        if facts.external_data:
            _embed_weights(source.file, temporary)
        else:
            shutil.copyfile(source.file, temporary)
        draft = _artifact(inspect_model(temporary), temporary, source.spec)
        dataset = open_data(draft.inputs)
        if dataset is not None:
            samples, words = dataset.first(_COMPARED_SAMPLES), dataset.description
        else:
            samples, words = seeded_samples(draft.inputs, _COMPARED_SAMPLES), "seeded inputs"
        _refuse_without_numbers(draft, samples, words)
    return replace(draft, path=destination), (samples, words)


def _refuse_without_numbers(artifact: Artifact, samples: Sequence[Sample], words: str) -> None:
    """A model that gives no number for any input has nothing to be compared with.

    One that fails for some random inputs (a logarithm of negative ones) may be right on real data;
    those are looked at sample by sample in `evaluate`.
    """
    loaded = LoadedArtifact(artifact)
    given = [answers(loaded.run, sample.inputs, index) for index, sample in enumerate(samples)]
    for port, outputs in zip(artifact.outputs, zip(*given, strict=True), strict=True):
        if not any(np.isfinite(output).all() for output in outputs):
            raise UsageError(
                f"the model gives NaN or Inf in output {port.source_name} for each of "
                f"{len(samples)} inputs ({words})",
                hint="mend the model, or give --calibration data that it can work on",
            )


def _embed_weights(source: Path, destination: Path) -> None:
    """One file holds all from here on: what is pushed and hashed is what is run."""
    import onnx

    model = onnx.load(str(source))
    try:
        onnx.save(model, str(destination))
    except ValueError as error:
        # protobuf's limit for one message.
        raise ConversionError(f"{source} is over 2 GB with its weights in one file") from error


def _artifact(facts: ModelFacts, path: Path, made_from: str) -> Artifact:
    return Artifact(
        path=path,
        format=facts.format,
        precision="float32",
        inputs=tuple(Port(spec.name, spec) for spec in facts.inputs),
        outputs=tuple(Port(spec.name, spec) for spec in facts.outputs),
        size_bytes=facts.size_bytes,
        sha256=facts.sha256,
        made_from=made_from,
    )


def describe_file(path: Path) -> Artifact:
    """A model file as it is, for profiling and checking: nothing is converted or copied.

    Raises:
        UsageError: it is missing, or is not a model.
    """
    facts = inspect_model(path)
    if facts.external_data:
        raise UsageError(
            f"{path} keeps its weights in other files ({', '.join(facts.external_data)})",
            hint="put them into one file: edgewright export MODEL --precision float32 -o DIR",
        )
    assert_loads(path)
    precision: Precision = "float32"
    if facts.is_quantized:
        precision = "int8"
    elif facts.is_float16:
        precision = "float16"
    return replace(_artifact(facts, path, str(path)), precision=precision)


def _ports(facts: ModelFacts, which: str, converted: Converted) -> tuple[Port, ...]:
    specs = facts.inputs if which == "inputs" else facts.outputs
    names = converted.input_names if which == "inputs" else converted.output_names
    permutations = (
        converted.input_permutations if which == "inputs" else converted.output_permutations
    )
    if not len(specs) == len(names) == len(permutations):
        raise ConversionError(
            f"the converted model has {len(specs)} {which}, the source {len(names)}",
            hint="an unused input or a constant output was dropped; remove it from the source",
        )
    return tuple(Port(*parts) for parts in zip(names, specs, permutations, strict=True))


def _inputs_for(
    draft: Artifact, converted: Converted, open_data: OpenData
) -> tuple[list[Sample], str]:
    dataset = open_data(draft.inputs)
    if dataset is not None:
        return dataset.first(_COMPARED_SAMPLES), dataset.description
    names = [port.source_name for port in draft.inputs]
    example = Sample(dict(zip(names, converted.example_inputs, strict=True)))
    return [example], "the source's example inputs"


def _compared(
    draft: Artifact, converted: Converted, samples: Sequence[Sample]
) -> tuple[OutputDifference, ...]:
    names = [port.source_name for port in draft.inputs]

    def reference(sample: Sample) -> list[Array]:
        return converted.run_source([sample.inputs[name] for name in names])

    compared = differences(reference, LoadedArtifact(draft), samples)
    for difference in compared:
        noisy = difference.sqnr_db is not None and difference.sqnr_db < MIN_CONVERSION_SQNR_DB
        if noisy and difference.max_abs_error > NEGLIGIBLE_ERROR:
            raise ConversionError(
                f"output {difference.output} changed in conversion: max abs error "
                f"{difference.max_abs_error:.3g}, SQNR {difference.sqnr_db:.1f} dB "
                f"(at least {MIN_CONVERSION_SQNR_DB:g} dB expected)",
                hint="the source may depend on chance or on training mode; call .eval() in the "
                "factory",
            )
    return compared
