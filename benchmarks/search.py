"""Compares the search for mixed precision with NNCF's accuracy control, at the same allowed drop.

    python benchmarks/search.py --images DIR --nncf-python nncf/bin/python

Both get the same float ONNX models, the same calibration and evaluation data, the same metric and
the same cores. NNCF runs in an interpreter of its own (`nncf_search.py`), since its pins need not
agree with ours. What each made is then judged and timed alike.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import nncf_search
import numpy as np
from pydantic import Field
from results import Machine, Skipped, Timing
from rich.console import Console
from rich.table import Table
from tables import machine_line

from edgewright.errors import EdgewrightError
from edgewright.exporters.artifact import Array, Artifact
from edgewright.exporters.data import Sample
from edgewright.exporters.evaluate import Evaluation
from edgewright.exporters.examiner import Examiner
from edgewright.exporters.float_model import describe_file
from edgewright.exporters.quantize.apply import COMPARED_SAMPLES, calibrate
from edgewright.exporters.quantize.ladder import Ground, climb
from edgewright.exporters.quantize.plan import plan, preference
from edgewright.exporters.runtime import LoadedArtifact
from edgewright.files import write_json, write_text
from edgewright.profiler.job import MeasuredModel, MeasureSettings, Sampling
from edgewright.profiler.measure import measure
from edgewright.profiler.result import FailedRun, Run
from edgewright.profiler.stats import compare_runs
from edgewright.profiler.transports import open_transport
from edgewright.progress import ProgressPrinter
from edgewright.targets.abilities import saturates_u8s8
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import load_target
from edgewright.targets.profile import Model
from examples import Prepared, prepare

#: Each example, and whether NNCF is told that it is a transformer.
_EXAMPLES = {"efficientnet-lite0": False, "minilm": True}

Name = Literal["nncf", "edgewright"]
_NAMES: tuple[Name, ...] = ("nncf", "edgewright")

#: The goal: at most this share of NNCF's time, at no larger model and no slower inference.
_GOAL = 0.2

#: Precisions of the ladder that answer the question that NNCF answers.
_INT8 = ("int8-dynamic", "int8", "mixed")

_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")

#: Two of 200 answers are one point, though 1 - 0.99 in floating point is a little more than 0.01.
_ROUNDING = 1e-9

#: Inputs that timed inferences use in turn.
_TIMED_INPUTS = 4


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    models: tuple[str, ...]
    only: tuple[Name, ...]
    images: Path | None
    nncf_python: str
    max_drop: float
    limit_s: float
    seconds: float
    json: Path | None
    markdown: Path | None


class Result(Model):
    """What a search made.

    Attributes:
        path: the model; None where there is none, and then `note` says why.
        seconds: wall time from the float model and the data to the finished model.
        cpu_seconds: of the same, all cores together: other work on the machine changes it less.
        note: how it went.
    """

    path: Path | None = Field(exclude=True)
    seconds: float
    cpu_seconds: float | None
    note: str


class Row(Model):
    """One search on one example, or the float model.

    Attributes:
        layers: (those still in float, all) of the layers with weights.
        timing: one thread, beside the float model.
        to_nncf: time of one inference / that of NNCF's model, with its 95% interval.
    """

    example: str
    name: str
    result: Result | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    layers: tuple[int, int] | None = None
    evaluation: Evaluation | None = None
    timing: Timing | None = None
    to_nncf: tuple[float, tuple[float, float] | None] | None = None


class Report(Model):
    """One run of the benchmark."""

    schema_version: Literal[1] = 1
    date: str = Field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    machine: Machine
    max_drop: float
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Searches, judges, measures and prints; 2 where nothing could be compared."""
    options = _parse(arguments)
    rows: list[Row] = []
    skipped: list[Skipped] = []
    machine = Machine.here()
    if "nncf" in options.only:
        try:
            nncf_search.require(options.nncf_python)
        except nncf_search.NncfFailed as error:
            print(f"{error}\nhint: {nncf_search.INSTALL}, then --nncf-python", file=sys.stderr)
            return 2
    with ProgressPrinter() as progress:
        for name in options.models:
            try:
                rows += _Comparison(name, options, progress).rows()
            except EdgewrightError as error:
                reason = error.message + (f" ({error.hint})" if error.hint else "")
                skipped.append(Skipped(example=name, format="onnx", reason=reason))
    report = Report(
        machine=machine, max_drop=options.max_drop, rows=tuple(rows), skipped=tuple(skipped)
    )
    _show(report)
    if options.json is not None:
        write_json(options.json, report.model_dump(mode="json"))
    if options.markdown is not None:
        write_text(options.markdown, _markdown(report))
    return 0 if rows else 2


