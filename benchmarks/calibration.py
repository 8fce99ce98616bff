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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import numpy.typing as npt
from calibration_child import Done, Job
from calibration_report import Report, Row, markdown, show
from results import Machine

from edgewright.errors import EdgewrightError, UsageError
from edgewright.exporters.examiner import Examiner, Judgement
from edgewright.exporters.float_model import describe_file
from edgewright.exporters.images import ImageFolder, ImagePreprocessing
from edgewright.exporters.paired import binary_interval
from edgewright.files import read_json, write_json, write_text
from edgewright.progress import ProgressPrinter
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
    show(report)
    if options.json is not None:
        write_json(options.json, report.model_dump(mode="json"))
    if options.markdown is not None:
        write_text(options.markdown, markdown(report))
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
        judgements = [examiner.judge(describe_file(path)) if path else None for path in made]
        theirs = {
            row.samples: judgement.drops
            for row, judgement in zip(rows, judgements, strict=True)
            if row.is_their_entropy and judgement is not None
        }
        return [
            row.model_copy(
                update={
                    # Those judged with are the last of the order, those calibrated with the first.
                    "unseen": min(self._options.evaluation, self.pictures - row.samples),
                    "evaluation": judgement.evaluation if judgement else None,
                    "gain": _gain(judgement, theirs.get(row.samples)),
                }
            )
            for row, judgement in zip(rows, judgements, strict=True)
        ]

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


def _gain(
    judgement: Judgement | None, theirs: npt.NDArray[np.float64] | None
) -> tuple[float, tuple[float, float]] | None:
    """How much more often a model agrees with float than theirs, from what each drops."""
    if judgement is None or theirs is None:
        return None
    ours = judgement.drops
    return float(np.mean(theirs - ours)), binary_interval(list(1 - ours), list(1 - theirs))


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
