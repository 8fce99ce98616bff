"""Operator times and memory of whole measurements on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from small_models import GOLDEN, LONG, SECONDS, SHORT, matmul, measured, save

from edgewright.profiler.agent import common, jobs
from edgewright.profiler.agent.memory import Memory
from edgewright.profiler.job import MeasuredModel, MeasureSettings, ProgressEvent
from edgewright.profiler.measure import measure
from edgewright.profiler.result import FailedRun, Run
from edgewright.profiler.transports.local import LocalTransport


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[MeasureSettings]:
    base = tmp_path / "device"
    yield MeasureSettings(base=str(base), sampling=SHORT, poll_s=0.1, deadline_s=60, operators=True)
    for run in (base / "runs").glob("*"):
        jobs.stop(str(run))


def runs_of(results: Sequence[Run | FailedRun]) -> list[Run]:
    assert all(isinstance(result, Run) for result in results), results
    return [result for result in results if isinstance(result, Run)]


def heavy(path: Path, megabytes: int) -> Path:
    """Weights of so many megabytes, and a few milliseconds of work."""
    wide = np.zeros((16, 4096), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["h"], name="wide"),
        helper.make_node("MatMul", ["h", "big"], ["y"], name="big"),
    ]
    return save(path, nodes, wide=wide, big=np.zeros((4096, megabytes * 64), np.float32))


def test_operators_of_every_runtime_beside_untouched_samples(
    settings: MeasureSettings, tmp_path: Path
) -> None:
    models = [measured(matmul(tmp_path / "m.onnx")), measured(GOLDEN / "tiny_float.tflite")]
    onnx, tflite = runs_of(measure(LocalTransport(), models, settings))
    assert onnx.operators is not None and tflite.operators is not None
    assert [o.type for o in onnx.operators.operators] == ["MatMul"]
    assert [o.provider for o in tflite.operators.operators] == ["XNNPACK"] * 3
    for run in (onnx, tflite):
        assert run.missing.get("operators") is None
        assert Run.from_json(run.to_json()) == run


def test_the_operators_take_about_as_long_as_the_inference(
    settings: MeasureSettings, tmp_path: Path
) -> None:
    [run] = runs_of(measure(LocalTransport(), [measured(heavy(tmp_path / "m.onnx", 32))], settings))
    assert run.operators is not None and run.operators.total_ms is not None
    # Other programs may take the machine for a while: no closer than that.
    assert 0.2 * min(run.samples_ms) < run.operators.total_ms < 5 * max(run.samples_ms)


def test_not_asked_for(settings: MeasureSettings, tmp_path: Path) -> None:
    plain = replace(settings, operators=False)
    [run] = runs_of(measure(LocalTransport(), [measured(matmul(tmp_path / "m.onnx"))], plain))
    assert run.operators is None and "operators" not in run.missing


def test_what_goes_wrong_there_costs_no_sample(settings: MeasureSettings, tmp_path: Path) -> None:
    """The model's file goes while it is measured: the profile can't open it again."""
    model = measured(matmul(tmp_path / "m.onnx"))

    def remove(event: ProgressEvent) -> None:
        if event.phase == "measure":
            for blob in Path(settings.base or "").glob("blobs/*"):
                if blob.suffix != ".pyz":
                    blob.unlink()

    slow = replace(settings, sampling=SECONDS)
    [run] = runs_of(measure(LocalTransport(), [model], slow, remove))
    assert run.operators is None
    assert "exist" in run.missing["operators"]
    assert len(run.samples_ms) > 8


def test_the_times_that_are_kept_are_not_the_models_memory(
    settings: MeasureSettings, tmp_path: Path
) -> None:
    """Thousands of inferences of a model that needs next to nothing."""
    quick = replace(settings, sampling=None, operators=False)
    [run] = runs_of(measure(LocalTransport(), [measured(matmul(tmp_path / "m.onnx"))], quick))
    assert run.memory is not None and len(run.warm_up_ms) > 2_000
    peak, first = run.memory.peak_rss_bytes, run.memory.first_rss_bytes
    assert peak is not None and first is not None
    assert peak - first < 3 << 20


def test_what_the_deadline_leaves_out_is_said_of_every_model(
    settings: MeasureSettings, tmp_path: Path
) -> None:
    models = [measured(matmul(tmp_path / f"{name}.onnx")) for name in "ab"]
    short = replace(settings, sampling=LONG, deadline_s=5)
    for run in runs_of(measure(LocalTransport(), models, short)):
        assert run.operators is None
        assert run.missing["operators"] == "not done in 5 s"


def test_what_the_model_added_to_memory(settings: MeasureSettings, tmp_path: Path) -> None:
    def memory(model: MeasuredModel) -> dict[str, int]:
        [run] = runs_of(measure(LocalTransport(), [model], settings))
        assert run.memory is not None, run.missing
        found = run.memory.model_dump()
        assert None not in found.values(), run.missing
        # Which of the two peaks is the process's: before the model, or with it.
        assert run.peak_rss_bytes is not None
        assert run.peak_rss_bytes >= found["peak_rss_bytes"] >= found["first_rss_bytes"]
        assert found["start_rss_bytes"] < found["baseline_rss_bytes"] <= found["loaded_rss_bytes"]
        return found

    small = memory(measured(matmul(tmp_path / "small.onnx")))
    large = memory(measured(heavy(tmp_path / "large.onnx", 64)))
    difference = large["model_added_bytes"] - small["model_added_bytes"]
    # The weights, and maybe a copy that the runtime packed or read them from.
    assert 64 * 2**20 < difference < 4 * 64 * 2**20


def test_memory_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "PROC", str(tmp_path))
    memory = Memory()
    memory.look("start")
    memory.baseline()
    report = memory.report()
    assert report["peak_rss_bytes"] > 2**20, "what getrusage says"
    assert report["memory"] is None
    assert "No such file" in report["missing"]["memory"]


def test_a_peak_that_cannot_be_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the model's if it grew; where it did not, nobody can tell."""
    monkeypatch.setattr(common, "PROC", str(tmp_path))
    status = tmp_path / "self" / "status"
    (tmp_path / "self" / "clear_refs").mkdir(parents=True)
    status.write_text("VmHWM:\t 900 kB\nVmRSS:\t 500 kB\n")
    memory = Memory()
    memory.baseline()
    report = memory.report()
    assert report["peak_rss_bytes"] == 900 * 1024
    assert "model_added_bytes" not in report["memory"]
    assert "clear_refs" in report["missing"]["model_added_bytes"]
    status.write_text("VmHWM:\t 1700 kB\nVmRSS:\t 1500 kB\n")
    report = memory.report()
    assert report["memory"]["model_added_bytes"] == 1200 * 1024
    assert report["memory"]["peak_rss_bytes"] == report["peak_rss_bytes"] == 1700 * 1024
