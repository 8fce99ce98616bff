"""A runtime of ours on devices without Python: real ARM programs, over ADB and SSH.

Emulated times mean nothing; what is tested is the way there, the answers, and the repair.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from clirunner import Cli
from devices.adbd import AdbPhoneFactory
from devices.arm64 import Arm64Factory
from devices.armv7 import start_armv7
from devices.base import DeviceUnavailable, SshDevice
from devices.own_runtimes import own_runtime
from devices.proxy import Proxy
from devices.sshd import SshdDevice

from edgewright.errors import RuntimeMissing, UsageError
from edgewright.pipeline import profile
from edgewright.profiler.arrival import Arrival, arrive
from edgewright.profiler.device_runtime.build import build_runtime
from edgewright.profiler.device_runtime.cache import CACHE_VARIABLE, Kept
from edgewright.profiler.device_runtime.packages import PackageSource
from edgewright.profiler.device_runtime.recipe import recipe_for
from edgewright.profiler.job import MeasureSettings, ProgressEvent, Sampling
from edgewright.profiler.result import Run
from edgewright.profiler.transports import open_transport
from edgewright.targets.profile import Architecture, Format, RuntimeName

ROOT = Path(__file__).parent.parent
ONNX = ROOT / "examples" / "fashion-mnist" / "model.onnx"
TFLITE = ROOT / "tests" / "golden" / "tiny_int8.tflite"

FEW = Sampling(
    queries=4, seconds=1, both=False, min_rounds=2, min_queries=4, warm_up_queries=1, warm_up_s=0
)
SETTINGS = MeasureSettings(sampling=FEW)
_THIS: Architecture = "aarch64" if platform.machine() == "aarch64" else "x86_64"

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

both_runtimes = pytest.mark.parametrize(
    ("model", "runtime"), [(ONNX, "onnxruntime"), (TFLITE, "ai_edge_litert")]
)


def _reach(device: SshDevice, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(device.ssh_config_path))
    return device.url


def _measured(model: Path, address: str, kept: Kept) -> Run:
    """A run in a runtime that was brought for it, with the host's answers."""
    events: list[ProgressEvent] = []
    run = profile(model, address, SETTINGS, events.append)
    assert run.runtime.name == kept.bundle.runtime
    assert run.runtime.version == kept.bundle.runtime_version
    assert run.runtime.python == f"{kept.bundle.python_version} (Edgewright's)"
    assert any("Edgewright brought" in note for note in run.notes)
    assert run.correctness.status == "passed", run.correctness
    assert len(run.samples_ms) >= 4
    assert kept.bundle.archive_bytes in {e.done for e in events if e.phase == "push"}
    return run


def _arrives_again(address: str, model_format: Format) -> tuple[Arrival, list[int]]:
    """Comes to a device that has been visited; also how many bytes of a runtime were sent."""

    def at_once(action: Callable[[], object]) -> object:
        return action()

    transport = open_transport(address)
    sent: list[int] = []
    try:
        arrival = arrive(
            transport,
            [model_format],
            SETTINGS,
            at_once,  # type: ignore[arg-type]
            lambda done, total: sent.append(done),
        )
    finally:
        transport.close()
    return arrival, sent


@both_runtimes
def test_a_phone(
    adb_phone: AdbPhoneFactory, monkeypatch: pytest.MonkeyPatch, model: Path, runtime: RuntimeName
) -> None:
    kept = own_runtime(monkeypatch, "aarch64", runtime)
    phone = adb_phone()
    run = _measured(model, phone.address, kept)
    assert run.device.architecture == "aarch64"
    place = phone.home / "edgewright/runtimes" / kept.bundle.sha256
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    model_format: Format = "onnx" if model is ONNX else "tflite"
    assert _arrives_again(phone.address, model_format)[1] == []
    # With Android's own tools, what is damaged is found and done again.
    (place / "lib/libm.so.6").write_bytes(b"")
    arrival, sent = _arrives_again(phone.address, model_format)
    assert sent[-1] == kept.bundle.archive_bytes
    assert runtime in arrival.installed.runtimes


@both_runtimes
def test_a_board_without_python(
    arm64_device: Arm64Factory, monkeypatch: pytest.MonkeyPatch, model: Path, runtime: RuntimeName
) -> None:
    kept = own_runtime(monkeypatch, "aarch64", runtime)
    url = _reach(arm64_device("nopython"), monkeypatch)
    _measured(model, url, kept)
    model_format: Format = "onnx" if model is ONNX else "tflite"
    assert _arrives_again(url, model_format)[1] == []


def test_a_board_whose_python_has_no_runtime(
    arm64_device: Arm64Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = own_runtime(monkeypatch, "aarch64", "ai_edge_litert")
    url = _reach(arm64_device("none"), monkeypatch)
    arrival, sent = _arrives_again(url, "tflite")
    assert arrival.ours == kept.bundle and sent[-1] == kept.bundle.archive_bytes
    with pytest.raises(RuntimeMissing, match="has no runtime for onnx") as raised:
        monkeypatch.setenv(CACHE_VARIABLE, "/nonexistent")
        _arrives_again(url, "onnx")
    command = f"edgewright runtime build --device {url} --runtime onnxruntime"
    assert command in str(raised.value.hint)


def test_a_board_of_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = own_runtime(monkeypatch, "armv7l", "tflite_runtime")
    with start_armv7("nopython") as device:
        run = _measured(TFLITE, _reach(device, monkeypatch), kept)
    assert run.device.architecture == "armv7l"


def test_a_link_that_is_cut_while_a_runtime_is_sent(
    real_sshd_device: SshdDevice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = own_runtime(monkeypatch, _THIS, "ai_edge_litert")
    device = real_sshd_device
    config = tmp_path / "config"
    config.write_text(
        f"HostKeyAlias [{device.host}]:{device.port}\n{device.ssh_config_path.read_text()}"
    )
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(config))
    events: list[ProgressEvent] = []
    with Proxy(device.port) as cable:

        def listen(event: ProgressEvent) -> None:
            events.append(event)
            if event.phase == "lost":
                cable.restore()

        cable.up.fault_after(kept.bundle.archive_bytes * 2 // 3, cable.cut)
        url = f"ssh://{device.user}@127.0.0.1:{cable.port}"
        run = profile(TFLITE, url, replace(SETTINGS, bundled=True), listen)
        assert cable.up.carried < kept.bundle.archive_bytes * 3 // 2  # the rest, not all again
    assert any(event.phase == "lost" for event in events)
    assert run.correctness.status == "passed" and "Edgewright's" in run.runtime.python


def test_two_builds_give_the_same_archive(tmp_path: Path) -> None:
    recipe = recipe_for("armv7l", "tflite_runtime")
    try:
        (tmp_path / "one").mkdir()
        (tmp_path / "other").mkdir()
        one, archive = build_runtime(recipe, PackageSource(), tmp_path / "one")
        other, _ = build_runtime(recipe, PackageSource(), tmp_path / "other")
    except UsageError as error:
        raise DeviceUnavailable(error.message) from error
    assert one == other
    assert archive.stat().st_size == one.archive_bytes
    assert one.recipe == recipe.digest and len(one.ingredients) == 12


def test_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own_runtime(monkeypatch, _THIS, "ai_edge_litert")
    shown = Cli(monkeypatch, capsys)("profile", TFLITE, "--bundled-runtime", "--json")
    assert shown.code == 0, shown
    assert "(Edgewright's)" in shown.json["runtime"]["python"]
    assert shown.json["correctness"]["status"] == "passed"
