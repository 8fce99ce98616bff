"""What rounding, ranges, bias correction and equalization of weights do to the example models.

    python benchmarks/rounding.py --images DIR --markdown rounding.md

Weights are replaced by what their integers stand for, and the float model runs with them: what is
seen is the error of the weights alone, the same in either format. Rows that say 'static' are
quantized for real, activations too. README.md says more.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pydantic import Field
from results import Machine, Skipped
from rich.console import Console
from rich.table import Table
from tables import machine_line

from edgewright.errors import EdgewrightError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Dataset, Sample
from edgewright.exporters.evaluate import Evaluation
from edgewright.exporters.examiner import Examiner
from edgewright.exporters.quantize import onnx
from edgewright.exporters.quantize.apply import calibrate, layers_of, operators_of, quantize
from edgewright.exporters.quantize.bias_correction import corrected_bias
from edgewright.exporters.quantize.equalize import channel_factors, equalize, find_pairs
from edgewright.exporters.quantize.layers import Layer, LayerWeights
from edgewright.exporters.quantize.recipe import Recipe, Rule, Scheme
from edgewright.exporters.quantize.weights import QuantizedWeights, quantize_weights
from edgewright.files import write_json, write_text
from edgewright.progress import ProgressPrinter
from edgewright.targets.profile import Model
from examples import Prepared, prepare

#: Each example, and whether it is depthwise-separable: correction and equalization are for those.
_EXAMPLES = {"efficientnet-lite0": True, "minilm": False, "stories15m": False}

#: Per channel, and weights in a block.
_BLOCKS: tuple[Literal[32, 64, 128] | None, ...] = (None, 128, 64, 32)

#: Inputs on which `quantize` compares what it has made.
_COMPARED = 2

_COLUMNS = ("weights", "bits", "by GPTQ", "s", "SQNR dB", "cosine", "score", "drop [95%]")


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    models: tuple[str, ...]
    images: Path | None
    samples: int
    asymmetric: bool
    json: Path | None
    markdown: Path | None


@dataclass(frozen=True)
class Case:
    """One way to quantize the weights of a model; static where the scheme's activations are."""

    scheme: Scheme
    bias_correction: bool = False
    equalization: bool = False

    @property
    def name(self) -> str:
        scheme = self.scheme
        where = f"b{scheme.block_size}" if scheme.block_size else scheme.granularity
        words = [scheme.weights, where, scheme.rounding]
        words += ["mse"] * (scheme.weight_ranges == "mse")
        words += ["corrected"] * self.bias_correction + ["equalized"] * self.equalization
        return " ".join(["static"] * scheme.is_static + words)


class Row(Model):
    """One case on one example, or the float model.

    Attributes:
        bits: for each weight, with scales of 16 bits.
        learned: (layers that GPTQ rounded, all), where it was to round them.
        seconds: to find the integers of all the layers; of the whole file where it is static.
    """

    example: str
    name: str
    bits: float | None = None
    learned: tuple[int, int] | None = None
    seconds: float | None = None
    evaluation: Evaluation


