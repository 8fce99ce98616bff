"""Measures what each precision costs and gives on this machine: speed, size and accuracy.

    python benchmarks/precision.py --images DIR --json precision.json --markdown precision.md

Every example model is converted to each format and quantized with the recipes that Edgewright plans
for this machine, with those it decides against, and with the defaults of the runtimes' own tools.
They are judged against the float model on the same data, and measured by `edgewright.profiler` in
processes of their own, in rounds that alternate. README.md says more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from recipes import DEFAULT_NAMES, computed_inexactly, made_by_default, recipes
from results import Machine, Report, Row, Skipped, Timing
from rich.console import Console
from tables import markdown, terminal_table

from edgewright.errors import EdgewrightError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.evaluate import Evaluation
from edgewright.exporters.examiner import Examiner
from edgewright.exporters.quantize.apply import COMPARED_SAMPLES, calibrate, quantize
from edgewright.exporters.quantize.plan import plan
from edgewright.exporters.runtime import first_line
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
from edgewright.targets.profile import Format, TargetProfile
from examples import METRICS, Prepared, formats_of, prepare

_FORMATS: tuple[Format, ...] = ("onnx", "tflite")

#: Inputs that timed inferences use in turn.
_TIMED_INPUTS = 4


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    models: tuple[str, ...]
    formats: tuple[Format, ...]
    threads: tuple[int, ...]
    seconds: float
    images: Path | None
    json: Path | None
    markdown: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the files; 2 where nothing could be measured."""
    options = _parse(arguments)
    machine = Machine.here()
    rows: list[Row] = []
    skipped: list[Skipped] = []
    with ProgressPrinter() as progress:
        for name in options.models:
            for model_format in options.formats:
                try:
                    rows += _Benchmark(name, model_format, options, progress).rows()
                except EdgewrightError as error:
                    reason = error.message + (f" ({error.hint})" if error.hint else "")
                    skipped.append(Skipped(example=name, format=model_format, reason=reason))
    report = Report(
        machine=machine,
        seconds=options.seconds,
        threads=options.threads,
        rows=tuple(rows),
        skipped=tuple(skipped),
    )
    _show(report)
    if options.json is not None:
        write_json(options.json, report.model_dump(mode="json"))
    if options.markdown is not None:
        write_text(options.markdown, markdown(report))
    return 0 if rows else 2


@dataclass
class _Benchmark:
    """One example in one format."""

    name: str
    model_format: Format
    options: Options
    progress: ProgressPrinter

    def rows(self) -> list[Row]:
        """Converts, quantizes, judges and measures.

        Raises:
            EdgewrightError: the example can't be had in this format, or the measurement failed.
        """
        if self.model_format not in formats_of(self.name):
            return []
        host = load_target("host")
        with TemporaryDirectory(prefix="edgewright-benchmark-") as directory:
            self._tell("converting")
            prepared = prepare(self.name, self.model_format, self.options.images, Path(directory))
            artifacts, failures = self._quantized(prepared, host, Path(directory))
            judged = self._judged(prepared, artifacts, saturating=saturates_u8s8(host))
            exactly = {
                a.name: self._judged_exactly(prepared, a)
                for a in artifacts
                if computed_inexactly(host, a)
            }
            timings = self._timed(prepared, artifacts)
            facts = inspect_model(prepared.float_artifact.path)
        planned = plan(host, facts, has_calibration=True)
        tried = {"float32", *(p.recipe.name for p in planned if p.recipe and p.step == "apply")}
        return [
            Row(
                example=self.name,
                format=self.model_format,
                name=_short(artifact),
                planned=_short(artifact) in tried,
                recipe=artifact.recipe,
                size_bytes=artifact.size_bytes,
                sha256=artifact.sha256,
                evaluation=judged[artifact.name],
                exactly=exactly.get(artifact.name),
                timings=timings[artifact.name],
            )
            for artifact in artifacts
        ] + [
            Row(
                example=self.name,
                format=self.model_format,
                name=name,
                planned=name in tried,
                failure=reason,
            )
            for name, reason in failures.items()
        ]

    def _quantized(
        self, prepared: Prepared, host: TargetProfile, directory: Path
    ) -> tuple[list[Artifact], dict[str, str]]:
        """The float artifact and all that could be made of it, and why the others could not."""
        reference = prepared.float_artifact
        artifacts, failures = [reference], {}
        self._tell("calibrating")
        statistics = calibrate(reference, prepared.calibration, covariances=True)
        compare = prepared.calibration.first(COMPARED_SAMPLES), prepared.calibration.description
        for recipe in recipes(host, inspect_model(reference.path)):
            self._tell(recipe.name)
            destination = directory / f"{recipe.name}.{self.model_format}"
            needed = statistics if recipe.needs_calibration else None
            try:
                artifacts.append(quantize(reference, recipe, needed, compare, destination))
            except EdgewrightError as error:
                failures[recipe.name] = error.message
        name = DEFAULT_NAMES[self.model_format]
        self._tell(name)
        try:
            artifacts.append(made_by_default(prepared, directory / f"{name}.{self.model_format}"))
        except Exception as error:
            # Another tool's failure, whatever it raises, is one of its results.
            failures[name] = first_line(error)
        return artifacts, failures

    def _judged(
        self, prepared: Prepared, artifacts: Sequence[Artifact], *, saturating: bool
    ) -> dict[str, Evaluation]:
        """The evaluation of each artifact by its name."""
        reference = prepared.float_artifact
        examiner = Examiner(
            reference,
            prepared.evaluation,
            prepared.metric,
            None,
            on_sample=lambda n, of: self._tell("evaluating", n, of),
            saturating=saturating,
        )
        return {
            a.name: examiner.own if a is reference else examiner.judge(a).evaluation
            for a in artifacts
        }

    def _judged_exactly(self, prepared: Prepared, artifact: Artifact) -> Evaluation | str:
        """The evaluation without saturation, or why there is none."""
        try:
            return self._judged(prepared, [artifact], saturating=False)[artifact.name]
        except EdgewrightError as error:
            return error.message

    def _timed(
        self, prepared: Prepared, artifacts: Sequence[Artifact]
    ) -> dict[str, tuple[Timing, ...]]:
        """The timings of each artifact by its name, one for each number of threads."""
        samples = prepared.evaluation.first(_TIMED_INPUTS)
        models = []
        for artifact in artifacts:
            inputs = [
                [port.to_artifact(sample.inputs[port.source_name]) for port in artifact.inputs]
                for sample in samples
            ]
            models.append(MeasuredModel.of(artifact, inputs))
        timings: dict[str, tuple[Timing, ...]] = {artifact.name: () for artifact in artifacts}
        transport = open_transport("local")
        try:
            for threads in self.options.threads:
                settings = MeasureSettings(threads=threads, sampling=_sampling(self.options))
                results = measure(transport, models, settings, self.progress.on_device)
                for artifact, result in zip(artifacts, results, strict=True):
                    timings[artifact.name] += (_timing(threads, result, results[0]),)
        finally:
            transport.close()
        return timings

    def _tell(self, what: str, done: int = 0, total: int = 0) -> None:
        self.progress.on_host(f"{self.name}, {self.model_format}: {what}", done, total)


