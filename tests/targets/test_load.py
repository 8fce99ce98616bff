from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edgewright.errors import UsageError
from edgewright.targets.load import list_targets, load_target
from edgewright.targets.probe import probe_host
from edgewright.targets.write import copy_text

DEVICES = Path(__file__).parents[2] / "device_configs"
SHIPPED = sorted(path.stem for path in DEVICES.glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_profile_loads(name: str) -> None:
    profile = load_target(name)
    assert profile.name == name
    assert all(load_target(alias).name == name for alias in profile.aliases)
    assert profile.runtimes


def test_names_and_aliases_are_unique() -> None:
    names = [name for profile in list_targets() for name in (profile.name, *profile.aliases)]
    assert sorted(names) == sorted(set(names))
    assert [profile.name for profile in list_targets()] == SHIPPED


def test_a_path_loads_a_profile_of_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    text = (DEVICES / "raspberry-pi-5.toml").read_text()
    mine.write_text(text.replace('name = "raspberry-pi-5"', 'name = "my-board"'))
    assert load_target(str(mine)).name == "my-board"


def test_host_is_probed() -> None:
    host = load_target("HOST")
    assert host.probed
    assert host.title == "This machine"
    assert load_target("localhost").name == "host"
    assert host.cpu.architecture in ("x86_64", "aarch64", "armv7l")
    assert host.cpu.core_count >= 1
    assert host.memory.ram_bytes > 10**8
    assert host.os.python == platform.python_version()
    assert {"onnxruntime", "ai_edge_litert"} <= {runtime.name for runtime in host.runtimes}
    groups = [host.cpu, host.memory, host.os, *host.runtimes]
    assert all(group.source.startswith("probed: ") for group in groups)


def test_a_probed_file_holds_names_and_limits_only(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    head = 'schema_version = 1\nname = "small"\ntitle = "Here, but small"\nprobed = true\n'
    path.write_text(head + '[limits]\nmax_memory_bytes = 1000\nsource = "me"\n')
    profile = load_target(str(path))
    assert profile.name == "small"
    assert profile.limits is not None
    assert profile.limits.max_memory_bytes == 1000
    assert profile.cpu == load_target("host").cpu
    path.write_text(head + "[cpu]\n")
    with pytest.raises(UsageError, match=r"small\.toml, line 5: unknown key 'cpu'"):
        load_target(str(path))


def test_an_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load_target("raspbery-pi5")
    assert "'raspbery-pi5'" in caught.value.message
    assert "did you mean raspberry-pi-5" in (caught.value.hint or "")
    with pytest.raises(UsageError) as caught:
        load_target("zzz")
    assert "galaxy-s25" in caught.value.message
    assert "did you mean" not in (caught.value.hint or "")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"nowhere/board\.toml: No such file"):
        load_target("nowhere/board.toml")


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr("edgewright.targets.probe._memory", lambda system: probe_memory)
    probe_memory = load_target("raspberry-pi-5").memory
    host = probe_host()
    assert host.os.name == "windows"
    assert host.cpu.architecture == "x86_64"
    assert host.cpu.features == frozenset()
    assert "can't be read" in host.notes[0]


def test_an_unknown_machine_is_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(UsageError, match="riscv64"):
        probe_host()


def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWRIGHT_TARGETS", str(tmp_path))
    return tmp_path


def _copy(folder: Path, name: str, original: str = "raspberry-pi-5") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(copy_text(name, original))
    return path


def test_profiles_in_the_users_folder_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _own(tmp_path, monkeypatch)
    _copy(folder, "my-board")
    assert load_target("my-board").cpu == load_target("raspberry-pi-5").cpu
    assert "my-board" in [profile.name for profile in list_targets()]
    with pytest.raises(UsageError, match="no target is called 'my-bord'") as caught:
        load_target("my-bord")
    assert "did you mean my-board?" in str(caught.value.hint)


def test_a_broken_profile_of_ones_own_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _own(tmp_path, monkeypatch)
    (folder / "broken.toml").write_text("name = \n")
    assert load_target("raspberry-pi-4").name == "raspberry-pi-4"
    for ask in (lambda: load_target("broken"), list_targets):
        with pytest.raises(UsageError, match=r"broken\.toml, line 1: not valid TOML"):
            ask()
    wrong = _copy(folder, "wrong")
    wrong.write_text(wrong.read_text().replace("count = 4", "count = 0"))
    taken = _copy(folder, "taken")
    taken.write_text(taken.read_text().replace('title = "', 'aliases = ["rpi4"]\ntitle = "'))
    _copy(folder, "mine")
    told: list[str] = []
    found = list_targets(lambda error: told.append(error.message))
    assert {profile.name for profile in found} == {*SHIPPED, "mine"}
    assert len(told) == 3
    unread, double, zero = told
    assert "broken.toml, line 1" in unread and "two profiles are called 'rpi4'" in double
    assert "wrong.toml, line" in zero and "'cpu.clusters[0].count'" in zero


def test_two_profiles_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _own(tmp_path, monkeypatch)
    path = _copy(folder, "my-board")
    path.write_text(path.read_text().replace('title = "', 'aliases = ["rpi4"]\ntitle = "'))
    for ask in (lambda: load_target("rpi4"), list_targets):
        with pytest.raises(UsageError, match=r"two profiles are called 'rpi4': .*my-board\.toml"):
            ask()
    path.rename(folder / "other.toml")
    with pytest.raises(UsageError, match=r"other\.toml, line 2: the profile's name has to be that"):
        load_target("other")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"fp16"', '"avx2"', "clusters: Cortex-A76 has avx2, which no aarch64 has"),
        ("max_memory_bytes = 4_", "max_memory_bytes = 40_", "more than memory.ram_bytes"),
        ('name = "linux"', 'name = "none"', "os.python is given, but os.name is 'none'"),
        ('python = "3.11"', "", "onnxruntime needs an operating system, but os.name is 'none'"),
        (
            "[limits]",
            '[[accelerators]]\nid = "x"\n[limits]',
            r"'accelerators\[0\].name' is missing",
        ),
        (
            "max_frequency_hz = 2_400_000_000",
            "max_frequency_hz = 2400",
            r"'cpu.clusters\[0\].max_frequency_hz': a clock in Hz is wanted, at least 1000000 "
            r"\(1 MHz\), not 2400",
        ),
        ("\nnotes", '\ndefault_accelerator = "npu"\nnotes', "default_accelerator is 'npu', which"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    path = _copy(tmp_path, "mine")
    text = path.read_text()
    assert before in text
    text = text.replace(before, after)
    if not after:
        text = text.replace('name = "linux"', 'name = "none"')
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_target(str(path))


def test_a_support_table_that_there_is_not_is_refused(tmp_path: Path) -> None:
    path = _copy(tmp_path, "mine", "pixel-9")
    path.write_text(path.read_text().replace('"litert-gpu"', '"litert-gpi"'))
    with pytest.raises(
        UsageError, match=r"line \d+: .*no support table is called 'litert-gpi'"
    ) as e:
        load_target(str(path))
    assert e.value.hint == "did you mean 'litert-gpu'?"
