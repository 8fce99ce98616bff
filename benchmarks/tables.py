"""The benchmark's report for people: on the terminal and in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby

from results import Machine, Report, Row, Timing
from rich.table import Table

from edgewright.exporters.evaluate import Evaluation

_LAST = "drop [95%]"
#: Reasons why there is none are longer, and are folded.
_LAST_WIDTH = 30

_FORMATS = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}


def terminal_table(report: Report) -> Table:
    """One table with a section for each example and format."""
    table = Table(title=machine_line(report), title_justify="left", caption=_legend(report))
    for number, column in enumerate(_columns(report)):
        last = column == _LAST
        table.add_column(
            column,
            justify="left" if number == 0 or last else "right",
            no_wrap=not last,
            max_width=_LAST_WIDTH if last else None,
        )
    blank = [""] * (2 + 2 * len(report.threads))
    for title, metric, rows in _sections(report):
        table.add_section()
        table.add_row(f"[bold]{title}", *blank, "", metric)
        for row in rows:
            for cells in _lines(row, report):
                table.add_row(*cells, style="bold" if row.planned else None)
    return table


def markdown(report: Report) -> str:
    """The same as Markdown: the machine, then one table for each example and format."""
    lines = [machine_line(report), "", _legend(report), ""]
    for title, metric, rows in _sections(report):
        columns = _columns(report)
        lines += [f"### {title}: {metric}", "", _row(columns)]
        lines.append(_row(["---"] + ["---:"] * (len(columns) - 1)))
        for row in rows:
            for cells in _lines(row, report):
                name = f"**{cells[0]}**" if row.planned else cells[0]
                lines.append(_row([name, *cells[1:]]))
        lines.append("")
    lines += [f"Not measured: {s.example}, {s.format}: {s.reason}" for s in report.skipped]
    return "\n".join(lines).rstrip() + "\n"


def machine_line(report: Report) -> str:
    """What was measured on, in one line."""
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{report.date}: {machine.cpu}, {machine.architecture}, {machine.cores} cores "
        f"({_instructions(machine)}), {machine.ram_bytes / 2**30:.0f} GB, {machine.system}, load "
        f"{machine.load_1min:.1f} before; Python {machine.python}, {versions}"
    )


def _instructions(machine: Machine) -> str:
    told = ", ".join(machine.features) or "no features known"
    return f"{told}; no VNNI" if machine.saturates else told


def _legend(report: Report) -> str:
    text = (
        "Bold: what --precision auto tries on this machine. Latency: median of one inference; "
        f"x: how many times as fast as float, with the 95% interval, over rounds that alternated "
        f"({report.seconds:g} s of inferences each). Drop: paired, with the 95% interval."
    )
    if any(row.exactly for row in report.rows):
        text += (
            " Exact integers: the same file without this CPU's saturation, as x86 with VNNI and "
            "ARM compute; accuracy only, its speed there is not known from here."
        )
    if any(_is_invalid(timing) for row in report.rows for timing in row.timings):
        text += " †: the profiler holds the run to be spoilt by other work on the machine."
    return text


def _sections(report: Report) -> Iterator[tuple[str, str, list[Row]]]:
    """(title, words for the metric, rows) of each example and format."""
    for (example, model_format), rows in groupby(report.rows, lambda r: (r.example, r.format)):
        found = list(rows)
        judged = next((row.evaluation for row in found if row.evaluation), None)
        metric = f"{judged.metric} on {judged.samples} samples" if judged else ""
        yield f"{example}, {_FORMATS[model_format]}", metric, found


def _columns(report: Report) -> list[str]:
    latencies = []
    for threads in report.threads:
        where = f"{threads} thread{'s' if threads > 1 else ''}"
        latencies += [f"ms, {where}", f"x float, {where}"]
    return ["recipe", "MB", *latencies, "SQNR dB", "score", _LAST]


def _lines(row: Row, report: Report) -> Iterator[list[str]]:
    """The row itself, and one more for what exact integers give."""
    blank = [""] * (2 * len(report.threads))
    if row.failure is not None:
        yield [row.name, "", *blank, "", "", f"not made: {_brief(row.failure)}"]
        return
    size = "" if row.size_bytes is None else f"{row.size_bytes / 1e6:.2f}"
    timed = [cell for timing in row.timings for cell in _timed(timing)] or blank
    yield [row.name, size, *timed, *_judged(row.evaluation)]
    if row.exactly is not None:
        yield ["↳ exact integers", "", *blank, *_judged(row.exactly)]


def _timed(timing: Timing) -> list[str]:
    if timing.run is None:
        return ["-", timing.failure or "not measured"]
    milliseconds = f"{timing.run.latency_ms.p50:.3g}" + (" †" if _is_invalid(timing) else "")
    if timing.speedup is None:
        return [milliseconds, ""]
    interval = "" if timing.interval is None else "[{:.2f}, {:.2f}]".format(*timing.interval)
    return [milliseconds, f"{timing.speedup:.2f} {interval}".rstrip()]


def _judged(evaluation: Evaluation | str | None) -> list[str]:
    if evaluation is None:
        return ["", "", ""]
    if isinstance(evaluation, str):
        return ["", "", f"not judged: {_brief(evaluation)}"]
    if evaluation.score is None or evaluation.drop is None:
        return ["", "", evaluation.reason]
    sqnr = "" if evaluation.sqnr_db is None else f"{evaluation.sqnr_db:.1f}"
    if evaluation.verdict == "reference":
        return [sqnr, f"{evaluation.score:.4f}", ""]
    interval = ""
    if evaluation.interval is not None:
        interval = " [{:+.4f}, {:+.4f}]".format(*evaluation.interval)
    return [sqnr, f"{evaluation.score:.4f}", f"{evaluation.drop:+.4f}{interval}"]


def _brief(reason: str) -> str:
    return textwrap.shorten(reason, 120, placeholder=" …")


def _is_invalid(timing: Timing) -> bool:
    return timing.run is not None and not timing.run.validity.valid


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"