def _sampling(options: Options) -> Sampling:
    return Sampling(
        queries=Sampling.max_queries,
        seconds=options.seconds,
        both=False,
        min_rounds=12,
        min_queries=24,
    )


def _timing(threads: int, result: Run | FailedRun, reference: Run | FailedRun) -> Timing:
    if isinstance(result, FailedRun):
        return Timing(threads=threads, failure=result.message)
    if isinstance(reference, FailedRun) or result is reference:
        return Timing(threads=threads, run=result)
    ratio = compare_runs(reference, result)
    low_high = None if ratio.interval is None else (1 / ratio.interval[1], 1 / ratio.interval[0])
    return Timing(threads=threads, run=result, speedup=ratio.speedup, interval=low_high)


def _short(artifact: Artifact) -> str:
    return artifact.recipe.name if artifact.recipe else artifact.precision


def _show(report: Report) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        # Into a file or a pipe, the table keeps its width.
        console = Console(highlight=False, width=170)
    if report.rows:
        console.print(terminal_table(report))
    for item in report.skipped:
        print(f"not measured: {item.example}, {item.format}: {item.reason}", file=sys.stderr)


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        description="Measure what each precision costs and gives on this machine."
    )
    parser.add_argument(
        "--models", default=",".join(METRICS), help="examples, separated by commas (%(default)s)"
    )
    parser.add_argument("--formats", default=",".join(_FORMATS), help="default: %(default)s")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="ImageNet pictures for efficientnet-lite0, in DIR/calibration and DIR/evaluation",
    )
    parser.add_argument("--threads", default="1,2", help="default: %(default)s")
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="of inferences, for each artifact and number of threads (%(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything, with every sample")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table")
    told = parser.parse_args(arguments)
    models = tuple(told.models.split(","))
    formats = tuple(told.formats.split(","))
    for word in {*models} - {*METRICS} | {*formats} - {*_FORMATS}:
        parser.error(f"{word!r} is none of {', '.join((*METRICS, *_FORMATS))}")
    try:
        threads = tuple(int(word) for word in told.threads.split(","))
    except ValueError:
        threads = ()
    if not threads or min(threads) < 1 or told.seconds <= 0:
        parser.error("--threads are whole numbers separated by commas, --seconds is above 0")
    return Options(models, formats, threads, told.seconds, told.images, told.json, told.markdown)


if __name__ == "__main__":
    sys.exit(main())
