"""The profile that a phone gets of itself, over ADB."""

from __future__ import annotations

from pathlib import Path

import pytest
from clirunner import Cli
from devices.adbd import AdbPhoneFactory
from devices.own_runtimes import own_runtime

from edgewright.targets.load import load_target

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]


def test_a_phone_becomes_a_profile(
    adb_phone: AdbPhoneFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_TARGETS", str(tmp_path))
    own_runtime(monkeypatch, "aarch64", "ai_edge_litert")
    cli = Cli(monkeypatch, capsys)
    phone = adb_phone()
    probed = cli(
        "devices", "probe", phone.address, "--name", "phone", "--against", "pixel-9", "--json"
    )
    assert probed.code == 0, probed
    assert probed.json["kept"] == "written"
    made = load_target("phone")
    assert made.cpu.soc == "Google Tensor G4"
    promised = load_target("pixel-9")
    assert [(c.core, c.count, c.max_frequency_hz) for c in made.cpu.clusters] == [
        (c.core, c.count, c.max_frequency_hz) for c in promised.cpu.clusters
    ]
    assert (made.os.name, made.os.version) == ("android", "Android 14")
    assert "ai_edge_litert" in {runtime.name for runtime in made.runtimes}
    assert made.sensors is not None and "BIG" in made.sensors.thermal_zones
    assert made.notes and "Emulated" in made.notes[0]
    # What plays the phone has neither its accelerators nor its memory.
    differences = probed.json["differences"]
    assert any("does not show the Google Tensor TPU" in line for line in differences)
    assert not any("cores" in line or "MHz" in line for line in differences)