@dataclass
class _Comparison:
    """One example."""

    name: str
    options: Options
    progress: ProgressPrinter

    def rows(self) -> list[Row]:
        """Runs the searches one after the other, then judges and times what they made.

        Raises:
            EdgewrightError: the example can't be had, or a measurement failed.
        """
        with TemporaryDirectory(prefix="edgewright-search-") as scratch:
            self._tell("converting")
            prepared = prepare(self.name, "onnx", self.options.images, Path(scratch))
            results: dict[Name, Result] = {}
            for name in self.options.only:
                self._tell(f"{name} searches")
                directory = Path(scratch) / name
                directory.mkdir()
                if name == "nncf":
                    results[name] = self._nncf(prepared, directory)
                else:
                    results[name] = _ours(prepared, directory, self.options.max_drop, self._tell)
            return self._judged(prepared, results)

    def _nncf(self, prepared: Prepared, directory: Path) -> Result:
        """NNCF's search in its own interpreter; what it fails with is one of its results."""
        reference = prepared.float_artifact
        model = LoadedArtifact(reference)
        job = {
            "model": str(reference.path),
            "metric": prepared.metric.name,
            "max_drop": self.options.max_drop,
            "transformer": _EXAMPLES[self.name],
            "saturates": saturates_u8s8(load_target("host")),
            "threads": os.cpu_count() or 1,
        }
        data = (
            [_named(reference, sample) for sample in prepared.calibration],
            [_named(reference, sample) for sample in prepared.evaluation],
            [model.run(sample.inputs)[0] for sample in prepared.evaluation],
        )
        started = time.perf_counter()
        try:
            told = nncf_search.search(
                self.options.nncf_python, directory, job, *data, self.options.limit_s
            )
        except nncf_search.NncfFailed as error:
            seconds = time.perf_counter() - started
            return Result(path=None, seconds=seconds, cpu_seconds=None, note=str(error))
        note = f"NNCF {told['version']}: {told['note']}"
        return Result(
            path=directory / "nncf.onnx",
            seconds=told["seconds"],
            cpu_seconds=told["cpu_seconds"],
            note=note,
        )

    def _judged(self, prepared: Prepared, results: dict[Name, Result]) -> list[Row]:
        """A row for the float model and one for each search."""
        reference = prepared.float_artifact
        made: dict[str, Artifact] = {"float32": reference} | {
            name: _adopted(reference, result.path)
            for name, result in results.items()
            if result.path is not None
        }
        examiner = Examiner(
            reference,
            prepared.evaluation,
            prepared.metric,
            self.options.max_drop,
            on_sample=lambda n, of: self._tell("evaluating", n, of),
            saturating=saturates_u8s8(load_target("host")),
        )
        evaluations = {
            name: examiner.own if artifact is reference else examiner.judge(artifact).evaluation
            for name, artifact in made.items()
        }
        runs = self._timed(prepared, made)
        total = _float_layers(reference.path)
        return [
            Row(
                example=self.name,
                name=name,
                result=results.get(name),
                size_bytes=artifact.size_bytes,
                sha256=artifact.sha256,
                layers=(_float_layers(artifact.path), total),
                evaluation=evaluations[name],
                timing=_timing(runs[name], runs["float32"]),
                to_nncf=_ratio(runs[name], runs.get("nncf")),
            )
            for name, artifact in made.items()
        ] + [
            Row(example=self.name, name=name, result=result)
            for name, result in results.items()
            if result.path is None
        ]

    def _timed(
        self, prepared: Prepared, made: Mapping[str, Artifact]
    ) -> dict[str, Run | FailedRun]:
        """One thread, in rounds that alternate."""
        samples = prepared.evaluation.first(_TIMED_INPUTS)
        models = [
            replace(
                MeasuredModel.of(artifact, [list(_named(artifact, s).values()) for s in samples]),
                name=name,
            )
            for name, artifact in made.items()
        ]
        sampling = Sampling(
            queries=Sampling.max_queries,
            seconds=self.options.seconds,
            both=False,
            min_rounds=12,
            min_queries=24,
        )
        transport = open_transport("local")
        try:
            settings = MeasureSettings(threads=1, sampling=sampling)
            runs = measure(transport, models, settings, self.progress.on_device)
        finally:
            transport.close()
        return dict(zip(made, runs, strict=True))

    def _tell(self, what: str, done: int = 0, total: int = 0) -> None:
        self.progress.on_host(f"{self.name}: {what}", done, total)


