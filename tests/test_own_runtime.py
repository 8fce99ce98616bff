"""A runtime of ours on devices without Python: real ARM programs, over ADB and SSH.

Emulated times mean nothing; what is tested is the way there, the answers, and the refusals.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from devices.adbd import AdbPhoneFactory
from devices.arm64 import Arm64Device, Arm64Factory
from devices.own_runtimes import own_runtime

from edgewright.pipeline import profile
from edgewright.profiler.job import MeasureSettings, ProgressEvent, Sampling
from edgewright.targets.profile import RuntimeName

ROOT = Path(__file__).parent.parent
ONNX = ROOT / "examples" / "fashion-mnist" / "model.onnx"
TFLITE = ROOT / "tests" / "golden" / "tiny_int8.tflite"

FEW = Sampling(
    queries=4, seconds=1, both=False, min_rounds=2, min_queries=4, warm_up_queries=1, warm_up_s=0
)
SETTINGS = MeasureSettings(sampling=FEW)

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]


def _reach(device: Arm64Device, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(device.ssh_config_path))
    return device.url


def _base(device: Arm64Device) -> Path:
    return device.root / "home/pi/.cache/edgewright"


@pytest.mark.parametrize(("model", "runtime"), [(ONNX, "onnxruntime"), (TFLITE, "ai_edge_litert")])
def test_a_board_without_python_measures(
    arm64_device: Arm64Factory,
    monkeypatch: pytest.MonkeyPatch,
    model: Path,
    runtime: RuntimeName,
) -> None:
    kept = own_runtime(monkeypatch, "aarch64", runtime)
    device = arm64_device("nopython")
    url = _reach(device, monkeypatch)
    events: list[ProgressEvent] = []
    run = profile(model, url, SETTINGS, events.append)
    assert run.runtime.name == runtime
    assert run.runtime.version == kept.bundle.runtime_version
    assert run.runtime.python == f"{kept.bundle.python_version} (Edgewright's)"
    assert any("Edgewright brought" in note for note in run.notes)
    assert run.correctness.status == "passed", run.correctness
    pushed = [event.done for event in events if event.phase == "push" and event.total]
    assert kept.bundle.archive_bytes in pushed

    place = _base(device) / "runtimes" / kept.bundle.sha256
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    before = (place / "python").stat().st_ctime_ns
    events.clear()
    profile(model, url, SETTINGS, events.append)
    assert (place / "python").stat().st_ctime_ns == before
    assert max(event.done for event in events if event.phase == "push") < 1_000_000


@pytest.mark.parametrize(("model", "runtime"), [(ONNX, "onnxruntime"), (TFLITE, "ai_edge_litert")])
def test_a_phone_measures(
    adb_phone: AdbPhoneFactory, monkeypatch: pytest.MonkeyPatch, model: Path, runtime: RuntimeName
) -> None:
    kept = own_runtime(monkeypatch, "aarch64", runtime)
    phone = adb_phone()
    run = profile(model, phone.address, SETTINGS, lambda event: None)
    assert run.runtime.name == runtime
    assert run.runtime.python == f"{kept.bundle.python_version} (Edgewright's)"
    assert run.correctness.status == "passed", run.correctness
    place = phone.home / "edgewright" / "runtimes" / kept.bundle.sha256
    before = (place / "python").stat().st_ctime_ns
    profile(model, phone.address, SETTINGS, lambda event: None)
    assert (place / "python").stat().st_ctime_ns == before
