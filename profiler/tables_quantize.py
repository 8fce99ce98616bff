"""What the quantization engine found, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..exporters.quantize.analyze import Analysis
from ..exporters.quantize.layers import short_names
from ..exporters.quantize.sensitivity import Sensitivity
from .gate import Judged
from .quantization import Quantization, pareto
from .result import Run
from .tables import (
    accuracy_text,
    add_candidate_column,
    candidate_text,
    metric_title,
    note_lines,
    skipped_lines,
    status_text,
)
from .units import time_text


def quantize_table(found: Quantization) -> RenderableType:
    """The Pareto table of `quantize`: accuracy, size, time, what became of each rung and why."""
    best = pareto(found.judged)
    metric = metric_title(item.candidate.evaluation for item in found.judged)
    where = "this host" if found.device == "local" else found.device
    stands_in = "" if found.is_target else "\n(not the target)"
    table = Table(header_style="bold", show_lines=True)
    add_candidate_column(table, [item.candidate for item in found.judged])
    table.add_column(f"{metric}, drop\n[95% interval]", justify="right", no_wrap=True)
    time_title = f"p50 ms on {where}{stands_in}\nspeed to float"
    table.add_column(time_title, justify="right", overflow="fold")
    table.add_column("status and why", overflow="fold")
    for item in found.judged:
        chosen = item.candidate.name == found.chosen
        table.add_row(
            candidate_text(item.candidate, chosen, " *" if item.candidate.name in best else ""),
            accuracy_text(item.candidate.evaluation),
            _time_text(item, found.device),
            status_text(item.candidate, chosen),
        )
    lines = [Text("* nothing else is better in drop, size and time at once", style="dim")]
    if any(not run.validity.valid for run in found.runs):
        lines.append(
            Text("† spoilt by the machine's other work: the time does not count", style="dim")
        )
    for model_format, layers in found.export.sensitivities.items():
        if layers:
            lines.append(Text(f"{model_format}: layers that quantization hurts most"))
    tables = [sensitivity_table(s) for s in found.export.sensitivities.values() if s]
    answer = [Text(f"chosen: {found.chosen or 'nothing'}", style="bold")]
    answer += [Text(f"  {reason}") for reason in found.why]
    return Group(
        table,
        *lines,
        *tables,
        *skipped_lines(found.export.skipped),
        *note_lines(found.notes),
        *answer,
    )


def sensitivity_table(layers: Sequence[Sensitivity], most: int = 15) -> RenderableType:
    """Layers from the one with the most noise; SQNR in dB."""
    table = Table(header_style="bold", show_lines=True)
    table.add_column("layer\noperator", overflow="fold")
    for title in (
        "weight range\nkurtosis",
        "outlier\nchannels",
        "own output, dB\nweights only\ninput only",
        "in float\nmodel gains\ncosts",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    ranked = sorted(layers, key=lambda s: (-(s.effect_db or -1e9), -s.noise))
    short = short_names([layer.name for layer in layers])
    for layer in ranked[:most]:
        weights, own = layer.weights, layer.screened
        table.add_row(
            Text(f"{short[layer.name]}\n{layer.operator}"),
            f"{weights.low:.2g}..{weights.high:.2g}\n"
            + ("-" if weights.kurtosis is None else f"{weights.kurtosis:.1f}"),
            f"{weights.outlier_channels} of {weights.channels}",
            _level_text(own.weights_db if own else None)
            + "\n"
            + _level_text(own.activations_db if own else None),
            ("-" if layer.effect_db is None else f"{layer.effect_db:+.1f} dB")
            + "\n"
            + ("-" if layer.cost is None else f"{layer.cost - 1:+.0%}"),
        )
    if len(ranked) <= most:
        return table
    rest = Text(f"and {len(ranked) - most} layers that hurt less (--json has them all)", "dim")
    return Group(table, rest)


def analysis_table(analysis: Analysis) -> RenderableType:
    """What `analyze` shows."""
    return Group(
        sensitivity_table(analysis.layers),
        Text(
            f"{analysis.recipe.name} as a whole: {analysis.model_db:.1f} dB SQNR on {analysis.data}"
        ),
        *(Text(f"  {line}") for line in analysis.suggestions),
    )


def _time_text(item: Judged, device: str) -> str:
    run = item.runs.get(device)
    if not isinstance(run, Run):
        return "failed" if run else "-"
    told = time_text(run.latency_ms.p50)
    if not run.validity.valid:
        told += " †"
    if run.device.emulated:
        told += "\n(emulated)"
    ratio = item.ratios.get(device)
    return told if ratio is None else f"{told}\n{ratio.speedup:.2f}x"


def _level_text(level: float | None) -> str:
    return "-" if level is None else f"{level:.1f}"