def _ours(
    prepared: Prepared, directory: Path, max_drop: float, tell: Callable[[str, int, int], None]
) -> Result:
    """The INT8 part of the ladder for this machine, mixed precision included.

    What needs no calibration is tried first, and like NNCF's search it ends with the first rungs
    among which one is within the drop.

    Raises:
        EdgewrightError: the model can't be calibrated or judged.
    """
    watch, host, reference = _Watch(), load_target("host"), prepared.float_artifact
    facts = inspect_model(reference.path)
    steps = [s for s in plan(host, facts, has_calibration=True) if s.precision in _INT8]
    static = [s for s in steps if s.recipe is not None and s.recipe.needs_calibration]
    examiner = _ByPoint(
        reference,
        prepared.evaluation,
        prepared.metric,
        max_drop,
        threads=os.cpu_count() or 1,
        saturating=saturates_u8s8(host),
    )
    samples = prepared.calibration.first(COMPARED_SAMPLES), prepared.calibration.description
    ground = Ground(reference, None, examiner, samples, directory, "ours", on_progress=tell)
    climbed = climb(ground, [step for step in steps if step not in static])
    if not any(rung.proven for rung in climbed.rungs):
        climbed = climb(
            replace(ground, statistics=calibrate(reference, prepared.calibration)), static
        )
    order = preference(facts)
    proven = [rung for rung in climbed.rungs if rung.proven]
    best = min(proven, key=lambda r: order.index(r.artifact.precision), default=None)
    if best is None:
        return watch.result(None, "; ".join(missed.reason for missed in climbed.missed))
    assert best.artifact.recipe is not None
    note = f": {best.note}" if best.note else ""
    return watch.result(best.artifact.path, best.artifact.recipe.name + note)


class _ByPoint(Examiner):
    """Decides on the mean drop alone, as NNCF does, so that both stop at the same one.

    Edgewright's own gate wants the whole 95% interval within the allowed drop, which 200 pictures
    can't show for one point of agreement even where no answer changes.
    """

    @property
    def samples_lacking(self) -> None:
        return None

    def interval_of(
        self, scores: list[float], methods: Sequence[str] = ()
    ) -> tuple[float, float] | None:
        drop = self.metric.drop(self.own.float_score, float(np.mean(scores)))
        return drop, drop


class _Watch:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def result(self, path: Path | None, note: str) -> Result:
        return Result(
            path=path,
            seconds=time.perf_counter() - self._wall,
            cpu_seconds=time.process_time() - self._cpu,
            note=note,
        )


