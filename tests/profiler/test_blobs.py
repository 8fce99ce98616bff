"""Large files on a device: taken up where they were cut, proven, and not hashed without need."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from small_models import measured, save

from edgewright.errors import IntegrityError, NoSpaceOnDevice, Unreachable
from edgewright.profiler import blobs as host_blobs
from edgewright.profiler.agent import blobs
from edgewright.profiler.blobs import Blob, deploy
from edgewright.profiler.deploy import install_agent
from edgewright.profiler.job import MeasureSettings, ProgressEvent
from edgewright.profiler.measure import measure
from edgewright.profiler.transports.local import LocalTransport

SIZE = 5_000_000


class Cut(LocalTransport):
    """This machine, with a link that breaks in the middle of a push, `cuts` times."""

    def __init__(self, cuts: int) -> None:
        self.cuts = cuts

    def push(self, local: Path, remote: str, progress: Any = None, **options: Any) -> None:
        def cut(done: int, size: int) -> None:
            if progress:
                progress(done, size)
            if self.cuts and done > size // 2 and size >= SIZE:
                self.cuts -= 1
                raise Unreachable("local: cut")

        super().push(local, remote, cut, **options)


@pytest.fixture
def model(tmp_path: Path) -> Blob:
    path = tmp_path / "model.onnx"
    path.write_bytes(os.urandom(SIZE))
    return Blob.of(path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "device"


def unfinished(base: Path) -> list[Path]:
    return list((base / "blobs").glob("*.part"))


def test_a_cut_delivery_goes_on_with_the_next_call(base: Path, model: Blob) -> None:
    with pytest.raises(Unreachable):
        deploy(install_agent(Cut(1), base=str(base)), [model])
    [part] = unfinished(base)
    arrived = part.stat().st_size
    assert SIZE // 2 < arrived < SIZE
    steps: list[tuple[int, int]] = []
    agent = install_agent(LocalTransport(), base=str(base))
    deployed = deploy(agent, [model], lambda done, total: steps.append((done, total)))
    assert steps[0] == (arrived, SIZE) and steps[-1] == (SIZE, SIZE)
    assert (deployed.sent_bytes, deployed.reused_bytes) == (SIZE - arrived, arrived)
    assert Path(deployed.paths[0]).read_bytes() == model.path.read_bytes()
    assert unfinished(base) == []
    again = deploy(agent, [model])
    assert (again.sent, again.sent_bytes, again.reused_bytes) == ((), 0, SIZE)


def test_what_arrived_damaged_is_sent_anew(base: Path, model: Blob) -> None:
    with pytest.raises(Unreachable):
        deploy(install_agent(Cut(1), base=str(base)), [model])
    [part] = unfinished(base)
    with part.open("r+b") as handle:
        handle.write(b"a cell of the card went bad")
    arrived = part.stat().st_size
    deployed = deploy(install_agent(LocalTransport(), base=str(base)), [model])
    assert deployed.sent_bytes == SIZE - arrived + SIZE
    assert Path(deployed.paths[0]).read_bytes() == model.path.read_bytes()
    assert unfinished(base) == []


def test_a_device_that_damages_everything_is_told_so(base: Path, model: Blob) -> None:
    class Damaging(LocalTransport):
        def push(self, local: Path, remote: str, *arguments: Any, **options: Any) -> None:
            super().push(local, remote, *arguments, **options)
            if ".onnx" in remote:
                with Path(remote).open("r+b") as handle:
                    handle.write(b"damage")

    with pytest.raises(Unreachable):
        deploy(install_agent(Cut(1), base=str(base)), [model])
    with pytest.raises(IntegrityError, match="arrived as sha256"):
        deploy(install_agent(Damaging(), base=str(base)), [model])
    assert unfinished(base) == []


def test_ctrl_c_deletes_what_had_arrived_before_too(base: Path, tmp_path: Path) -> None:
    ballast = np.zeros(SIZE, np.uint8)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save(tmp_path / "m.onnx", [node], w=np.ones((16, 16), np.float32), ballast=ballast)
    with pytest.raises(Unreachable):
        deploy(install_agent(Cut(1), base=str(base)), [Blob.of(path)])
    assert len(unfinished(base)) == 1

    def interrupt(event: ProgressEvent) -> None:
        if event.phase == "push" and event.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(LocalTransport(), [measured(path)], MeasureSettings(base=str(base)), interrupt)
    assert unfinished(base) == []


def test_hosts_do_not_share_an_unfinished_copy(
    base: Path, model: Blob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unreachable):
        deploy(install_agent(Cut(1), base=str(base)), [model])
    monkeypatch.setattr(host_blobs, "owner_name", lambda: "ann@another")
    with pytest.raises(Unreachable):
        deploy(install_agent(Cut(1), base=str(base)), [model])
    assert len(unfinished(base)) == 2


def test_room_is_needed_for_the_rest_alone(base: Path, model: Blob) -> None:
    with pytest.raises(Unreachable):
        deploy(install_agent(Cut(1), base=str(base)), [model])
    [part] = unfinished(base)
    rest = SIZE - part.stat().st_size
    agent = install_agent(LocalTransport(), base=str(base))
    with pytest.raises(NoSpaceOnDevice, match=f"{rest} bytes to send"):
        deploy(replace(agent, free_bytes=rest + host_blobs.MARGIN_BYTES - 1), [model])
    deploy(replace(agent, free_bytes=rest + host_blobs.MARGIN_BYTES), [model])


def test_abandoned_copies_are_deleted(base: Path, model: Blob) -> None:
    agent = install_agent(LocalTransport(), base=str(base))
    young, old, ahead = (base / "blobs" / f"{name}.part" for name in ("young", "old", "ahead"))
    for path, age_s in ((young, 23 * 3600), (old, 25 * 3600), (ahead, -25 * 3600)):
        path.write_bytes(b"beginning")
        os.utime(path, (time.time() - age_s, time.time() - age_s))
    deploy(agent, [model])
    assert unfinished(base) == [young]


def test_an_unchanged_file_is_not_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "blobs" / "model"
    path.parent.mkdir()
    path.write_bytes(bytes(SIZE))
    right = hashlib.sha256(bytes(SIZE)).hexdigest()
    assert blobs.noted_sha256(str(path)) == right
    notes = tmp_path / "blobs.json"
    # A note that is not true shows that it is believed.
    notes.write_text(notes.read_text().replace(right, "believed"))
    assert blobs.noted_sha256(str(path)) == "believed"


@pytest.mark.parametrize("damage", ["rewritten", "truncated", "replaced", "restarted", "no notes"])
def test_a_changed_file_is_hashed_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "blobs" / "model"
    path.parent.mkdir()
    path.write_bytes(bytes(SIZE))
    before = path.stat()
    digest = blobs.noted_sha256(str(path))
    assert digest is not None
    notes = tmp_path / "blobs.json"
    notes.write_text(notes.read_text().replace(digest, "believed"))
    time.sleep(0.02)  # the clock of a file system ticks slowly
    if damage == "rewritten":
        with path.open("r+b") as handle:
            handle.write(b"damage")
    elif damage == "truncated":
        os.truncate(path, SIZE - 1)
    elif damage == "replaced":
        other = tmp_path / "other"
        other.write_bytes(bytes(SIZE))
        other.replace(path)
    elif damage == "restarted":
        boot = tmp_path / "sys/kernel/random/boot_id"
        boot.parent.mkdir(parents=True)
        boot.write_text("another run")
        monkeypatch.setattr(blobs, "PROC", str(tmp_path))
    else:
        notes.write_text('{"model": [')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert blobs.noted_sha256(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_small_files_and_gone_ones_are_not_noted(tmp_path: Path) -> None:
    small, large = tmp_path / "blobs" / "small", tmp_path / "blobs" / "large"
    small.parent.mkdir()
    small.write_bytes(b"small")
    large.write_bytes(bytes(SIZE))
    assert blobs.noted_sha256(str(small)) == hashlib.sha256(b"small").hexdigest()
    assert not (tmp_path / "blobs.json").exists()
    blobs.noted_sha256(str(large))
    large.rename(large.with_name("renamed"))
    blobs.noted_sha256(str(large.with_name("renamed")))
    assert list(json.loads((tmp_path / "blobs.json").read_text())) == ["renamed"]
    assert blobs.noted_sha256(str(large)) is None


def test_a_user_without_a_name_sends_large_files_too(
    base: Path, model: Blob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may run as a number that is in no list of users."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    deployed = deploy(install_agent(LocalTransport(), base=str(base)), [model])
    assert deployed.sent_bytes == model.size_bytes
