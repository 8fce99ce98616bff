"""One calibration in a process of its own, for `calibration.py`, which starts it.

python benchmarks/calibration_child.py JOB.json DONE.json
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Dataset, Sample
from edgewright.exporters.float_model import describe_file
from edgewright.exporters.quantize import onnx
from edgewright.exporters.quantize.apply import calibrate, native
from edgewright.exporters.quantize.grid import Grid
from edgewright.exporters.quantize.recipe import RangeMethod, RangeName, Recipe, Rule, Scheme
from edgewright.exporters.runtime import first_line
from edgewright.files import read_json, write_json
from edgewright.project import read_project
from edgewright.targets.profile import Model

_PROJECT = Path(__file__).resolve().parent.parent / "examples/efficientnet-lite0/edgewright.toml"


class Job(Model):
    """What one process does.

    Attributes:
        samples: how many are run; the pictures begin anew where there are fewer.
        stride: of `CalibStridedMinMax`, for ONNX Runtime.
        destination: where the INT8 model goes; None calibrates and finds ranges only.
        limit_bytes: of the process's address space.
    """

    tool: Literal["edgewright", "onnxruntime"]
    method: RangeName
    stride: int | None = None
    model: Path
    pictures: Path
    samples: int
    destination: Path | None
    limit_bytes: int


class Done(Model):
    """What it took.

    Attributes:
        calibration_s: from the first picture to the ranges; of which `calibration_cpu_s` on all
            cores together, which other work on the machine changes less.
        total_s: from the float model's file to that of the INT8 model.
        peak_rss_bytes: of the process, imports and all (VmHWM).
        failure: why there is nothing else.
    """

    calibration_s: float | None = None
    calibration_cpu_s: float | None = None
    total_s: float | None = None
    peak_rss_bytes: int | None = None
    failure: str | None = None


def main(job_file: Path, done_file: Path) -> None:
    """Does what the job says, and says what it took."""
    job = Job.model_validate(read_json(job_file, "job"))
    resource.setrlimit(resource.RLIMIT_AS, (job.limit_bytes, job.limit_bytes))
    logging.disable(logging.WARNING)
    artifact = describe_file(job.model)
    try:
        done = _TOOLS[job.tool](job, artifact, _Samples(job, artifact))
    except Exception as error:
        # A limit shows as MemoryError, or as whatever the runtime makes of a failed allocation.
        told = first_line(error)
        short = isinstance(error, MemoryError) or "alloc" in told.lower()
        why = f"out of memory, with {job.limit_bytes / 1e9:.1f} GB to have" if short else told
        done = Done(failure=why)
    write_json(done_file, done.model_dump(mode="json"))


class _Watch:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._begun[0], time.process_time() - self._begun[1]


class _Samples:
    """So many pictures, and a watch that starts when the first is asked for."""

    has_labels = False

    def __init__(self, job: Job, artifact: Artifact) -> None:
        data = read_project(_PROJECT).data_options(_PROJECT.parent)
        opened = data.open(str(job.pictures), artifact.inputs)
        assert opened is not None
        self._pictures, self._count = opened.samples, job.samples
        self.dataset = replace(opened, samples=self)
        self.watch = _Watch()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        self.watch = _Watch()
        left = self._count
        while left > 0:
            for _, sample in zip(range(left), self._pictures, strict=False):
                yield sample
                left -= 1


def _edgewright(job: Job, artifact: Artifact, samples: _Samples) -> Done:
    ranges = RangeMethod(method=job.method)
    scheme = Scheme(weights="int8", activations="uint8", ranges=ranges)
    recipe = Recipe(name=job.method, format="onnx", rules=(Rule(scheme=scheme),))
    watch = _Watch()
    statistics = calibrate(artifact, samples.dataset)
    for tensor in statistics.tensors:
        statistics.range(tensor, Grid(8, signed=False, symmetric=False), ranges)
    calibrated = samples.watch.read()
    if job.destination is not None:
        onnx.apply(artifact.path, recipe, statistics, job.destination)
    return _done(watch, calibrated)


def _onnxruntime(job: Job, artifact: Artifact, samples: _Samples) -> Done:
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    assert job.destination is not None
    # The package has a function of the module's name.
    module = import_module("onnxruntime.quantization.quantize")
    calibrated: list[tuple[float, float]] = []
    build = module.QDQQuantizer

    def told(*arguments: Any, **options: Any) -> Any:
        # `quantize_static` says nothing of its parts: here the ranges are known.
        calibrated.append(samples.watch.read())
        return build(*arguments, **options)

    watch = _Watch()
    with TemporaryDirectory() as directory:
        prepared = Path(directory) / "prepared.onnx"
        quant_pre_process(str(artifact.path), str(prepared), skip_symbolic_shape=True)
        module.QDQQuantizer = told
        quantize_static(
            str(prepared),
            str(job.destination),
            _reader(artifact, samples.dataset),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[job.method.title()],
            extra_options={} if job.stride is None else {"CalibStridedMinMax": job.stride},
        )
    return _done(watch, calibrated[0])


_TOOLS: dict[str, Callable[[Job, Artifact, _Samples], Done]] = {
    "edgewright": _edgewright,
    "onnxruntime": _onnxruntime,
}


def _done(watch: _Watch, calibrated: tuple[float, float]) -> Done:
    return Done(
        calibration_s=calibrated[0],
        calibration_cpu_s=calibrated[1],
        total_s=watch.read()[0],
        peak_rss_bytes=_peak_rss_bytes(),
    )


def _peak_rss_bytes() -> int:
    # getrusage would count what the parent had when it started this process.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell the peak memory of a process")


def _reader(artifact: Artifact, dataset: Dataset) -> Any:
    """The pictures as ONNX Runtime's calibrators read them: all, or so many at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._samples = iter(dataset)
            self._left = len(dataset)

        def __len__(self) -> int:
            return len(dataset)

        def set_range(self, start_index: int, end_index: int) -> None:
            # One range follows the other.
            self._left = end_index - start_index

        def get_next(self) -> Any:
            if self._left == 0:
                return None
            self._left -= 1
            return native(artifact, next(self._samples))

    return Reader()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
