"""What `calibration.py` found: its JSON and its table."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import Literal

from calibration_child import Done
from pydantic import Field
from results import Machine
from rich.console import Console
from rich.table import Table
from tables import machine_line

from edgewright.exporters.evaluate import Evaluation
from edgewright.targets.profile import Model


class Row(Model):
    """One calibration.

    Attributes:
        samples: pictures that were calibrated with.
        stride: of ONNX Runtime's `CalibStridedMinMax`, which has to divide them.
        done: what it took.
        unseen: how many of the evaluation's pictures were not calibrated with.
        evaluation: of the INT8 model, beside the float model.
        gain: agreement beyond that of the model by ONNX Runtime's entropy calibration with its
            stride option on as many pictures, and its paired 95% interval.
    """

    tool: str
    method: str
    samples: int
    stride: int | None = None
    done: Done
    unseen: int | None = None
    evaluation: Evaluation | None = None
    gain: tuple[float, tuple[float, float]] | None = None

    @property
    def is_their_entropy(self) -> bool:
        """Whether the others are held against this one."""
        return (self.tool, self.method) == ("onnxruntime", "entropy") and self.stride is not None


class Report(Model):
    """One run of the benchmark."""

    schema_version: Literal[1] = 1
    date: str = Field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    machine: Machine
    pictures: int
    limit_bytes: int
    rows: tuple[Row, ...]


_COLUMNS = (
    "tool", "method", "pictures", "calibration s", "x entropy", "CPU s", "total s", "peak MB",
    "SQNR dB", "agreement", "gain [95%]",
)  # fmt: skip


def _cells(row: Row, report: Report) -> list[str]:
    method = row.method + (f", stride {row.stride}" if row.stride else "")
    named = [row.tool, method, str(row.samples)]
    done = row.done
    if done.failure is not None:
        return [*named, *[""] * 7, textwrap.shorten(done.failure, 120, placeholder=" …")]
    assert done.calibration_s and done.calibration_cpu_s and done.total_s and done.peak_rss_bytes
    entropy = next(
        (
            other.done.calibration_s
            for other in report.rows
            if other.is_their_entropy and other.samples == row.samples
        ),
        None,
    )
    measured = [
        f"{done.calibration_s:.1f}",
        f"{entropy / done.calibration_s:.2f}" if entropy else "",
        f"{done.calibration_cpu_s:.1f}",
        f"{done.total_s:.1f}",
        f"{done.peak_rss_bytes / 1e6:.0f}",
    ]
    judged = row.evaluation
    if judged is None or judged.score is None:
        return [*named, *measured, "", "", judged.reason if judged else ""]
    sqnr = "" if judged.sqnr_db is None else f"{judged.sqnr_db:.2f}"
    gain = ""
    if row.gain is not None and not row.is_their_entropy:
        gain = "{:+.3f} [{:+.3f}, {:+.3f}]".format(row.gain[0], *row.gain[1])
    return [*named, *measured, sqnr, f"{judged.score:.3f}", gain]


def _legend(report: Report) -> str:
    text = (
        "Calibration: from the first picture to the ranges, reading pictures and running the model "
        "included; x entropy: how many times as fast as ONNX Runtime's entropy calibration with "
        "its stride option on as many pictures; total: with building the INT8 model; peak: of the "
        f"process, which may have {report.limit_bytes / 1e9:.1f} GB; gain: in agreement, beside "
        "the same entropy calibration."
    )
    judged = [row for row in report.rows if row.evaluation is not None]
    if judged:
        seen = {row.samples: (row.unseen, row.evaluation) for row in judged}
        text += " Agreement with float on " + "; ".join(
            f"{evaluation.samples} pictures, {unseen} of them not among the {samples} of the "
            "calibration"
            for samples, (unseen, evaluation) in seen.items()
            if evaluation is not None
        )
        text += "."
    return text


def show(report: Report) -> None:
    """Prints the table."""
    console = Console(highlight=False)
    if not console.is_terminal:
        # Into a file or a pipe, the table keeps its width.
        console = Console(highlight=False, width=170)
    table = Table(title=machine_line(report), title_justify="left", caption=_legend(report))
    for number, column in enumerate(_COLUMNS):
        last = column == _COLUMNS[-1]
        table.add_column(
            column,
            justify="left" if number < 2 or last else "right",
            no_wrap=not last,
            max_width=30 if last else None,
        )
    for row in report.rows:
        table.add_row(*_cells(row, report), style="bold" if row.tool == "edgewright" else None)
    console.print(table)


def markdown(report: Report) -> str:
    """The same as Markdown."""
    lines = [machine_line(report), "", _legend(report), ""]
    lines.append(f"| {' | '.join(_COLUMNS)} |")
    lines.append(f"| {' | '.join(['---', '---', *['---:'] * (len(_COLUMNS) - 2)])} |")
    lines += [f"| {' | '.join(_cells(row, report))} |" for row in report.rows]
    return "\n".join(lines) + "\n"
