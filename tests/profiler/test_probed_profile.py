"""Live devices as profiles, and held against profiles. The readings are as an agent answers."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import UsageError
from edgewright.profiler.live_device import LiveDevice, Stored
from edgewright.profiler.probed_profile import differences, probed_profile
from edgewright.profiler.result import Conditions, DeviceFacts, ZoneTemperature
from edgewright.profiler.seen_accelerators import KNOWN, seen
from edgewright.targets.load import load_target, profile_of
from edgewright.targets.profile import CoreCluster, TargetProfile
from edgewright.targets.toml_file import parse_toml_text
from edgewright.targets.write import profile_text

DAY = date(2026, 11, 26)
PI5 = CoreCluster(
    core="Cortex-A76",
    count=4,
    max_frequency_hz=2_400_000_000,
    features=("neon", "asimd", "fp16", "dotprod"),
)
RUNTIMES = {"onnxruntime": "1.22.0", "ai_edge_litert": "1.3.0", "tflite_runtime": "2.14.0"}


def pi5(**changes: Any) -> LiveDevice:
    facts = {
        "address": "ssh://pi",
        "model": "Raspberry Pi 5 Model B Rev 1.0",
        "hostname": "pi",
        "architecture": "aarch64",
        "kernel": "6.12",
        "os": "Debian GNU/Linux 12 (bookworm)",
        "libc": "glibc 2.36",
        "cpu": "4x Cortex-A76",
        "cores": 4,
        "features": PI5.features,
        "ram_bytes": 8_460_000_000,
        **changes.pop("facts", {}),
    }
    values: dict[str, Any] = {
        "facts": DeviceFacts(**facts),
        "clusters": (PI5,),
        "python": "python3",
        "python_version": "3.11.2",
        "numpy": "1.26.4",
        "runtimes": {
            "onnxruntime": "1.22.0",
            "ai_edge_litert": "1.3.0",
            "tflite_runtime": "2.14.0",
        },
        "conditions": Conditions(
            taken="before", at_s=0, zones=(ZoneTemperature(name="cpu-thermal", temperature_c=40),)
        ),
        "stored": Stored(
            directory="/x", free_bytes=1, total_bytes=2, kept={}, runs=(), holder=None
        ),
        **changes,
    }
    return LiveDevice(**values)


def read_back(profile: TargetProfile) -> TargetProfile:
    return profile_of(parse_toml_text(Path("x.toml"), profile_text(profile)))


def test_a_board_is_what_its_profile_says() -> None:
    assert differences(pi5(), load_target("raspberry-pi-5")) == []
    profile = probed_profile(pi5(), "my-pi", DAY)
    assert read_back(profile) == profile
    assert differences(pi5(), profile) == []
    assert profile.cpu.clusters == (PI5,)
    assert profile.os.libc == "glibc 2.36" and profile.os.python == "3.11.2"
    assert profile.sensors and profile.sensors.thermal_zones == ("cpu-thermal",)
    assert profile.runtime_for("onnx") and "2026-11-26" in profile.cpu.source


@pytest.mark.parametrize(
    ("live", "told"),
    [
        (pi5(facts={"features": ("neon", "asimd")}), "lacks dotprod, fp16, which the profile has"),
        (pi5(facts={"cores": 8}), "it has 8 cores, the profile says 4"),
        (
            pi5(clusters=(PI5.model_copy(update={"max_frequency_hz": 1_500_000_000}),)),
            "its Cortex-A76 run at up to 1500 MHz, the profile says 2400 MHz",
        ),
        (
            pi5(clusters=(PI5.model_copy(update={"core": "Cortex-A72"}),)),
            "its cores are 4x Cortex-A72, the profile says 4x Cortex-A76",
        ),
        (pi5(facts={"ram_bytes": 4_200_000_000}), "4.2 GB of RAM, the profile says 8.59 GB"),
        (pi5(facts={"os": "Android 14"}), "it runs Android 14, the profile says Raspberry Pi OS"),
        (pi5(runtimes={"onnxruntime": "1.22.0"}), "ai_edge_litert is not installed"),
        (
            pi5(runtimes={**RUNTIMES, "onnxruntime": "1.16.3"}),
            "its onnxruntime is 1.16.3, older than the 1.20 that the profile assumes",
        ),
        (pi5(facts={"architecture": "armv7l"}), "it is armv7l, the profile says aarch64"),
    ],
)
def test_differences_are_told(live: LiveDevice, told: str) -> None:
    assert any(told in line for line in differences(live, load_target("raspberry-pi-5")))


def test_an_accelerator_that_is_not_in_sight_is_told() -> None:
    coral = load_target("coral-dev-board")
    told = "does not show the Google Edge TPU"
    assert any(told in line for line in differences(pi5(), coral))
    with_tpu = pi5(accelerators=seen({"nodes": ["apex_0"]}))
    assert not any(told in line for line in differences(with_tpu, coral))
    profile = probed_profile(with_tpu, "x", DAY)
    assert read_back(profile).accelerators[0].id == "edge-tpu"


def test_a_board_without_a_runtime_gets_what_edgewright_can_bring() -> None:
    profile = probed_profile(pi5(runtimes={}), "bare", DAY)
    assert {r.name for r in profile.runtimes} == {"onnxruntime", "ai_edge_litert", "tflite_runtime"}
    assert all("none is installed" in runtime.source for runtime in profile.runtimes)


def test_what_tells_too_little_makes_no_profile() -> None:
    with pytest.raises(UsageError, match="does not show its cores, its memory"):
        probed_profile(pi5(clusters=(), facts={"ram_bytes": None}), "x", DAY)


def test_every_accelerator_is_recognised_by_each_of_its_traces() -> None:
    for known in KNOWN:
        for key, value in known.traces:
            told = value if key.startswith("ro.") else [value]
            names = [accelerator.name for accelerator in seen({key: told})]
            assert known.accelerator.name in names
    both = seen({"nodes": ["mali0", "hailo0"], "drivers": ["v3d"]})
    assert sorted(accelerator.id for accelerator in both) == ["gpu", "gpu-2", "npu"]
    assert seen({"nodes": None, "drivers": []}) == ()


@pytest.mark.parametrize(
    ("traces", "target"),
    [
        ({"nodes": ["abrolhos"]}, "pixel-6"),
        ({"nodes": ["rio"]}, "pixel-8"),
        ({"remote_processors": ["64800000.dsp"]}, "beaglebone-ai-64"),
        ({"nodes": ["apex_0"]}, "coral-dev-board"),
        ({"nodes": ["galcore"]}, "imx-8m-plus"),
    ],
)
def test_what_is_seen_has_the_tables_of_the_device_that_has_it(
    traces: dict[str, list[str]], target: str
) -> None:
    (accelerator,) = seen(traces)
    known = {a.kind: a.support for a in load_target(target).accelerators}
    assert accelerator.support == known[accelerator.kind]
