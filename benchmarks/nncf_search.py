"""NNCF's `quantize_with_accuracy_control` on one ONNX model, in an interpreter of its own.

`search` is the near side, which `search.py` calls; `main` is the far side, which it starts:

    PYTHON benchmarks/nncf_search.py DIRECTORY

The directory holds `job.json` and the data as .npz; `nncf.onnx` and `result.json` are written
there. The far side needs nncf, onnx, onnxruntime and numpy, and imports nothing of Edgewright.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Inputs = dict[str, Array]

#: How to get an interpreter with NNCF.
INSTALL = "python -m venv nncf && nncf/bin/pip install nncf onnx onnxruntime"

#: What one answer is worth beside the float model's, as `edgewright.exporters.metrics` has it.
_SCORES: Mapping[str, Callable[[Array, Array], float]] = {
    "agreement": lambda output, truth: float(output.argmax() == truth.argmax()),
    "cosine": lambda output, truth: _cosine(output.ravel(), truth.ravel()),
}


class NncfFailed(Exception):
    """NNCF is missing, failed or was stopped; the message says which."""


def require(python: str) -> None:
    """That an interpreter has what the far side imports.

    Raises:
        NncfFailed: it has not, or does not start.
    """
    try:
        done = _started([python, "-c", "import nncf, onnx, onnxruntime"], Path.cwd(), None)
    except OSError as error:
        raise NncfFailed(f"{python} does not start: {error.strerror}") from error
    if done.returncode != 0:
        raise NncfFailed(f"{python} has no working NNCF: {_last_line(done.stderr)}")


def search(
    python: str,
    directory: Path,
    job: Mapping[str, Any],
    calibration: Sequence[Inputs],
    evaluation: Sequence[Inputs],
    outputs: Sequence[Array],
    limit_s: float,
) -> dict[str, Any]:
    """Starts the far side and waits for it.

    Args:
        job: `model`: path of the float model; `metric`: a key of `_SCORES`; `max_drop`;
            `transformer`: whether it is one; `saturates`: whether U8S8 overflows on this CPU;
            `threads`: of the sessions that judge candidates.
        calibration, evaluation: inputs under the model's own names.
        outputs: what the float model gives for `evaluation`.
        limit_s: when it is stopped.

    Returns:
        `seconds`, `cpu_seconds` and `peak_rss_bytes` of the call to NNCF, its `version`, a `note`.

    Raises:
        NncfFailed: it failed, or was stopped.
    """
    for name, samples in (("calibration", calibration), ("evaluation", evaluation)):
        stacked = {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
        np.savez(directory / f"{name}.npz", **stacked)
    np.savez(directory / "float.npz", output=np.stack(outputs))
    (directory / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [python, str(Path(__file__).resolve()), str(directory)]
    try:
        done = _started(command, directory, limit_s)
    except subprocess.TimeoutExpired as error:
        raise NncfFailed(f"stopped after {limit_s:.0f} s, {_progress(error.output)}") from error
    if done.returncode != 0:
        raise NncfFailed(_last_line(done.stderr))
    result: dict[str, Any] = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    return result


def main(directory: Path) -> None:
    """Quantizes as `job.json` says and times that call alone."""
    import nncf  # type: ignore[import-not-found,unused-ignore]
    import onnx
    from nncf.quantization.advanced_parameters import QuantizationParameters  # type: ignore[import-not-found,unused-ignore]

    job = json.loads((directory / "job.json").read_text(encoding="utf-8"))
    calibration = _samples(directory / "calibration.npz")
    with np.load(directory / "float.npz") as arrays:
        outputs = list(arrays["output"])
    judged = list(zip(_samples(directory / "evaluation.npz"), outputs, strict=True))
    log = _Log()
    logging.getLogger("nncf").addHandler(log)
    model = onnx.load(job["model"])
    advanced = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE if job["saturates"] else nncf.OverflowFix.DISABLE,
        # By default it gives depthwise convolutions a range for each channel of their input, which
        # OpenVINO takes, but ONNX Runtime computes in float: 0.4x of float in place of 1.1x.
        activations_quantization_params=QuantizationParameters(per_channel=False),
    )

    started, cpu_before = time.perf_counter(), time.process_time()
    quantized = nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(calibration),
        validation_dataset=nncf.Dataset(judged, lambda item: item[0]),
        validation_fn=_validation(job["metric"], job["threads"]),
        max_drop=job["max_drop"],
        drop_type=nncf.DropType.ABSOLUTE,
        # Symmetric weights, asymmetric activations: few of them are centred on 0 here.
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        # It ranks layers on so many samples, too: half the time of its default with 200.
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER if job["transformer"] else None,
        advanced_quantization_parameters=advanced,
    )
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_before

    onnx.save(quantized, str(directory / "nncf.onnx"))
    result = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "version": nncf.__version__,
        "note": log.note(),
    }
    (directory / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _validation(
    metric: str, threads: int
) -> Callable[[Any, Iterable[tuple[Inputs, Array]]], tuple[float, list[float]]]:
    """NNCF's `validation_fn`: (model, samples) -> (the mean, the score of each sample).

    With the score of each sample NNCF needs one session for a candidate; without, it calls this
    for every sample by itself, each time with a new session.
    """
    import onnxruntime as ort

    score = _SCORES[metric]

    def validate(model: Any, samples: Iterable[tuple[Inputs, Array]]) -> tuple[float, list[float]]:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin halve the speed as soon as anything else runs (1.8 s in place of 0.9 s).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        scores = [score(session.run(None, inputs)[0], output) for inputs, output in samples]
        return float(np.mean(scores)), scores

    return validate


def _cosine(output: Array, truth: Array) -> float:
    x, y = output.astype(np.float64), truth.astype(np.float64)
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


class _Log(logging.Handler):
    """What NNCF says of its own work: it returns nothing but the model."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def note(self) -> str:
        """Operations that went back to float, candidates tried, and whether it gave up."""
        return _told("\n".join(self._lines))


def _told(text: str) -> str:
    """NNCF's messages in a few words."""
    tried = len(re.findall(r"Reverted \d+ operations", text))
    if not tried:
        return "no operation went back to float"
    total = re.search(r"Total number of quantized operations in the model: (\d+)", text)
    reverted = re.search(r"(\d+) out of \d+ were reverted", text)
    words = f"{reverted[1] if reverted else '?'} of {total[1] if total else '?'} operations"
    gave_up = "could not achieve the required accuracy drop" in text
    return f"{words} back to float, {tried} candidates" + (", gave up" if gave_up else "")


def _progress(output: str | bytes | None) -> str:
    """How far a search got that was stopped."""
    text = output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""
    drops = re.findall(r"[Aa]ccuracy drop[^:\n]*?:? (?:is )?(-?[\d.]+(?:e-?\d+)?) \(", text)
    tried = len(re.findall(r"Reverted \d+ operations", text))
    at = f", the last at a drop of {float(drops[-1]):.4f}" if drops else ""
    return f"{tried} candidates tried{at}"


def _started(
    command: Sequence[str], directory: Path, limit_s: float | None
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # NNCF reports its use to its makers unless it believes itself to be in their tests.
    environment["NNCF_CI"] = "1"
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=limit_s
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


def _samples(path: Path) -> list[Inputs]:
    """Arrays whose first axis counts the samples -> the inputs of each."""
    with np.load(path) as arrays:
        stacked = {name: arrays[name] for name in arrays.files}
    count = len(next(iter(stacked.values())))
    return [{name: array[index] for name, array in stacked.items()} for index in range(count)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
