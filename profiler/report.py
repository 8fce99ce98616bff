"""What was found, as JSON documents for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..exporters.candidate import Candidate, Export, Planned
from ..exporters.evaluate import Evaluation
from ..exporters.quantize.analyze import Analysis
from ..files import write_json
from .gate import Judged, Verdict
from .quantization import Quantization, pareto
from .report_check import check_document
from .result import FailedRun, Run
from .stats import Comparison


def artifact_document(candidate: Candidate) -> dict[str, Any]:
    """One artifact: the file, how it was made, how it was proven and where it fits."""
    artifact = candidate.artifact
    return {
        "name": candidate.name,
        "path": str(artifact.path),
        "format": artifact.format,
        "precision": artifact.precision,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "made_from": artifact.made_from,
        "recipe": artifact.recipe.model_dump(mode="json") if artifact.recipe else None,
        "differences": [asdict(difference) for difference in artifact.differences],
        "compared_on": artifact.compared_on,
        "evaluation": _evaluation(candidate.evaluation),
        "status": candidate.status,
        "reason": candidate.reason,
        "checks": {target: check_document(c) for target, c in candidate.checks.items()},
    }


def export_document(export: Export) -> dict[str, Any]:
    """What `edgewright export --json` prints."""
    return {
        "schema_version": 1,
        "artifacts": [artifact_document(candidate) for candidate in export.candidates],
        "chosen": str(export.chosen.artifact.path) if export.chosen else None,
        "skipped": [asdict(skipped) for skipped in export.skipped],
        "notes": list(export.notes),
        "statistics": [str(path) for path in export.statistics],
        "sensitivities": _sensitivities(export),
    }


def plan_document(planned: list[Planned]) -> dict[str, Any]:
    """What `--dry-run --json` prints."""
    return {
        "schema_version": 1,
        "planned": [
            {
                "format": item.format,
                "precision": item.step.precision,
                "step": item.step.step,
                "recipe": item.step.recipe.model_dump(mode="json") if item.step.recipe else None,
                "reason": item.step.reason,
            }
            for item in planned
        ],
    }


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """How long one run takes relative to another, for `compare` and `ship`."""
    return {
        "ratio": comparison.ratio,
        "speedup": comparison.speedup,
        "interval": list(comparison.interval) if comparison.interval else None,
        "method": comparison.method,
        "is_faster": comparison.is_faster,
        "is_slower": comparison.is_slower,
    }


def compared_document(
    reference: Run, run: Run, comparison: Comparison, verdict: Verdict
) -> dict[str, Any]:
    """What `edgewright compare --json` prints."""
    return {
        "schema_version": 1,
        **comparison_document(comparison),
        "verdict": {"passed": verdict.passed, "reasons": list(verdict.reasons)},
        "reference": _side(reference),
        "run": _side(run),
    }


def _side(run: Run) -> dict[str, Any]:
    return {
        "model_name": run.model_name,
        "model_sha256": run.model_sha256,
        "latency_ms": run.latency_ms.model_dump(mode="json"),
        "runtime": run.runtime.model_dump(mode="json"),
        "validity": run.validity.model_dump(mode="json"),
        "correctness": run.correctness.status,
    }


def runs_document(
    runs: Sequence[Run | FailedRun],
    comparisons: Sequence[Comparison | None],
    files: Mapping[int, Path],
) -> dict[str, Any]:
    """What `edgewright profile --json` prints of several models.

    Args:
        comparisons: each run with the first.
        files: where each run was written, by the run's `id()`.
    """
    return {
        "schema_version": 1,
        "runs": [
            {
                **(run.to_json() if isinstance(run, Run) else run.model_dump(mode="json")),
                "relative_to_first": comparison_document(comparison) if comparison else None,
                "file": str(files[id(run)]) if id(run) in files else None,
            }
            for run, comparison in zip(runs, comparisons, strict=True)
        ],
    }


def ship_document(
    judged: tuple[Judged, ...],
    verdict: Verdict,
    export: Export,
    notes: tuple[str, ...],
    accept_invalid: str | None,
    run_files: dict[int, Path],
) -> dict[str, Any]:
    """What `edgewright ship --json` prints and `result.json` keeps.

    Args:
        run_files: where each run was written, by the run's `id()`.
    """
    return {
        "schema_version": 1,
        "verdict": {
            "passed": verdict.passed,
            "chosen": verdict.chosen,
            "reasons": list(verdict.reasons),
            "accepted_invalid": accept_invalid,
        },
        "candidates": [_judged(item, run_files) for item in judged],
        "skipped": [asdict(skipped) for skipped in export.skipped],
        "notes": list(notes),
    }


def quantize_document(found: Quantization, run_files: dict[int, Path]) -> dict[str, Any]:
    """What `edgewright quantize --target --json` prints and `result.json` keeps.

    Args:
        run_files: where each run was written, by the run's `id()`.
    """
    best = pareto(found.judged)
    return {
        "schema_version": 1,
        "chosen": found.chosen,
        "why": list(found.why),
        "measured_on": {"device": found.device, "is_target": found.is_target},
        "candidates": [
            {**_judged(item, run_files), "pareto": item.candidate.name in best}
            for item in found.judged
        ],
        "skipped": [asdict(skipped) for skipped in found.export.skipped],
        "sensitivities": _sensitivities(found.export),
        "statistics": [str(path) for path in found.export.statistics],
        "notes": list(found.notes),
    }


def analysis_document(analysis: Analysis) -> dict[str, Any]:
    """What `edgewright analyze --json` prints."""
    return {
        "schema_version": 1,
        "recipe": analysis.recipe.model_dump(mode="json"),
        "data": analysis.data,
        "model_sqnr_db": analysis.model_db,
        "layers": [asdict(layer) for layer in analysis.layers],
        "suggestions": list(analysis.suggestions),
        "suggested_recipe": analysis.suggested.model_dump(mode="json"),
    }


def _sensitivities(export: Export) -> dict[str, Any]:
    return {
        model_format: [asdict(layer) for layer in layers]
        for model_format, layers in export.sensitivities.items()
        if layers
    }


def write_runs(runs: Sequence[Run], directory: Path) -> dict[int, Path]:
    """Writes each run with its raw samples; gives the files by the runs' `id()`."""
    files = {}
    for number, run in enumerate(runs):
        name = f"{number:02d}-{run.model_name.replace('/', '-')}.json"
        files[id(run)] = directory / name
        write_json(files[id(run)], run.to_json())
    return files


