"""Building runtimes for devices: recipes, archives, the cache, and what can be missing here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
from clirunner import Cli

from edgewright.errors import RuntimeMissing, UsageError
from edgewright.files import sha256_file
from edgewright.profiler.arrival import arrive
from edgewright.profiler.device_runtime import wheels
from edgewright.profiler.device_runtime.bundle import (
    Bundle,
    digest_of_files,
    with_list,
    write_archive,
)
from edgewright.profiler.device_runtime.cache import (
    Kept,
    cache_directory,
    find_by_name,
    find_kept,
    keep,
    list_kept,
    prepare_cache,
    remove_kept,
)
from edgewright.profiler.device_runtime.libraries import (
    choose_libraries,
    needed_by,
    without_symbols,
)
from edgewright.profiler.device_runtime.packages import (
    Package,
    PackageSource,
    fetch_packages,
    read_package,
)
from edgewright.profiler.device_runtime.recipe import PLATFORMS, PYTHON_PACKAGES, recipe_for
from edgewright.profiler.device_runtime.wheels import fetch_wheel, read_wheel
from edgewright.profiler.job import MeasureSettings
from edgewright.profiler.transports.local import LocalTransport
from edgewright.targets.profile import Architecture, RuntimeName

FILES = {"python": b"#!/bin/sh\n", "lib/a.so": b"\x7fELF", "site/a/b/c.pyc": b"code"}


def make_kept(
    content: bytes = b"1",
    architecture: Architecture = "x86_64",
    runtime: RuntimeName = "onnxruntime",
    recipe: str | None = None,
) -> Kept:
    files = with_list({**FILES, "content": content})
    archive = prepare_cache() / "new.tar.gz"
    write_archive(files, frozenset({"python"}), archive)
    return keep(
        Bundle(
            sha256=sha256_file(archive),
            files_sha256=digest_of_files(files),
            archive_bytes=archive.stat().st_size,
            installed_bytes=sum(map(len, files.values())),
            files=len(files),
            architecture=architecture,
            runtime=runtime,
            runtime_version="1.0",
            python_version="3.11.2",
            numpy_version="1.24.2",
            recipe=recipe or recipe_for(architecture, runtime).digest,
            compiled=True,
            ingredients=(),
        ),
        archive,
    )


def test_a_recipe_is_known_by_what_is_in_it() -> None:
    recipe = recipe_for("aarch64", "onnxruntime")
    assert recipe.digest == recipe_for("aarch64", "onnxruntime").digest
    others = [
        recipe_for("x86_64", "onnxruntime"),
        recipe_for("aarch64", "ai_edge_litert"),
        recipe.model_copy(update={"wheel": "onnxruntime==0.1"}),
        recipe.model_copy(update={"left_out": recipe.left_out[1:]}),
        recipe.model_copy(update={"stub": ""}),
    ]
    assert len({recipe.digest, *(other.digest for other in others)}) == 6


def test_there_is_no_recipe_without_a_wheel() -> None:
    with pytest.raises(UsageError, match="no wheel for armv7l") as raised:
        recipe_for("armv7l", "onnxruntime")
    assert raised.value.hint == "build tflite_runtime for armv7l"


def test_an_archive_is_its_files(tmp_path: Path) -> None:
    files = with_list(FILES)
    backwards = with_list(dict(reversed(FILES.items())))
    one, other = tmp_path / "one.tar.gz", tmp_path / "other.tar.gz"
    write_archive(files, frozenset({"python"}), one)
    write_archive(backwards, frozenset({"python"}), other)
    assert one.read_bytes() == other.read_bytes()
    with tarfile.open(one) as archive:
        members = {member.name: member for member in archive}
        assert members["python"].mode == 0o755 and members["lib/a.so"].mode == 0o644
        assert members["site/a/b"].isdir()
        archive.extractall(tmp_path, filter="data")
    line = "xargs sha256sum < FILES | sha256sum"
    said = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True).stdout
    assert said.split()[0] == digest_of_files(files)


def test_a_description_survives_its_file() -> None:
    bundle = make_kept().bundle
    assert Bundle.model_validate_json(bundle.model_dump_json()) == bundle


def test_the_cache_keeps_the_newest_of_each_kind() -> None:
    old, other = make_kept(b"1"), make_kept(b"1", runtime="ai_edge_litert")
    new = make_kept(b"2")
    assert {kept.bundle.sha256 for kept in list_kept()} == {
        new.bundle.sha256,
        other.bundle.sha256,
    }
    assert not old.archive.exists() and not old.description.exists()
    assert find_kept("x86_64", ["onnxruntime"]) == new
    assert find_kept("x86_64", ["tflite_runtime", "ai_edge_litert"]) == other
    assert find_kept("aarch64", ["onnxruntime"]) is None


def test_one_of_an_older_recipe_is_shown_and_not_used() -> None:
    kept = make_kept(recipe="0" * 16)
    assert list_kept() == [kept] and not kept.is_current
    assert find_kept("x86_64", ["onnxruntime"]) is None


def test_what_is_not_whole_is_no_runtime() -> None:
    kept = make_kept()
    (cache_directory() / "notes.json").write_text("{}")
    assert list_kept() == [kept]
    kept.archive.write_bytes(kept.archive.read_bytes()[:-1])
    assert list_kept() == []


def test_names_in_the_cache() -> None:
    kept = make_kept()
    assert find_by_name(kept.bundle.sha256[:12]) == kept
    assert find_by_name("onnxruntime-x86_64") == kept
    for name in ("", "abc", "onnxruntime"):
        with pytest.raises(UsageError, match="are called"):
            find_by_name(name)
    remove_kept(kept)
    assert list(cache_directory().iterdir()) == []


def _module() -> Path:
    import _ctypes

    return Path(_ctypes.__file__)


def test_what_a_module_needs() -> None:
    content = _module().read_bytes()
    [own] = [name for name in PLATFORMS if name == os.uname().machine]
    assert "libc.so.6" in needed_by("m", content, own)
    other: Architecture = "aarch64" if own != "aarch64" else "x86_64"
    with pytest.raises(UsageError, match=f"not for {other}"):
        needed_by("m", content, other)
    with pytest.raises(UsageError, match="damaged"):
        needed_by("m", content[:30], own)


def test_libraries_of_libraries_are_found() -> None:
    content = _module().read_bytes()
    [own] = [name for name in PLATFORMS if name == os.uname().machine]
    needed = dict.fromkeys(needed_by("m", content, own), content)
    chosen, unloadable = choose_libraries({"a/m.so": content, "b": b"text"}, needed, own)
    assert set(chosen) == set(needed) and not unloadable
    del needed["libc.so.6"]
    chosen, unloadable = choose_libraries({"a/m.so": content}, needed, own)
    assert not chosen and unloadable == {"a/m.so": "libc.so.6"}


def test_a_module_works_without_its_symbols(tmp_path: Path) -> None:
    whole = _module()
    path = tmp_path / whole.name
    path.write_bytes(without_symbols(whole.read_bytes()))
    assert path.stat().st_size < whole.stat().st_size
    script = "import sys; sys.path.insert(0, sys.argv[1]); import _ctypes; print(_ctypes.__file__)"
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == str(path), done.stderr
    assert without_symbols(b"text") == b"text"


def _packages(source: PackageSource, tmp_path: Path) -> None:
    fetch_packages(["libc6"], PYTHON_PACKAGES, PLATFORMS["aarch64"], source, tmp_path / "scratch")


def test_no_apt_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no apt-get here") as raised:
        _packages(PackageSource(), tmp_path)
    assert "--packages" in str(raised.value.hint)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get here")
def test_a_mirror_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no Python for arm64: .*127\.0\.0\.1") as raised:
        _packages(PackageSource(mirror="http://127.0.0.1:9/debian bookworm"), tmp_path)
    assert "check the connection" in str(raised.value.hint)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get here")
@pytest.mark.parametrize("mirror", ["http://127.0.0.1:9/debian", "a b\ndeb c d", "[x=y] a b"])
def test_what_is_no_mirror(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(UsageError, match="is no mirror and suite"):
        _packages(PackageSource(mirror=mirror), tmp_path)


def test_a_directory_of_packages(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no directory"):
        _packages(PackageSource(directory=tmp_path / "none"), tmp_path)
    for name in (
        "libc6_2.36-9+deb12u14_arm64.deb",
        "libc6_2.36-9_amd64.deb",
        "python3.11-minimal_3.11.2-6+deb12u9_arm64.deb",
        "libpython3.11-minimal_3.11.2-6_arm64.deb",
        "README",
    ):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"for arm64: libpython3\.11-stdlib$"):
        _packages(PackageSource(directory=tmp_path), tmp_path)


def test_names_of_packages() -> None:
    package = Package.of(Path("python3-numpy_1%3a1.24.2-1+deb12u1_arm64.deb"))
    assert package is not None
    assert (package.name, package.version) == ("python3-numpy", "1:1.24.2-1+deb12u1")
    assert package.upstream == "1.24.2"
    assert Package.of(Path("whatever.deb")) is None


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")
def test_files_of_packages(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: a\n"
    )
    (root / "file").write_text("content")
    (root / "hard").hardlink_to(root / "file")
    (root / "soft").symlink_to("file")
    deb = tmp_path / "a.deb"
    subprocess.run(["dpkg-deb", "--build", root, deb], check=True, capture_output=True)
    found = {path: (content, target) for path, content, target in read_package(deb)}
    assert found == {
        "file": (b"content", None),
        "hard": (b"content", None),
        "soft": (None, "file"),
    }
    deb.write_bytes(deb.read_bytes()[:-30])
    with pytest.raises(UsageError, match="is no Debian package"):
        list(read_package(deb))


def _wheel(tmp_path: Path) -> None:
    fetch_wheel(recipe_for("aarch64", "onnxruntime"), "3.11", 36, tmp_path)


def test_no_pip_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(wheels.sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(UsageError, match="has no pip") as raised:
        _wheel(tmp_path)
    assert "ensurepip" in str(raised.value.hint)


def _only(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Has pip know nothing but these settings."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)


def test_no_connection_to_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, INDEX_URL="http://127.0.0.1:9/simple")
    with pytest.raises(UsageError, match="no connection to a package index"):
        _wheel(tmp_path)


def test_no_wheel_for_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, NO_INDEX="1", FIND_LINKS=str(tmp_path))
    with pytest.raises(UsageError, match=r"no wheel of onnxruntime==.* for Python 3\.11"):
        _wheel(tmp_path)


def test_a_damaged_wheel(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"a\.whl is no wheel"):
        list(read_wheel(tmp_path / "a.whl"))


def test_what_to_do_where_nothing_is_built(tmp_path: Path) -> None:
    class Bare(LocalTransport):
        address = "ssh://pi@board"

    def arrival(*formats: str, bundled: bool | None) -> str:
        settings = MeasureSettings(base=str(tmp_path), python="no-such-python", bundled=bundled)
        with pytest.raises(RuntimeMissing) as raised:
            arrive(Bare(), formats, settings, lambda action: action())  # type: ignore[arg-type]
        return f"{raised.value.message}\n{raised.value.hint}"

    command = "edgewright runtime build --device ssh://pi@board --runtime onnxruntime"
    assert command in arrival("onnx", bundled=True)
    assert "one runtime reads one format" in arrival("onnx", "tflite", bundled=True)
    assert "runtime build" not in arrival("onnx", bundled=False)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_list_and_remove(cli: Cli) -> None:
    assert "no runtime is built" in cli("runtime", "list").out
    kept = make_kept()
    assert kept.bundle.sha256[:12] in cli("runtime", "list").out
    [shown] = cli("runtime", "list", "--json").json["runtimes"]
    assert shown["sha256"] == kept.bundle.sha256 and shown["is_current"] is True
    cli.refuses("runtime", "remove", saying="say which")
    cli.refuses("runtime", "remove", "ffff00", saying="are called 'ffff00'")
    assert "removed onnxruntime 1.0" in cli("runtime", "remove", kept.bundle.sha256[:8]).out
    make_kept()
    assert len(cli("runtime", "remove", "--all", "--json").json["removed"]) == 1
    assert list_kept() == []


@pytest.mark.parametrize(
    ("arguments", "architecture", "runtime"),
    [
        (["--target", "pixel-9", "--runtime", "litert"], "aarch64", "ai_edge_litert"),
        (["--target", "raspberry-pi-4", "--runtime", "onnxruntime"], "aarch64", "onnxruntime"),
        (["--device", "local"], os.uname().machine, "onnxruntime"),
    ],
)
def test_what_would_be_built(
    cli: Cli, arguments: list[str], architecture: str, runtime: str
) -> None:
    shown = cli("runtime", "build", *arguments, "--dry-run", "--json").json
    assert (shown["architecture"], shown["runtime"]) == (architecture, runtime)
    assert runtime.replace("_", "-") in cli("runtime", "build", *arguments, "--dry-run").out
    assert not cache_directory().exists()


def test_build_is_told_what_for(cli: Cli) -> None:
    cli.refuses("runtime", "build", saying="nothing says which device")
    both = ("--target", "pixel-9", "--device", "local")
    cli.refuses("runtime", "build", *both, saying="exclude each other")
    cli.refuses("runtime", "build", "--target", "no-such", saying="no-such")
    sources = ("--mirror", "a b", "--packages", ".")
    cli.refuses("runtime", "build", "--target", "pixel-9", *sources, saying="exclude each other")
