"""The command that starts one device for a person."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from devices.sshd import find_sshd


@contextmanager
def serving(name: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "devices.serve", name],
        cwd=Path(__file__).parent,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.device
@pytest.mark.parametrize("name", ["sshd", "arm64"])
def test_it_says_how_to_reach_the_device_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    find_sshd()
    with serving(name, TMPDIR=str(tmp_path)) as process:
        assert process.stdout is not None
        variable, _, config = process.stdout.readline().strip().partition("=")
        command = process.stdout.readline()
        assert variable == "export EDGEWRIGHT_SSH_CONFIG"
        assert "edgewright profile MODEL --device ssh://" in command
        answer = ["ssh", "-F", config, "edgewright-device", "uname -m"]
        said = subprocess.run(answer, capture_output=True, text=True, timeout=60)
        assert said.stdout == {"sshd": f"{os.uname().machine}\n", "arm64": "aarch64\n"}[name]
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_said(tmp_path: Path) -> None:
    with serving("virt", EDGEWRIGHT_TEST_CACHE=str(tmp_path)) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith("virt: no") and "Traceback" not in said