def forget_results(directory: Path) -> None:
    """Removes what an earlier command said, which must not stand beside the artifacts of this."""
    for old in (directory / "result.json", *(directory / "runs").glob("[0-9][0-9]-*.json")):
        old.unlink(missing_ok=True)


def _judged(item: Judged, run_files: dict[int, Path]) -> dict[str, Any]:
    runs = []
    for device, run in item.runs.items():
        entry: dict[str, Any] = {"device": device}
        if isinstance(run, Run):
            entry |= {
                "file": str(run_files[id(run)]),
                "latency_ms": run.latency_ms.model_dump(mode="json"),
                "cold_start": run.cold_start.model_dump(mode="json"),
                "peak_rss_bytes": run.peak_rss_bytes,
                "runtime": run.runtime.model_dump(mode="json"),
                "validity": run.validity.model_dump(mode="json"),
                "correctness": run.correctness.model_dump(mode="json"),
                "emulated": run.device.emulated,
            }
        else:
            entry["error"] = run.message
        if device in item.ratios:
            entry["relative_to_float"] = comparison_document(item.ratios[device])
        runs.append(entry)
    return {
        **artifact_document(item.candidate),
        "runs": runs,
        "verdict": {"passed": item.passed, "reasons": list(item.reasons)},
    }


def _evaluation(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    document = asdict(evaluation)
    document["interval"] = list(evaluation.interval) if evaluation.interval else None
    return document