def _named(artifact: Artifact, sample: Sample) -> dict[str, Array]:
    """A sample's arrays as the file takes them, under its names and in its order."""
    return {
        port.spec.name: port.to_artifact(sample.inputs[port.source_name])
        for port in artifact.inputs
    }


def _adopted(reference: Artifact, path: Path) -> Artifact:
    """A file made of `reference`, whoever made it, as an artifact that takes the same data."""
    made = describe_file(path)
    inputs, outputs = (
        tuple(replace(old, spec=new.spec) for old, new in zip(before, after, strict=True))
        for before, after in ((reference.inputs, made.inputs), (reference.outputs, made.outputs))
    )
    return replace(made, inputs=inputs, outputs=outputs, made_from=reference.sha256)


def _float_layers(path: Path) -> int:
    """Convolutions and matrix products whose weights are float constants."""
    import onnx

    graph = onnx.load(str(path)).graph
    constants = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    return sum(n.op_type in _WITH_WEIGHTS and n.input[1] in constants for n in graph.node)


def _timing(run: Run | FailedRun, reference: Run | FailedRun) -> Timing:
    if isinstance(run, FailedRun):
        return Timing(threads=1, failure=run.message)
    ratio = _ratio(run, reference)
    if ratio is None or run is reference:
        return Timing(threads=1, run=run)
    slower, interval = ratio
    faster = None if interval is None else (1 / interval[1], 1 / interval[0])
    return Timing(threads=1, run=run, speedup=1 / slower, interval=faster)


def _ratio(
    run: Run | FailedRun, reference: Run | FailedRun | None
) -> tuple[float, tuple[float, float] | None] | None:
    if isinstance(run, FailedRun) or not isinstance(reference, Run):
        return None
    compared = compare_runs(reference, run)
    return compared.ratio, compared.interval


_COLUMNS = (
    "model", "search s", "CPU s", "float layers", "MB", "score", "drop [95%]", "ms", "x float",
)  # fmt: skip


def _cells(row: Row, max_drop: float) -> list[str]:
    """One line of the table."""
    result, timing, found = row.result, row.timing, row.evaluation
    cells = [row.name]
    cells.append("" if result is None else f"{result.seconds:.0f}")
    cells.append(
        "" if result is None or result.cpu_seconds is None else f"{result.cpu_seconds:.0f}"
    )
    cells.append("" if row.layers is None else "{} of {}".format(*row.layers))
    cells.append("" if row.size_bytes is None else f"{row.size_bytes / 1e6:.2f}")
    if found is None or found.score is None or found.drop is None:
        cells += ["", "no model" if found is None else found.reason]
    elif found.verdict == "reference":
        cells += [f"{found.score:.4f}", ""]
    else:
        low_high = "" if found.interval is None else " [{:+.4f}, {:+.4f}]".format(*found.interval)
        missed = " missed" if found.drop > max_drop else ""
        cells += [f"{found.score:.4f}", f"{found.drop:+.4f}{low_high}{missed}"]
    if timing is None or timing.run is None:
        return [*cells, "", "" if timing is None else timing.failure or ""]
    interval = "" if timing.interval is None else " [{:.2f}, {:.2f}]".format(*timing.interval)
    faster = "" if timing.speedup is None else f"{timing.speedup:.2f}{interval}"
    return [*cells, f"{timing.run.latency_ms.p50:.3g}", faster]


def _notes(report: Report) -> list[str]:
    """How each search went, and whether the goal was reached."""
    notes = []
    for example in dict.fromkeys(row.example for row in report.rows):
        rows = {row.name: row for row in report.rows if row.example == example}
        notes += [f"{example}, {n}: {r.result.note}" for n, r in rows.items() if r.result]
        ours, nncf = rows.get("edgewright"), rows.get("nncf")
        if ours and nncf and ours.result and nncf.result:
            notes.append(f"{example}: {_verdict(ours, nncf, ours.result, nncf.result)}")
    return notes + [f"Not compared: {s.example}: {s.reason}" for s in report.skipped]


