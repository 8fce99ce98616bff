"""Bringing a runtime to a device: a small one, made here, to this machine's own disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from devices.base import DeviceUnavailable

from edgewright.errors import (
    DeviceError,
    IntegrityError,
    NoSpaceOnDevice,
    RuntimeMissing,
    Unreachable,
)
from edgewright.files import sha256_file
from edgewright.profiler.device_runtime.bundle import (
    Bundle,
    digest_of_files,
    with_list,
    write_archive,
)
from edgewright.profiler.device_runtime.cache import Kept, keep, prepare_cache
from edgewright.profiler.device_runtime.install import install_runtime
from edgewright.profiler.device_runtime.recipe import recipe_for
from edgewright.profiler.transports.base import Completed, Progress
from edgewright.profiler.transports.local import LocalTransport

LAUNCHER = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
#: More than the smallest piece that a resumed copy goes on from.
BALLAST = os.urandom(3 << 20)


@pytest.fixture
def kept() -> Kept:
    """A runtime in the cache whose Python is the one that runs the tests."""
    files = with_list(
        {"python": LAUNCHER.encode(), "lib/ballast": BALLAST, "site/a/b.py": b"VALUE = 1\n"}
    )
    archive = prepare_cache() / "new.tar.gz"
    write_archive(files, frozenset({"python"}), archive)
    bundle = Bundle(
        sha256=sha256_file(archive),
        files_sha256=digest_of_files(files),
        archive_bytes=archive.stat().st_size,
        installed_bytes=sum(map(len, files.values())),
        files=len(files),
        architecture="x86_64",
        runtime="onnxruntime",
        runtime_version="0.0",
        python_version="3.11.2",
        numpy_version="1.24.2",
        recipe=recipe_for("x86_64", "onnxruntime").digest,
        compiled=True,
        ingredients=(),
    )
    return keep(bundle, archive)


class Counting(LocalTransport):
    """Says how many copies were made, and what they began with."""

    def __init__(self) -> None:
        super().__init__()
        self.pushed: list[int] = []

    def push(
        self,
        local: Path,
        remote: str,
        progress: Progress | None = None,
        *,
        mode: int = 0o600,
        resume: bool = False,
    ) -> None:
        there = Path(remote).stat().st_size if Path(remote).exists() else 0
        self.pushed.append(there)
        super().push(local, remote, progress, mode=mode, resume=resume)


def install(transport: LocalTransport, base: Path, kept: Kept) -> Path:
    """Installs it, has its Python say something, and returns where it is."""
    found = install_runtime(transport, str(base), kept)
    done = transport.run([*found.python, "-c", "print(1 + 1)"])
    assert done.stdout == "2\n", done
    place = base / "runtimes" / kept.bundle.sha256
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    return place


def test_it_is_sent_once(tmp_path: Path, kept: Kept) -> None:
    transport = Counting()
    place = install(transport, tmp_path, kept)
    assert (place / "lib/ballast").read_bytes() == BALLAST
    assert (place / "tmp").is_dir()
    install(transport, tmp_path, kept)
    assert transport.pushed == [0]


@pytest.mark.device
def test_with_androids_shell_and_tools(
    tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    toybox, mksh = shutil.which("toybox"), shutil.which("mksh")
    if toybox is None or mksh is None:
        raise DeviceUnavailable("no toybox or no mksh here: install the packages")
    tools = tmp_path / "bin"
    tools.mkdir()
    listed = subprocess.run([toybox], capture_output=True, text=True, check=True).stdout
    for name in listed.split():
        (tools / name).symlink_to(toybox)
    (tools / "sh").unlink(missing_ok=True)
    (tools / "sh").symlink_to(mksh)
    monkeypatch.setenv("PATH", str(tools))
    transport = Counting()
    place = install(transport, tmp_path / "base", kept)
    (place / "site/a/b.py").write_text("VALUE = 2\n")
    install(transport, tmp_path / "base", kept)
    assert (place / "site/a/b.py").read_text() == "VALUE = 1\n"
    install(transport, tmp_path / "base", kept)
    assert transport.pushed == [0, 0]


@pytest.mark.parametrize("damage", ["changed", "deleted", "list"])
def test_a_damaged_one_is_done_again(tmp_path: Path, kept: Kept, damage: str) -> None:
    transport = Counting()
    place = install(transport, tmp_path, kept)
    if damage == "changed":
        (place / "site/a/b.py").write_text("VALUE = 2\n")
    elif damage == "deleted":
        (place / "lib/ballast").unlink()
    else:
        (place / "FILES").write_text("python\n")
    install(transport, tmp_path, kept)
    assert (place / "site/a/b.py").read_text() == "VALUE = 1\n"
    assert transport.pushed == [0, 0]


def test_a_cut_transfer_goes_on(tmp_path: Path, kept: Kept) -> None:
    class Cut(Counting):
        def push(self, local: Path, remote: str, *args: object, **named: object) -> None:
            Path(remote).write_bytes(local.read_bytes()[: 1 << 20])
            raise Unreachable("the link is gone")

    with pytest.raises(Unreachable):
        install_runtime(Cut(), str(tmp_path), kept)
    transport = Counting()
    steps: list[int] = []
    install_runtime(transport, str(tmp_path), kept, lambda done, total: steps.append(done))
    assert transport.pushed == [1 << 20]
    assert steps[0] == 1 << 20 and steps[-1] == kept.bundle.archive_bytes
    install(transport, tmp_path, kept)


def test_a_beginning_that_is_damaged_is_sent_anew(tmp_path: Path, kept: Kept) -> None:
    class Cut(Counting):
        def push(self, local: Path, remote: str, *args: object, **named: object) -> None:
            Path(remote).write_bytes(bytes(1 << 20))
            raise Unreachable("the link is gone")

    with pytest.raises(Unreachable):
        install_runtime(Cut(), str(tmp_path), kept)
    transport = Counting()
    install(transport, tmp_path, kept)
    assert transport.pushed == [1 << 20, 0]


def test_what_always_arrives_damaged_is_refused(tmp_path: Path, kept: Kept) -> None:
    class Damaging(Counting):
        def push(self, local: Path, remote: str, *args: object, **named: object) -> None:
            super().push(local, remote)
            with Path(remote).open("r+b") as handle:
                handle.write(b"?")

    transport = Damaging()
    with pytest.raises(IntegrityError, match="damaged, twice"):
        install_runtime(transport, str(tmp_path), kept)
    assert len(transport.pushed) == 2
    assert list((tmp_path / "runtimes").iterdir()) == []


def test_what_was_left_half_unpacked_is_no_runtime(tmp_path: Path, kept: Kept) -> None:
    place = install(Counting(), tmp_path, kept)
    half = place.with_name(f"{place.name}.0123.part")
    place.rename(half)
    (half / "python").unlink()
    old = place.with_name("0" * 64)
    old.mkdir()
    long_ago = half.stat().st_mtime - 40 * 86400
    for path in (half, old):
        os.utime(path, (long_ago, long_ago))
    transport = Counting()
    install(transport, tmp_path, kept)  # which also looks whether both are gone
    assert transport.pushed == [0]


def test_no_tool_to_unpack_with(
    tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "mkdir", "xargs", "gzip", "tar", "df", "setsid"):
        (tools / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(RuntimeMissing, match="has no sha256sum") as raised:
        install_runtime(LocalTransport(), str(tmp_path / "base"), kept)
    assert raised.value.hint


def test_a_device_that_prints_something_else(tmp_path: Path, kept: Kept) -> None:
    class Chatty(LocalTransport):
        def run(self, command: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
            done = super().run(command, timeout_s=timeout_s)
            return Completed(done.code, f"Welcome!\n{done.stdout}", done.stderr)

    with pytest.raises(DeviceError, match="makes no sense"):
        install_runtime(Chatty(), str(tmp_path), kept)


def mounted(directory: Path, options: str) -> Iterator[Path]:
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"can't mount: {done.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "small", "size=5m")


@pytest.fixture
def noexec_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "noexec", "size=64m,noexec")


def test_no_space(small_disk: Path, kept: Kept) -> None:
    transport = Counting()
    with pytest.raises(NoSpaceOnDevice, match="the runtime needs 6 MB") as raised:
        install_runtime(transport, str(small_disk), kept)
    assert raised.value.hint and not transport.pushed


def test_no_space_that_df_did_not_foresee(
    small_disk: Path, tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "df").write_text("#!/bin/sh\necho tmpfs 1 1 999999 1% /\n")
    (tools / "df").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(NoSpaceOnDevice):
        install_runtime(Counting(), str(small_disk), kept)
    assert list((small_disk / "runtimes").iterdir()) == []


def test_nothing_may_be_executed_there(noexec_disk: Path, kept: Kept) -> None:
    transport = Counting()
    with pytest.raises(RuntimeMissing, match="'noexec'") as raised:
        install_runtime(transport, str(noexec_disk), kept)
    assert "EDGEWRIGHT_DEVICE_DIR" in str(raised.value.hint) and not transport.pushed
    assert list((noexec_disk / "runtimes").iterdir()) == []


def test_nothing_may_be_written_there(small_disk: Path, kept: Kept) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(DeviceError, match="read-only"):
        install_runtime(Counting(), str(small_disk), kept)
