"""`analyze`: from a source to what its layers are like under quantization."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from ..targets.check_options import chosen_accelerator
from ..targets.inspect import inspect_model
from .export import OnProgress, gather_statistics, preferred_format
from .float_model import make_float_artifact
from .quantize.analyze import Analysis, analyze
from .quantize.apply import COMPARED_SAMPLES, quantize, refuse_unfit
from .quantize.plan import recipe_for
from .request import ExportRequest


def run_analysis(request: ExportRequest, on_progress: OnProgress, *, worst: int) -> Analysis:
    """Analyzes a model under the request's recipe, or under the static one of its first target.

    Args:
        worst: layers whose true effect is measured.

    Raises:
        UsageError, ConversionError: the source, the data or the recipe is wrong.
    """
    data = request.data
    model_format = request.formats[0] if request.formats else preferred_format(request)
    with tempfile.TemporaryDirectory(prefix="edgewright-") as scratch:
        request = replace(request, directory=Path(scratch))
        reference, (samples, words) = make_float_artifact(
            request.source,
            model_format,
            request.directory,
            max_opset=request.max_opset,
            open_data=lambda ports: data.open(data.calibration, ports),
        )
        facts = inspect_model(reference.path)
        recipes = [*request.recipes]
        for target in request.targets:
            accelerator = chosen_accelerator(target, request.checks.accelerator)
            recipes.append(recipe_for("int8", target, facts, accelerator))
        recipe = recipes[0]
        refuse_unfit(recipe, model_format)
        calibration = data.open(data.calibration, reference.inputs)
        statistics = None
        if recipe.needs_calibration:
            statistics = gather_statistics(request, reference, calibration, [recipe], on_progress)
        if calibration is not None:
            samples, words = calibration.first(COMPARED_SAMPLES), calibration.description
        path = request.directory / f"quantized.{model_format}"
        quantized = quantize(reference, recipe, statistics, (samples, words), path)
        return analyze(reference, quantized, statistics, (samples, words), on_progress, worst=worst)
