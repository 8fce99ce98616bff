"""The profiles that are shipped: their sources, and what they say of accelerators."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.targets.check import CheckOptions, check
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import load_target
from edgewright.targets.profile import TargetProfile
from edgewright.targets.support_files import support_table

FILES = sorted((Path(__file__).parents[2] / "device_configs").glob("*.toml"))
DEVICES = [path.stem for path in FILES if path.stem != "host"]


def _sources(profile: TargetProfile) -> Iterator[str]:
    groups = [profile.cpu, profile.memory, profile.os, *profile.runtimes, *profile.accelerators]
    yield from (group.source for group in groups)
    if profile.limits is not None:
        yield profile.limits.source


@pytest.mark.parametrize("name", DEVICES)
def test_a_profile_names_its_sources_and_tables_that_exist(name: str) -> None:
    profile = load_target(name)
    assert not profile.probed
    for source in _sources(profile):
        assert len(source) > 10
        assert not source.startswith("probed: ")
    readers = {runtime.name for runtime in profile.runtimes}
    for accelerator in profile.accelerators:
        assert accelerator.precisions
        for support in accelerator.support:
            table = support_table(support)
            assert table is not None, support
            assert table.role == "accelerator", support
            assert not table.runtimes or readers & set(table.runtimes), support
    frequencies = [cluster.max_frequency_hz or 0 for cluster in profile.cpu.clusters]
    assert frequencies == sorted(frequencies, reverse=True)


def test_the_devices_are_many_and_of_all_kinds() -> None:
    profiles = [load_target(name) for name in DEVICES]
    assert len(profiles) >= 18
    assert {profile.os.name for profile in profiles} >= {"linux", "android", "none"}
    x86 = [p.cpu.features for p in profiles if p.cpu.architecture == "x86_64"]
    assert any(features & {"avx512_vnni", "avx_vnni"} for features in x86)
    assert any(not features & {"avx512_vnni", "avx_vnni"} for features in x86)
    assert {kind.kind for p in profiles for kind in p.accelerators} >= {"gpu", "npu", "dsp", "tpu"}


def test_a_microcontroller_says_what_its_compiler_needs() -> None:
    board = load_target("alif-ensemble-e7")
    npu = board.accelerators[0]
    table = support_table(npu.support[0])
    assert board.default_accelerator == npu.id
    assert table is not None
    assert table.oracle == "vela"
    assert set(npu.compiler_options) == {"accelerator_config", "system_config", "memory_mode"}
    assert npu.compiler_options["accelerator_config"].startswith(table.id)
    assert board.memory.flash_bytes is not None
    assert board.measured_runtimes == ()
    file = Path(__file__).parents[1] / "golden" / "targets_conv_int8.tflite"
    findings = check(inspect_model(file), board, CheckOptions(ask=False)).findings
    remedy = next(f.remedy for f in findings if f.code == "accelerator-not-compiled")
    assert remedy.endswith(
        f"vela {shlex.quote(str(file))} --accelerator-config ethos-u55-256 "
        "--system-config Ethos_U55_High_End_Embedded --memory-mode Shared_Sram"
    )


#: Devices that the documentation promises by name.
PROMISED = {
    *("raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2-w"),
    *("jetson-orin-nano", "coral-dev-board", "beaglebone-ai-64", "rock-5b", "imx-8m-plus"),
    *("pixel-6", "pixel-8", "pixel-9", "galaxy-s22", "galaxy-s24", "galaxy-s25"),
    *("vivo-x100", "redmi-8"),
}


def test_promised_devices_are_there() -> None:
    assert set(DEVICES) >= PROMISED


def test_a_low_end_phone_has_neither_dot_product_nor_fp16() -> None:
    cpu = load_target("redmi-8").cpu
    assert {cluster.core for cluster in cpu.clusters} == {"Cortex-A53"}
    assert not cpu.features & {"dotprod", "fp16"}


def test_phones_are_measured_on_the_cpu_and_reach_every_accelerator_by_a_table() -> None:
    phones = [p for p in (load_target(name) for name in DEVICES) if p.os.name == "android"]
    assert len(phones) >= 9
    for phone in phones:
        assert phone.default_accelerator is None
        assert phone.os.python is None
        assert phone.limits is not None
        assert phone.limits.max_memory_bytes == phone.memory.ram_bytes // 4
        assert all(accelerator.support for accelerator in phone.accelerators)