def _verdict(ours: Row, nncf: Row, our_result: Result, its_result: Result) -> str:
    share = our_result.seconds / its_result.seconds
    told = f"{share:.2f} of NNCF's time (goal {_GOAL:g})"
    if ours.size_bytes is None or nncf.size_bytes is None or ours.to_nncf is None:
        return f"{told}; no models to compare"
    ratio, interval = ours.to_nncf
    within = "" if interval is None else " [{:.2f}, {:.2f}]".format(*interval)
    size = ours.size_bytes / nncf.size_bytes
    slower = ratio > 1 if interval is None else interval[0] > 1
    reached = share <= _GOAL and size <= 1 and not slower
    words = "reached" if reached else "missed"
    return f"{told}, {size:.2f} of its size, {ratio:.2f}{within} of its latency: goal {words}"


def _title(report: Report) -> str:
    return f"{machine_line(report)}. Allowed drop {report.max_drop:g}, as a mean."


def _show(report: Report) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        # Into a file or a pipe, the table keeps its width.
        console = Console(highlight=False, width=150)
    table = Table(title=_title(report), title_justify="left")
    for number, column in enumerate(_COLUMNS):
        table.add_column(column, justify="right" if number else "left")
    for example in dict.fromkeys(row.example for row in report.rows):
        table.add_section()
        table.add_row(f"[bold]{example}")
        for row in report.rows:
            if row.example == example:
                table.add_row(*_cells(row, report.max_drop))
    if report.rows:
        console.print(table)
    for note in _notes(report):
        console.print(note, markup=False)


def _markdown(report: Report) -> str:
    lines = [_title(report), ""]
    for example in dict.fromkeys(row.example for row in report.rows):
        lines += [f"### {example}", "", f"| {' | '.join(_COLUMNS)} |"]
        lines.append(f"| {' | '.join(['---'] + ['---:'] * (len(_COLUMNS) - 1))} |")
        rows = (row for row in report.rows if row.example == example)
        lines += [f"| {' | '.join(_cells(row, report.max_drop))} |" for row in rows]
        lines.append("")
    return "\n".join([*lines, *(f"- {note}" for note in _notes(report))]) + "\n"


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        description="Compare the search for mixed precision with NNCF's accuracy control."
    )
    parser.add_argument(
        "--models", default=",".join(_EXAMPLES), help="examples, by commas (%(default)s)"
    )
    parser.add_argument("--only", choices=_NAMES, help="run one of the searches")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="ImageNet pictures for efficientnet-lite0, in DIR/calibration and DIR/evaluation",
    )
    parser.add_argument(
        "--nncf-python",
        default=sys.executable,
        metavar="PATH",
        help="a Python with nncf, onnx and onnxruntime (this one); its pins may not agree with "
        f"Edgewright's: {nncf_search.INSTALL}",
    )
    parser.add_argument("--max-drop", type=float, default=0.01, help="default: %(default)s")
    parser.add_argument(
        "--limit",
        type=float,
        default=3600.0,
        metavar="S",
        help="when NNCF is stopped (%(default)s)",
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of inferences for each model (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything, with every sample")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables")
    told = parser.parse_args(arguments)
    models = tuple(told.models.split(","))
    for word in {*models} - {*_EXAMPLES}:
        parser.error(f"{word!r} is none of {', '.join(_EXAMPLES)}")
    if min(told.max_drop, told.limit, told.seconds) <= 0:
        parser.error("--max-drop, --limit and --seconds are above 0")
    return Options(
        models, (told.only,) if told.only else _NAMES, told.images, told.nncf_python,
        told.max_drop + _ROUNDING, told.limit, told.seconds, told.json, told.markdown,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
