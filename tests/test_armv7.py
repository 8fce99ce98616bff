"""The real agent on real 32-bit ARM binaries: an old Raspberry Pi in emulation, over SSH."""

from __future__ import annotations

from pathlib import Path

import pytest
from clirunner import Cli
from devices.armv7 import MODEL
from devices.chroot_board import ChrootDevice

from edgewright.pipeline import profile
from edgewright.profiler.job import MeasureSettings, Sampling

ROOT = Path(__file__).parent.parent
ONNX = ROOT / "examples" / "fashion-mnist" / "model.onnx"
TFLITE = ROOT / "tests" / "golden" / "tiny_int8.tflite"

FEW = Sampling(
    queries=4, seconds=1, both=False, min_rounds=2, min_queries=4, warm_up_queries=1, warm_up_s=0
)

pytestmark = [pytest.mark.device, pytest.mark.timeout(300)]


def test_tflite_runtime_gives_the_hosts_answers(
    armv7_device: ChrootDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(armv7_device.ssh_config_path))
    run = profile(TFLITE, armv7_device.url, MeasureSettings(sampling=FEW), lambda event: None)
    assert (run.runtime.name, run.runtime.version) == ("tflite_runtime", "2.14.0")
    assert (run.device.architecture, run.device.model) == ("armv7l", MODEL)
    assert run.device.emulated and not run.validity.valid
    assert run.correctness.status == "passed" and run.correctness.inputs == 4, run.correctness
    assert len(run.samples_ms) >= 4 and run.peak_rss_bytes is not None


def test_where_the_time_goes_on_32_bits(
    armv7_device: ChrootDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Structures of C are laid out in another way there; XNNPACK of 2.14 takes no INT8."""
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(armv7_device.ssh_config_path))
    settings = MeasureSettings(sampling=FEW, operators=True)
    run = profile(TFLITE, armv7_device.url, settings, lambda event: None)
    found = run.operators
    assert found is not None, run.missing
    assert [(o.type, o.provider) for o in found.operators] == [
        ("CONV_2D", "TFLite"), ("MEAN", "TFLite"), ("FULLY_CONNECTED", "TFLite")
    ]  # fmt: skip
    assert (found.delegated_nodes, found.total_nodes, found.partitions) == (0, 3, 0)
    assert (found.total_ms or 0) > 0


def test_an_onnx_model_has_no_runtime_there(
    armv7_device: ChrootDevice,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(armv7_device.ssh_config_path))
    Cli(monkeypatch, capsys).refuses(
        "profile",
        *(ONNX, "-d", armv7_device.url),
        code=3,
        saying="PyPI has no onnxruntime for armv7l; convert the model to TFLite",
    )
