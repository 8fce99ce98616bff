"""What the benchmark tries: the plan's recipes, those it decides against, and others' defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Artifact, Port
from edgewright.exporters.float_model import describe_file
from edgewright.exporters.quantize.plan import (
    is_convolutional,
    recipe_for,
    with_ranges,
)
from edgewright.exporters.quantize.recipe import Precision, RangeMethod, Recipe, Rule, Scheme
from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.targets.abilities import saturates_u8s8
from edgewright.targets.facts import ModelFacts
from edgewright.targets.load import load_target
from edgewright.targets.profile import Format, TargetProfile
from examples import Prepared

_PRECISIONS: tuple[Precision, ...] = (
    "int8",
    "int8-dynamic",
    "int8-weights",
    "int4",
    "float16",
    "int16",
)
#: What `made_by_default` makes is called.
DEFAULT_NAMES: dict[Format, str] = {"onnx": "ort-default", "tflite": "litert-default"}

_MIN_MAX = RangeMethod(method="min-max")


def recipes(host: TargetProfile, facts: ModelFacts) -> list[Recipe]:
    """Every precision as planned for this machine, then what tells whether the plan is right.

    The others are: what is planned for an x86 with VNNI and for an ARM CPU, ranges from the
    extremes in place of a percentile, bias correction and equalization, static INT8 of the whole
    graph where only matrix products are planned, unsigned weights, INT16 activations, and INT4
    with learned rounding.
    """
    planned = [r for p in _PRECISIONS if (r := _planned(p, host, facts)) is not None]
    static = planned[0]
    found = [
        *planned,
        recipe_for("int8", _with_vnni(host), facts),
        recipe_for("int8", load_target("raspberry-pi-5"), facts),
        with_ranges(static, _MIN_MAX).model_copy(update={"name": f"{static.name}-minmax"}),
        static.model_copy(update={"name": f"{static.name}-corrected", "bias_correction": True}),
    ]
    if is_convolutional(facts):
        found.append(
            static.model_copy(update={"name": f"{static.name}-equalized", "equalization": True})
        )
    else:
        found += [recipe_for("int8-dynamic", _with_vnni(host), facts)]
        found.append(RECIPES["int4-b32-gptq"].recipe)
        if facts.format == "onnx":
            found.append(RECIPES["int4-b32-asymmetric-gptq"].recipe)
        everything = (static.rules[0].model_copy(update={"operator": "*"}),)
        name = static.name.replace("-linear", "-whole")
        found.append(static.model_copy(update={"name": name, "rules": everything}))
    if is_convolutional(facts) and facts.format == "onnx":
        unsigned = Scheme(weights="uint8", activations="uint8")
        found.append(
            static.model_copy(update={"name": "int8-u8u8", "rules": (Rule(scheme=unsigned),)})
        )
    return list({recipe.name: recipe for recipe in found}.values())


def computed_inexactly(host: TargetProfile, artifact: Artifact) -> bool:
    """Whether this machine's fast kernels may saturate where other machines' don't."""
    if artifact.recipe is None or artifact.format != "onnx" or not saturates_u8s8(host):
        return False
    schemes = [rule.scheme for rule in artifact.recipe.rules if rule.scheme is not None]
    return any(
        scheme.weights == "int8" and not scheme.reduce_range and scheme.activations != "float32"
        for scheme in schemes
    )


def made_by_default(prepared: Prepared, destination: Path) -> Artifact:
    """Static INT8 as the runtime's own tool makes it when nothing is chosen.

    ONNX: `quant_pre_process` and `quantize_static` of ONNX Runtime with no options. TFLite: the
    recipe `static_wi8_ai8` of litert-quantizer and its own calibration.
    """
    _BY_DEFAULT[prepared.float_artifact.format](prepared, destination)
    return _adopted(prepared.float_artifact, destination)


def _planned(precision: Precision, host: TargetProfile, facts: ModelFacts) -> Recipe | None:
    try:
        return recipe_for(precision, host, facts)
    except UsageError:
        return None  # the format has no such precision


def _with_vnni(host: TargetProfile) -> TargetProfile:
    if host.cpu.architecture != "x86_64":
        return host
    clusters = tuple(
        cluster.model_copy(update={"features": (*cluster.features, "avx512_vnni")})
        for cluster in host.cpu.clusters
    )
    return host.model_copy(update={"cpu": host.cpu.model_copy(update={"clusters": clusters})})


def _onnxruntime_default(prepared: Prepared, destination: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source = prepared.float_artifact

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._samples = _native(prepared, lambda port: port.spec.name)

        def get_next(self) -> Mapping[str, Any] | None:
            return next(self._samples, None)

    with TemporaryDirectory() as directory:
        prepared_file = Path(directory) / "prepared.onnx"
        quant_pre_process(str(source.path), str(prepared_file), skip_symbolic_shape=True)
        quantize_static(str(prepared_file), str(destination), Reader())


def _litert_default(prepared: Prepared, destination: Path) -> None:
    from litert_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(str(prepared.float_artifact.path))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    # The names in the file's signature are those of the source.
    samples = list(_native(prepared, lambda port: port.source_name))
    ranges = tool.calibrate({"serving_default": samples})
    result = tool.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    destination.write_bytes(bytes(result.quantized_model))


_BY_DEFAULT: dict[Format, Callable[[Prepared, Path], None]] = {
    "onnx": _onnxruntime_default,
    "tflite": _litert_default,
}


def _native(prepared: Prepared, name_of: Callable[[Port], str]) -> Iterator[dict[str, Any]]:
    """Calibration samples as the file itself takes them."""
    for sample in prepared.calibration:
        yield {
            name_of(port): port.to_artifact(sample.inputs[port.source_name])
            for port in prepared.float_artifact.inputs
        }


def _adopted(reference: Artifact, path: Path) -> Artifact:
    """A file that another tool quantized, as an artifact."""
    made = describe_file(path)
    per_tensor = reference.format == "onnx"
    scheme = Scheme(
        weights="int8",
        activations="int8",
        granularity="per-tensor" if per_tensor else "per-channel",
        ranges=_MIN_MAX,
    )
    return replace(
        made,
        precision="int8",
        inputs=_ports(reference.inputs, made.inputs),
        outputs=_ports(reference.outputs, made.outputs),
        made_from=reference.sha256,
        recipe=Recipe(
            name=DEFAULT_NAMES[reference.format],
            format=reference.format,
            rules=(Rule(scheme=scheme),),
        ),
    )


def _ports(before: tuple[Port, ...], after: tuple[Port, ...]) -> tuple[Port, ...]:
    return tuple(replace(old, spec=new.spec) for old, new in zip(before, after, strict=True))