class Report(Model):
    """One run of the benchmark."""

    schema_version: Literal[1] = 1
    date: str = Field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    machine: Machine
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Quantizes, judges and prints; 2 where nothing could be judged."""
    options = _parse(arguments)
    rows: list[Row] = []
    skipped: list[Skipped] = []
    machine = Machine.here()
    with ProgressPrinter() as progress:
        for name in options.models:
            try:
                with TemporaryDirectory(prefix="edgewright-rounding-") as directory:
                    rows += _Benchmark(name, options, progress, Path(directory)).rows()
            except EdgewrightError as error:
                reason = error.message + (f" ({error.hint})" if error.hint else "")
                skipped.append(Skipped(example=name, format="onnx", reason=reason))
    report = Report(machine=machine, rows=tuple(rows), skipped=tuple(skipped))
    _show(report)
    if options.json is not None:
        write_json(options.json, report.model_dump(mode="json"))
    if options.markdown is not None:
        write_text(options.markdown, _markdown(report))
    return 0 if rows else 2


class _Benchmark:
    """One example."""

    def __init__(
        self, name: str, options: Options, progress: ProgressPrinter, directory: Path
    ) -> None:
        """Converts and calibrates.

        Raises:
            EdgewrightError: the example can't be had.
        """
        self.name, self.options, self.progress = name, options, progress
        self.directory = directory
        self._tell("converting")
        self.prepared: Prepared = prepare(name, "onnx", options.images, directory)
        self.reference = self.prepared.float_artifact
        self.layers = layers_of(self.reference)
        self.statistics = calibrate(
            self.reference,
            self._first(self.prepared.calibration),
            covariances=True,
            on_sample=lambda n, of: self._tell("calibrating", n, of),
        )

    def rows(self) -> list[Row]:
        """The float model's row, and one for each case.

        Raises:
            EdgewrightError: the model can't be judged.
        """
        data = self._first(self.prepared.evaluation)
        examiner = Examiner(self.reference, data, self.prepared.metric, None)
        found = [Row(example=self.name, name="float32", evaluation=examiner.own)]
        for case in cases(_EXAMPLES[self.name], self.options.asymmetric):
            self._tell(case.name)
            made = self._static if case.scheme.is_static else self._weights_only
            artifact, facts = made(case)
            evaluation = examiner.judge(artifact).evaluation
            found.append(Row(example=self.name, name=case.name, evaluation=evaluation, **facts))
        return found

    def _static(self, case: Case) -> tuple[Artifact, dict[str, Any]]:
        """A quantized model as `edgewright quantize` makes it."""
        recipe = Recipe(
            name=case.name.replace(" ", "-"),
            rules=(Rule(scheme=case.scheme),),
            equalization=case.equalization,
            bias_correction=case.bias_correction,
        )
        start = time.perf_counter()
        compare = self.prepared.calibration.first(_COMPARED), "calibration data"
        path = self.directory / "static.onnx"
        artifact = quantize(self.reference, recipe, self.statistics, compare, path)
        return artifact, {"seconds": time.perf_counter() - start}

    def _weights_only(self, case: Case) -> tuple[Artifact, dict[str, Any]]:
        """The float model with the weights that the integers stand for."""
        start = time.perf_counter()
        layers, factors = self.layers, {}
        if case.equalization:
            pairs = find_pairs(layers, _readers(self.reference))
            factors = channel_factors(layers, pairs, self.statistics)
            changed = equalize(layers, pairs, self.statistics)
            layers = [_with(layer, changed.get(layer.name)) for layer in layers]
        made = {layer.name: self._quantized(layer, case) for layer in layers}
        seconds = time.perf_counter() - start
        weights = {}
        for layer in layers:
            dequantized, bias = made[layer.name].dequantized(), layer.bias
            if case.bias_correction:
                means = self.statistics.means(layer.input) * factors.get(layer.input, 1.0)
                bias = corrected_bias(layer, dequantized, means)
            weights[layer.name] = LayerWeights(dequantized, bias)
        path = self.directory / "weights.onnx"
        onnx.with_weights(self.reference.path, weights, path)
        learned = sum(quantized.rounding == "gptq" for quantized in made.values())
        return replace(self.reference, path=path), {
            "bits": _bits(list(made.values())),
            "learned": (learned, len(made)) if case.scheme.rounding == "gptq" else None,
            "seconds": seconds,
        }

    def _quantized(self, layer: Layer, case: Case) -> QuantizedWeights:
        """Blocks where the layer can have them, else a scale for each channel."""
        scheme = case.scheme
        if scheme.block_size is not None and any(size > 1 for size in layer.weights.shape[2:]):
            scheme = scheme.model_copy(update={"granularity": "per-channel", "block_size": None})
        return quantize_weights(
            layer.weights, scheme, covariance=self.statistics.covariance(layer.input)
        )

    def _first(self, dataset: Dataset) -> Dataset:
        samples = _First(dataset, self.options.samples, dataset.has_labels)
        return replace(dataset, samples=samples)

    def _tell(self, what: str, done: int = 0, total: int = 0) -> None:
        self.progress.on_host(f"{self.name}: {what}", done, total)


@dataclass
class _First:
    """The first so many samples of a dataset."""

    dataset: Dataset
    count: int
    has_labels: bool

    def __len__(self) -> int:
        return min(self.count, len(self.dataset))

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.dataset.first(self.count))


def cases(depthwise: bool, asymmetric: bool) -> Iterator[Case]:
    """INT4 per channel and in blocks, then INT8; corrected and equalized where that is for."""
    for block in _BLOCKS:
        four: dict[str, Any] = {"weights": "int4", "symmetric_weights": not asymmetric}
        if block is not None:
            four |= {"granularity": "blockwise", "block_size": block}
        yield Case(_scheme(four))
        if block in (None, 32):
            yield Case(_scheme(four, rounding="stochastic"))
            yield Case(_scheme(four, weight_ranges="mse"))
        yield Case(_scheme(four, rounding="gptq"))
        yield Case(_scheme(four, rounding="gptq", weight_ranges="mse"))
        if depthwise:
            best = _scheme(four, rounding="gptq", weight_ranges="mse")
            yield Case(best, bias_correction=True)
    for granularity in ("per-tensor", "per-channel"):
        eight = {"weights": "int8", "granularity": granularity}
        yield Case(_scheme(eight))
        yield Case(_scheme(eight, weight_ranges="mse"))
        yield Case(_scheme(eight, rounding="gptq"))
        if depthwise:
            yield from _variants(_scheme(eight))[1:]
            yield from _variants(_scheme(eight, activations="uint8"))


def _scheme(base: dict[str, Any], **more: str) -> Scheme:
    return Scheme.model_validate({**base, **more})


def _variants(scheme: Scheme) -> list[Case]:
    """Plain first."""
    return [
        Case(scheme),
        Case(scheme, bias_correction=True),
        Case(scheme, equalization=True),
        Case(scheme, bias_correction=True, equalization=True),
    ]


def _readers(artifact: Artifact) -> Counter[str]:
    """How many operators read each tensor; an output of the model is read once more."""
    read = Counter(name for operator in operators_of(artifact) for name in operator.inputs)
    read.update(port.spec.name for port in artifact.outputs)
    return read


def _with(layer: Layer, changed: LayerWeights | None) -> Layer:
    if changed is None:
        return layer
    return replace(layer, weights=changed.weights, bias=changed.bias)


def _bits(made: Sequence[QuantizedWeights]) -> float:
    """For each weight, with its share of scales and zero points."""
    total = 0
    for quantized in made:
        grid = quantized.grid
        each = 16 + (0 if grid.symmetric else grid.bits)
        total += quantized.integers.size * grid.bits + quantized.scale.size * each
    return total / sum(quantized.integers.size for quantized in made)


def _cells(row: Row) -> list[str]:
    judged = row.evaluation
    drop = "" if judged.drop is None or row.bits is row.seconds is None else f"{judged.drop:+.4f}"
    if judged.interval is not None:
        drop += " [{:+.4f}, {:+.4f}]".format(*judged.interval)
    return [
        row.name,
        "" if row.bits is None else f"{row.bits:.2f}",
        "" if row.learned is None else "{} of {}".format(*row.learned),
        "" if row.seconds is None else f"{row.seconds:.1f}",
        "" if judged.sqnr_db is None else f"{judged.sqnr_db:.1f}",
        "" if judged.cosine is None else f"{judged.cosine:.4f}",
        "" if judged.score is None else f"{judged.score:.4f}",
        drop if judged.verdict != "broken" else judged.reason,
    ]


def _title(row: Row) -> str:
    return f"{row.example}: {row.evaluation.metric} on {row.evaluation.samples} samples"


def _show(report: Report) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        # Into a file or a pipe, the table keeps its width.
        console = Console(highlight=False, width=150)
    table = Table(title=machine_line(report), title_justify="left")
    for number, column in enumerate(_COLUMNS):
        table.add_column(column, justify="right" if 0 < number < len(_COLUMNS) - 1 else "left")
    for row in report.rows:
        if row.name == "float32":
            table.add_section()
            table.add_row(f"[bold]{_title(row)}")
        table.add_row(*_cells(row))
    if report.rows:
        console.print(table)
    for item in report.skipped:
        print(f"not measured: {item.example}: {item.reason}", file=sys.stderr)


def _markdown(report: Report) -> str:
    lines = [machine_line(report)]
    for row in report.rows:
        if row.name == "float32":
            lines += ["", f"### {_title(row)}", "", f"| {' | '.join(_COLUMNS)} |"]
            lines.append(f"| --- | {'---: | ' * (len(_COLUMNS) - 2)}--- |")
        lines.append(f"| {' | '.join(_cells(row))} |")
    lines += [f"\nNot measured: {s.example}: {s.reason}" for s in report.skipped]
    return "\n".join(lines) + "\n"


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        description="Compare ways to round the weights of the example models."
    )
    parser.add_argument(
        "--models", default=",".join(_EXAMPLES), help="examples, separated by commas (%(default)s)"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="ImageNet pictures for efficientnet-lite0, in DIR/calibration and DIR/evaluation",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=32,
        help="to calibrate with, and others to judge on, at most (%(default)s)",
    )
    parser.add_argument(
        "--asymmetric", action="store_true", help="INT4 weights with zero points, as ONNX can have"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables")
    told = parser.parse_args(arguments)
    models = tuple(told.models.split(","))
    for word in {*models} - {*_EXAMPLES}:
        parser.error(f"{word!r} is none of {', '.join(_EXAMPLES)}")
    if told.samples < 1:
        parser.error("--samples is above 0")
    return Options(models, told.images, told.samples, told.asymmetric, told.json, told.markdown)


if __name__ == "__main__":
    sys.exit(main())
