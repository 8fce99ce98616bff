"""What was found, as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..exporters.candidate import Candidate, Export, Planned, Skipped
from ..exporters.evaluate import Evaluation
from .gate import Judged, Verdict
from .result import Run
from .units import size_text, time_text

#: Characters of a candidate's name that stay on one line; 80 columns have no room for more.
_WHOLE_NAME = 24


def ship_table(
    judged: Sequence[Judged], verdict: Verdict, skipped: Iterable[Skipped], notes: Iterable[str]
) -> RenderableType:
    """The one table of `ship`: candidate, size, accuracy, latency, ratio, verdict and why.

    Devices stand below one another: beside each other, two would not fit on 80 columns.
    """
    devices = list(dict.fromkeys(device for item in judged for device in item.runs))
    metric = metric_title(item.candidate.evaluation for item in judged)
    table = Table(header_style="bold", show_lines=True)
    add_candidate_column(table, [item.candidate for item in judged])
    table.add_column(f"{metric}, drop\n[95% interval]", justify="right", no_wrap=True)
    if devices:
        table.add_column("p50 / p90 ms\nspeed to float", justify="right", overflow="fold")
    table.add_column("verdict and why", overflow="fold")
    for item in judged:
        cells: list[RenderableType] = [
            candidate_text(item.candidate, item.candidate.name == verdict.chosen),
            accuracy_text(item.candidate.evaluation),
        ]
        if devices:
            cells.append(Text("\n".join(_latency_lines(item, devices))))
        table.add_row(*cells, _verdict_text(item, verdict))
    lines = [
        Text.assemble(
            verdict_mark(verdict), "  ", verdict.chosen or "nothing to release", style="bold"
        )
    ]
    lines += [Text(f"  {reason}") for reason in verdict.reasons]
    return Group(table, *skipped_lines(skipped), *note_lines(notes), *lines)


def export_table(export: Export) -> RenderableType:
    """The table of `export`."""
    metric = metric_title(c.evaluation for c in export.candidates)
    table = Table(header_style="bold", show_lines=True)
    add_candidate_column(table, export.candidates)
    table.add_column("SQNR dB", justify="right", no_wrap=True)
    table.add_column(f"{metric}, drop\n[95% interval]", justify="right", no_wrap=True)
    table.add_column("status and why", overflow="fold")
    for candidate in export.candidates:
        chosen = export.chosen is candidate
        table.add_row(
            candidate_text(candidate, chosen),
            _sqnr(candidate),
            accuracy_text(candidate.evaluation),
            status_text(candidate, chosen),
        )
    chosen_path = export.chosen.artifact.path if export.chosen else "nothing"
    return Group(
        table,
        *skipped_lines(export.skipped),
        *note_lines(export.notes),
        Text(f"chosen: {chosen_path}", style="bold"),
    )


def plan_table(planned: Iterable[Planned]) -> RenderableType:
    """What `--dry-run` shows."""
    table = Table(header_style="bold")
    for title in ("format", "precision", "recipe", "why"):
        table.add_column(title, overflow="fold", no_wrap=title in ("format", "precision"))
    for item in planned:
        step = item.step
        style = "" if step.recipe else "dim"
        name = step.recipe.name if step.recipe else "not tried"
        table.add_row(item.format, step.precision, name, step.reason, style=style)
    return table


def verdict_mark(verdict: Verdict) -> Text:
    """Yes or no, in the colour of it."""
    return Text("PASSED", "bold green") if verdict.passed else Text("FAILED", "bold red")


def skipped_lines(skipped: Iterable[Skipped]) -> list[Text]:
    """One line for each precision that was not tried."""
    return [Text(f"not tried: {s.format}/{s.precision}: {s.reason}", style="dim") for s in skipped]


def add_candidate_column(table: Table, candidates: Sequence[Candidate]) -> None:
    """A column for `candidate_text`."""
    whole = all(len(candidate.name) <= _WHOLE_NAME for candidate in candidates)
    table.add_column("candidate\nsize", overflow="fold", no_wrap=whole)


def candidate_text(candidate: Candidate, chosen: bool, mark: str = "") -> Text:
    """A candidate's name, and its size below."""
    size = size_text(candidate.artifact.size_bytes)
    return Text.assemble((candidate.name, "bold green" if chosen else ""), f"\n{size}{mark}")


def metric_title(evaluations: Iterable[Evaluation | None]) -> str:
    return next((e.metric for e in evaluations if e is not None), "accuracy")


def accuracy_text(evaluation: Evaluation | None) -> str:
    if evaluation is None or evaluation.score is None:
        return "-"
    if evaluation.verdict == "reference":
        return f"{evaluation.score:.4g}"
    told = f"{evaluation.score:.4g}, {evaluation.drop:+.4f}"
    interval = evaluation.interval
    return told if interval is None else f"{told}\n[{interval[0]:+.4f}, {interval[1]:+.4f}]"


def _latency_lines(item: Judged, devices: Sequence[str]) -> list[str]:
    lines = []
    for device in devices:
        if len(devices) > 1:
            lines.append(f"{device}:")
        run = item.runs.get(device)
        if not isinstance(run, Run):
            lines.append("failed" if run else "-")
            continue
        lines.append(f"{time_text(run.latency_ms.p50)} / {time_text(run.latency_ms.p90)}")
        if run.device.emulated:
            lines.append("(emulated)")
        elif not run.validity.valid:
            lines.append("(INVALID)")
        if device in item.ratios:
            lines.append(f"{item.ratios[device].speedup:.2f}x")
    return lines


def _verdict_text(item: Judged, verdict: Verdict) -> Text:
    if item.candidate.name == verdict.chosen:
        return Text("chosen: the fastest that keeps to the budget", style="bold green")
    if item.passed:
        slower = item.ratios and not item.is_faster
        return Text("passes; not proven faster than float" if slower else "passes", style="green")
    return Text(f"no: {item.reasons[0]}", style="red")


def status_text(candidate: Candidate, chosen: bool) -> Text:
    style = {"kept": "green", "rolled back": "red", "unproven": "yellow"}[candidate.status]
    text = f"{'chosen, ' if chosen else ''}{candidate.status}: {candidate.reason}"
    for target, result in candidate.checks.items():
        errors = [f.reason for f in result.findings if f.severity == "error"]
        if errors:
            return Text(f"does not fit {target}: {errors[0]}", style="red")
    return Text(text, style=style)


def _sqnr(candidate: Candidate) -> str:
    values = [d.sqnr_db for d in candidate.artifact.differences if d.sqnr_db is not None]
    return f"{min(values):.1f}" if values else "-"


def note_lines(notes: Iterable[str]) -> list[Text]:
    return [Text(f"note: {note}", style="yellow") for note in notes]
