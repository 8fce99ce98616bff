from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.targets.cpuinfo import clusters_from_cpuinfo, features_from_cpuinfo
from edgewright.targets.load import load_target
from edgewright.targets.profile import Architecture

CPUINFO = Path(__file__).parents[1] / "golden" / "cpuinfo"


def text_of(name: str) -> str:
    return (CPUINFO / f"{name}.txt").read_text()


@pytest.mark.parametrize("board", ["raspberry-pi-4", "raspberry-pi-5", "galaxy-a54"])
def test_boards_are_what_their_profiles_say(board: str) -> None:
    profile = load_target(board)
    features = features_from_cpuinfo(text_of(board), "aarch64")
    assert frozenset(features) == profile.cpu.features
    # The clocks are not in cpuinfo: without them, clusters keep the order of the cores.
    found = {(c.core, c.count) for c in clusters_from_cpuinfo(text_of(board), "aarch64", {})}
    assert found == {(c.core, c.count) for c in profile.cpu.clusters}


def test_fastest_cluster_first() -> None:
    frequencies = {core: 2_000_000_000 if core < 4 else 2_400_000_000 for core in range(8)}
    clusters = clusters_from_cpuinfo(text_of("galaxy-a54"), "aarch64", frequencies)
    assert [c.core for c in clusters] == ["Cortex-A78", "Cortex-A55"]
    assert clusters[0].max_frequency_hz == 2_400_000_000
    (odd, _) = clusters_from_cpuinfo(text_of("galaxy-a54"), "aarch64", dict.fromkeys(range(8), 1))
    assert odd.max_frequency_hz is None, "a kernel that tells nonsense"


def test_x86() -> None:
    plain = features_from_cpuinfo(text_of("x86-avx2"), "x86_64")
    assert plain == ("sse4_1", "avx", "avx2", "fma", "f16c")
    vnni = features_from_cpuinfo(text_of("x86-vnni"), "x86_64")
    assert vnni == (*plain, "avx512f", "avx512_vnni")
    (cluster,) = clusters_from_cpuinfo(text_of("x86-avx2"), "x86_64", {})
    assert cluster.core == "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz"
    assert cluster.count == 2


def test_32_bit_arm_shares_the_fields_below() -> None:
    (cluster,) = clusters_from_cpuinfo(text_of("armv7"), "armv7l", {})
    assert (cluster.core, cluster.count, cluster.features) == ("Cortex-A72", 2, ("neon",))


def test_features_are_those_that_every_core_has() -> None:
    mixed = text_of("raspberry-pi-5").replace(" asimddp", "", 1)
    assert features_from_cpuinfo(mixed, "aarch64") == ("neon", "asimd", "fp16")


@pytest.mark.parametrize("text", ["", "nonsense", "processor\t: x\n", "flags: avx2"])
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64", "armv7l"])
def test_strange_texts_say_nothing(text: str, architecture: Architecture) -> None:
    assert features_from_cpuinfo(text, architecture) == ()
    assert clusters_from_cpuinfo(text, architecture, {}) == ()


def test_unknown_cores_keep_their_numbers() -> None:
    text = text_of("raspberry-pi-4").replace("0xd08", "0xfff")
    (cluster,) = clusters_from_cpuinfo(text, "aarch64", {})
    assert cluster.core == "CPU part 0xfff of implementer 0x41"
    garbled = text_of("raspberry-pi-4").replace("0xd08", "?")
    assert "?" in clusters_from_cpuinfo(garbled, "aarch64", {})[0].core
