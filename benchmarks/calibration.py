"""Compares calibration with that of ONNX Runtime's `quantize_static`: time, memory and accuracy.

    python benchmarks/calibration.py --images DIR --json calibration.json --markdown calibration.md
    python benchmarks/calibration.py --images DIR --memory

Each calibration of EfficientNet-Lite0 runs in a process of its own (`calibration_child.py`), ours
and theirs in turn, with the same pictures and the same cores. What each made, INT8 with unsigned
activations and signed weights per channel, is then judged on the same pictures.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from calibration_child import Done, Job
from pydantic import Field
from results import Machine
from rich.console import Console
from rich.table import Table
from tables import machine_line

from edgewright.errors import EdgewrightError, UsageError
from edgewright.exporters.evaluate import Evaluation
from edgewright.exporters.examiner import Examiner
from edgewright.exporters.float_model import describe_file
from edgewright.exporters.images import ImageFolder, ImagePreprocessing
from edgewright.files import read_json, write_json, write_text
from edgewright.progress import ProgressPrinter
from edgewright.targets.profile import Model
from examples import Prepared, prepare

#: Pictures that are calibrated with are drawn in this order; the last ones are judged with.
_SEED = 0
_CHILD = Path(__file__).with_name("calibration_child.py")

#: What is held against what: (tool, method, whether ONNX Runtime's stride option is set).
_VARIANTS: tuple[tuple[Literal["edgewright", "onnxruntime"], str, bool], ...] = (
    ("edgewright", "percentile", False),
    ("onnxruntime", "percentile", True),
    ("edgewright", "mse", False),
    ("onnxruntime", "entropy", True),
    ("edgewright", "entropy", False),
    ("onnxruntime", "percentile", False),
    ("onnxruntime", "entropy", False),
)

#: Pictures of the memory test, the most memory that the last may take, and the most growth.
_MEMORY_SAMPLES = (10, 100, 1000)
_MEMORY_BYTES = 1_500_000_000
_MEMORY_GROWTH = 1.2


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    images: Path
    counts: tuple[int, ...]
    evaluation: int
    memory: bool
    limit_bytes: int
    json: Path | None
    markdown: Path | None


class Row(Model):
    """One calibration.

    Attributes:
        samples: pictures that were calibrated with.
        stride: of ONNX Runtime's `CalibStridedMinMax`, which has to divide them.
        done: what it took.
        unseen: how many of the evaluation's pictures were not calibrated with.
        evaluation: of the INT8 model, beside the float model.
    """

    tool: str
    method: str
    samples: int
    stride: int | None = None
    done: Done
    unseen: int | None = None
    evaluation: Evaluation | None = None


class Report(Model):
    """One run of the benchmark."""

    schema_version: Literal[1] = 1
    date: str = Field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    machine: Machine
    pictures: int
    limit_bytes: int
    rows: tuple[Row, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrates, judges, prints and writes; 1 where memory grew, 2 where nothing could be run."""
    options = _parse(arguments)
    machine = Machine.here()
    try:
        with (
            ProgressPrinter() as progress,
            TemporaryDirectory(prefix="edgewright-calibration-") as scratch,
        ):
            benchmark = _Benchmark(options, Path(scratch), progress)
            rows = benchmark.memory() if options.memory else benchmark.rows()
    except EdgewrightError as error:
        print(error.message + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        return 2
    report = Report(
        machine=machine,
        pictures=benchmark.pictures,
        limit_bytes=options.limit_bytes,
        rows=tuple(rows),
    )
    _show(report)
    if options.json is not None:
        write_json(options.json, report.model_dump(mode="json"))
    if options.markdown is not None:
        write_text(options.markdown, _markdown(report))
    if options.memory:
        verdict, passed = _memory_verdict(rows)
        print(verdict)
        return 0 if passed else 1
    return 0


class _Benchmark:
    """The pictures, the float model, and the processes."""

    def __init__(self, options: Options, scratch: Path, progress: ProgressPrinter) -> None:
        """Converts the model and lays the pictures out.

        Raises:
            EdgewrightError: there are too few pictures, or the model's packages are missing.
        """
        self._options, self._scratch, self._progress = options, scratch, progress
        paths = ImageFolder(options.images, ImagePreprocessing()).paths
        random.Random(_SEED).shuffle(paths)
        self.pictures = len(paths)
        needed = max((*options.counts, options.evaluation))
        if len(paths) < needed:
            raise UsageError(
                f"{options.images} holds {len(paths)} pictures, {needed} are asked for"
            )
        self._ordered = _linked(scratch / "calibration", paths)
        _linked(scratch / "evaluation", paths[-options.evaluation :])
        self._tell("converting")
        self._prepared: Prepared = prepare("efficientnet-lite0", "onnx", scratch, scratch)

    def rows(self) -> list[Row]:
        """Every variant on every number of pictures; then all of them judged."""
        reference = self._prepared.float_artifact
        rows: list[Row] = []
        made: list[Path | None] = []
        for count in self._options.counts:
            stride = max(n for n in range(1, 11) if count % n == 0)
            for tool, method, strided in _VARIANTS:
                destination = self._scratch / f"{len(rows)}.onnx"
                row = self._row(tool, method, count, stride if strided else None, destination)
                rows.append(row)
                made.append(destination if destination.exists() else None)
        examiner = Examiner(
            reference,
            self._prepared.evaluation,
            self._prepared.metric,
            None,
            on_sample=lambda done, total: self._tell("evaluating", done, total),
        )
        judged = []
        for row, path in zip(rows, made, strict=True):
            # Evaluation pictures are the last of the order, calibration takes the first.
            unseen = min(self._options.evaluation, self.pictures - row.samples)
            evaluation = examiner.judge(describe_file(path)).evaluation if path else None
            judged.append(row.model_copy(update={"unseen": unseen, "evaluation": evaluation}))
        return judged

    def memory(self) -> list[Row]:
        """Ours on more and more pictures; they begin anew where there are not so many."""
        return [self._row("edgewright", "percentile", n, None, None) for n in _MEMORY_SAMPLES]

    def _row(
        self,
        tool: Literal["edgewright", "onnxruntime"],
        method: str,
        samples: int,
        stride: int | None,
        destination: Path | None,
    ) -> Row:
        self._tell(f"{tool}, {method}, {samples} pictures" + (f", stride {stride}" * bool(stride)))
        job = Job.model_validate(
            {
                "tool": tool,
                "method": method,
                "stride": stride,
                "model": self._prepared.float_artifact.path,
                "pictures": self._ordered,
                "samples": samples,
                "destination": destination,
                "limit_bytes": self._options.limit_bytes,
            }
        )
        return Row(tool=tool, method=method, samples=samples, stride=stride, done=self._done(job))

    def _done(self, job: Job) -> Done:
        job_file, done_file = self._scratch / "job.json", self._scratch / "done.json"
        write_json(job_file, job.model_dump(mode="json"))
        done_file.unlink(missing_ok=True)
        finished = subprocess.run(
            [sys.executable, str(_CHILD), str(job_file), str(done_file)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done_file.exists():
            return Done.model_validate(read_json(done_file, "result"))
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        return Done(failure=f"ended with {finished.returncode}: {last}")

    def _tell(self, what: str, done: int = 0, total: int = 0) -> None:
        self._progress.on_host(f"calibration: {what}", done, total)


def _linked(folder: Path, paths: Sequence[Path]) -> Path:
    """A folder of links to pictures that sort in the order given."""
    folder.mkdir()
    for place, path in enumerate(paths):
        (folder / f"{place:05d}{path.suffix}").symlink_to(path.resolve())
    return folder


def _memory_verdict(rows: Sequence[Row]) -> tuple[str, bool]:
    peaks = [row.done.peak_rss_bytes for row in rows]
    if any(peak is None for peak in peaks):
        return "memory: not measured", False
    first, last = peaks[0] or 0, peaks[-1] or 0
    passed = last <= _MEMORY_BYTES and last <= first * _MEMORY_GROWTH
    return (
        f"memory: {last / 1e6:.0f} MB with {rows[-1].samples} pictures, {last / first:.2f} of that "
        f"with {rows[0].samples}: {'within' if passed else 'BEYOND'} {_MEMORY_BYTES / 1e6:.0f} MB "
        f"and {_MEMORY_GROWTH:g}"
    ), passed


_COLUMNS = (
    "tool", "method", "pictures", "calibration s", "x entropy", "CPU s", "total s", "peak MB",
    "SQNR dB", "agreement", "drop [95%]",
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
            if (other.tool, other.method, other.samples) == ("onnxruntime", "entropy", row.samples)
            and other.stride
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
    if judged is None or judged.score is None or judged.drop is None:
        return [*named, *measured, "", "", judged.reason if judged else ""]
    interval = "" if judged.interval is None else " [{:+.3f}, {:+.3f}]".format(*judged.interval)
    sqnr = "" if judged.sqnr_db is None else f"{judged.sqnr_db:.2f}"
    return [*named, *measured, sqnr, f"{judged.score:.3f}", f"{judged.drop:+.3f}{interval}"]


def _legend(report: Report) -> str:
    text = (
        "Calibration: from the first picture to the ranges, reading pictures and running the model "
        "included; x entropy: how many times as fast as ONNX Runtime's entropy calibration with "
        "its stride option on as many pictures; total: with building the INT8 model; peak: of the "
        f"process, which may have {report.limit_bytes / 1e9:.1f} GB."
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


def _show(report: Report) -> None:
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


def _markdown(report: Report) -> str:
    lines = [machine_line(report), "", _legend(report), ""]
    lines.append(f"| {' | '.join(_COLUMNS)} |")
    lines.append(f"| {' | '.join(['---', '---', *['---:'] * (len(_COLUMNS) - 2)])} |")
    lines += [f"| {' | '.join(_cells(row, report))} |" for row in report.rows]
    return "\n".join(lines) + "\n"


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        description="Compare calibration with ONNX Runtime's: time, memory and accuracy."
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", required=True, help="ImageNet pictures, 300 or more"
    )
    parser.add_argument(
        "--counts", default="32,100,300", help="pictures to calibrate with (%(default)s)"
    )
    parser.add_argument(
        "--evaluation", type=int, default=200, help="pictures to judge with (%(default)s)"
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        help=f"ours alone on {', '.join(map(str, _MEMORY_SAMPLES))} pictures: does memory grow?",
    )
    parser.add_argument(
        "--limit",
        type=float,
        metavar="GB",
        help="of each process's address space (80%% of the memory that is free)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table")
    told = parser.parse_args(arguments)
    try:
        counts = tuple(int(word) for word in told.counts.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1 or told.evaluation < 1:
        parser.error("--counts are whole numbers separated by commas, --evaluation is above 0")
    limit = int(told.limit * 1e9) if told.limit else int(0.8 * _available_bytes())
    return Options(
        told.images, counts, told.evaluation, told.memory, limit, told.json, told.markdown
    )


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell how much memory is free")


if __name__ == "__main__":
    sys.exit(main())
