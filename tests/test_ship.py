"""The whole way, on this machine and over SSH."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clirunner import Cli
from devices.base import SshDevice

FASHION = Path(__file__).parent.parent / "examples" / "fashion-mnist"
MODEL = FASHION / "model.onnx"
REASON = "other tests run beside this one"

PROJECT = """
schema_version = 1
source = "{source}"
targets = ["host"]
devices = ["local"]

[data]
calibration = "few.npz"
evaluation = "few.npz"
metric = "agreement"

[budget]
max_drop = {max_drop}
max_p90_ms = {max_p90_ms}
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    monkeypatch.setenv("COLUMNS", "400")
    yield Cli(monkeypatch, capsys)


@pytest.fixture
def over_ssh(sshd_device: SshDevice, monkeypatch: pytest.MonkeyPatch) -> SshDevice:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(sshd_device.ssh_config_path))
    return sshd_device


def _project(folder: Path, max_drop: float = 0.03, max_p90_ms: float = 1000) -> Path:
    with np.load(FASHION / "evaluation.npz") as whole:
        images = whole["image"][:300].astype(np.float32) / 255
    np.savez(folder / "few.npz", image=images)
    path = folder / "edgewright.toml"
    path.write_text(
        PROJECT.format(source=FASHION / "model.onnx", max_drop=max_drop, max_p90_ms=max_p90_ms)
    )
    return path


def test_ship_on_this_machine(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "result"
    outcome = cli("ship", _project(tmp_path), "-o", out, "--accept-invalid", REASON, "--json")
    assert outcome.code == 0, outcome
    document = outcome.json
    assert document == json.loads((out / "result.json").read_text())
    assert document["verdict"]["passed"] is True and document["verdict"]["reasons"]
    by_name = {c["name"]: c for c in document["candidates"]}
    assert document["verdict"]["chosen"] in by_name
    assert {c["precision"] for c in by_name.values()} >= {"float32", "int8"}
    for candidate in by_name.values():
        assert Path(candidate["path"]).is_file()
        for run in candidate["runs"]:
            kept = json.loads(Path(run["file"]).read_text())
            assert len(kept["samples_ms"]) >= 20
            assert run["correctness"]["status"] == "passed"
    quantized = next(c for c in by_name.values() if c["precision"] == "int8")
    assert quantized["runs"][0]["relative_to_float"]["method"] == "paired"
    assert quantized["evaluation"]["interval"][1] <= 0.03


def test_ship_says_no_to_a_broken_budget(cli: Cli, tmp_path: Path) -> None:
    project = _project(tmp_path, max_p90_ms=0.0001)
    outcome = cli("ship", project, "-o", tmp_path / "result", "--accept-invalid", REASON)
    assert outcome.code == 1, outcome
    assert "FAILED" in outcome.out and "the budget 0.0001" in outcome.out
    document = json.loads((tmp_path / "result" / "result.json").read_text())
    verdict = document["verdict"]
    assert verdict["passed"] is False and verdict["chosen"] is None
    assert verdict["accepted_invalid"] == REASON
    assert all(not c["verdict"]["passed"] for c in document["candidates"])


def test_ship_rolls_back_what_no_interval_proves(cli: Cli, tmp_path: Path) -> None:
    """300 samples can't prove a tenth of a point, so float it is."""
    project = _project(tmp_path, max_drop=0.001)
    outcome = cli("ship", project, "-o", tmp_path / "r", "--accept-invalid", REASON, "--json")
    assert outcome.code == 0, outcome
    assert outcome.json["verdict"]["chosen"] == "onnx/float32"
    quantized = next(c for c in outcome.json["candidates"] if c["precision"] == "int8")
    assert quantized["status"] == "rolled back" and quantized["runs"] == []


def test_ship_over_ssh(cli: Cli, over_ssh: SshDevice, tmp_path: Path) -> None:
    outcome = cli(
        "ship", _project(tmp_path), "--device", over_ssh.url, "-o", tmp_path / "result",
        "--accept-invalid", REASON, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    runs = [run for c in outcome.json["candidates"] for run in c["runs"]]
    assert runs and all(run["device"] == over_ssh.url for run in runs)


def test_a_device_out_of_reach_is_said_before_the_work(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "result"
    cli.refuses("ship", _project(tmp_path), "-d", "ssh://me@127.0.0.1:1", "-o", out, code=3)
    assert not list(out.iterdir())


def test_host_keys_are_enforced(
    cli: Cli, over_ssh: SshDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FASHION / "model.onnx"
    over_ssh.change_host_key()
    changed = cli.refuses("profile", model, "-d", over_ssh.url, code=3, saying="key")
    assert "ssh-keygen -R" in changed.err
    over_ssh.known_hosts_path.write_text("")
    unknown = cli.refuses("profile", model, "-d", over_ssh.url, code=3)
    assert "ssh-keyscan" in unknown.err


def test_wrong_credentials(cli: Cli, over_ssh: SshDevice) -> None:
    over_ssh.files.authorized_keys.write_text("")
    model = FASHION / "model.onnx"
    refused = cli.refuses("profile", model, "-d", over_ssh.url, code=3, saying="access denied")
    assert "authorized_keys" in refused.err


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """An interrupted measurement ends at once, and takes away what it sent."""
    device = tmp_path / "device"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "edgewright",
            "profile",
            FASHION / "model.onnx",
            "--mode",
            "release",
        ],
        env={**os.environ, "EDGEWRIGHT_DEVICE_DIR": str(device)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("warm-up"):
            break
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "interrupted" in said and "Traceback" not in said
    assert [p.name for p in device.rglob("*") if p.is_file()] == ["lock"]
    # Nothing runs there any more: the lock is free.
    with (device / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
