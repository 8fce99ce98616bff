"""The real agent on real ARM binaries: an arm64 Raspberry Pi OS in emulation, over SSH.

Emulated times mean nothing; what is tested is the way there, the answers, and the refusals.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from clirunner import Cli
from devices.arm64 import Arm64Factory
from devices.base import SshDevice

from edgewright.pipeline import profile
from edgewright.profiler.job import MeasureSettings, Sampling
from edgewright.targets.profile import RuntimeName

ROOT = Path(__file__).parent.parent
ONNX = ROOT / "examples" / "fashion-mnist" / "model.onnx"
TFLITE = ROOT / "tests" / "golden" / "tiny_int8.tflite"

FEW = Sampling(
    queries=4, seconds=1, both=False, min_rounds=2, min_queries=4, warm_up_queries=1, warm_up_s=0
)

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]


def _reach(device: SshDevice, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(device.ssh_config_path))
    return device.url


@pytest.mark.parametrize(
    ("runtimes", "model", "runtime"),
    [
        ("modern", ONNX, "onnxruntime"),
        ("modern", TFLITE, "ai_edge_litert"),
        ("tflite_runtime", TFLITE, "tflite_runtime"),
    ],
)
def test_each_runtime_gives_the_hosts_answers(
    arm64_device: Arm64Factory,
    monkeypatch: pytest.MonkeyPatch,
    runtimes: str,
    model: Path,
    runtime: RuntimeName,
) -> None:
    url = _reach(arm64_device(runtimes=runtimes), monkeypatch)  # type: ignore[arg-type]
    settings = MeasureSettings(sampling=FEW, operators=True)
    run = profile(model, url, settings, lambda event: None)
    assert run.runtime.name == runtime and run.runtime.version
    assert run.device.architecture == "aarch64"
    assert run.device.model is not None and "Raspberry Pi 4" in run.device.model
    assert run.correctness.status == "passed", run.correctness
    assert run.correctness.inputs == 4
    assert len(run.samples_ms) >= 4 and run.peak_rss_bytes is not None
    operators, memory = run.operators, run.memory
    assert operators is not None and (operators.total_ms or 0) > 0, run.missing
    assert sum(share.nodes for share in operators.providers) == operators.total_nodes
    assert {operator.provider for operator in operators.operators} == {
        "onnxruntime": {"CPUExecutionProvider"},
        "ai_edge_litert": {"XNNPACK"},
        "tflite_runtime": {"TFLite"},
    }[runtime], "INT8 in XNNPACK came after 2.14"
    assert memory is not None and (memory.model_added_bytes or 0) > 0, run.missing
    last = run.conditions[-1]
    assert last.temperature_c == 48 or last.temperature_c is not None
    assert last.governor == "ondemand" and last.throttled is False
    # An emulated latency is no device's, and passes no gate.
    assert run.device.emulated and not run.validity.valid
    assert "emulated" in run.validity.reasons[0]


def test_what_is_there_is_not_sent_again(
    arm64_device: Arm64Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _reach(arm64_device(), monkeypatch)
    told: list[str] = []
    for _ in range(2):
        profile(
            TFLITE, url, MeasureSettings(sampling=FEW), lambda event: told.append(event.message)
        )
    sent = [message for message in told if message.startswith("sent")]
    assert len(sent) == 2 and sent[1].startswith("sent 0 bytes")


@pytest.mark.parametrize(
    ("runtimes", "saying"), [("none", "pip install onnxruntime"), ("nopython", "python3")]
)
def test_a_device_without_a_runtime(
    arm64_device: Arm64Factory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    runtimes: str,
    saying: str,
) -> None:
    url = _reach(arm64_device(runtimes=runtimes), monkeypatch)  # type: ignore[arg-type]
    Cli(monkeypatch, capsys).refuses("profile", ONNX, "-d", url, code=3, saying=saying)


def test_a_full_disk(
    arm64_device: Arm64Factory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = _reach(arm64_device(home_size_mb=1), monkeypatch)
    outcome = Cli(monkeypatch, capsys).refuses("profile", ONNX, "-d", url, code=3)
    assert "space" in outcome.err or "room" in outcome.err
