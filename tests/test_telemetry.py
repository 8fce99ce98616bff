"""Nothing is kept for the makers of a runtime, here or on a device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).parent.parent / "examples" / "fashion-mnist" / "model.onnx"
# Where tests of its own or CI run, ONNX Runtime keeps nothing anyhow.
QUIETING = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")


@pytest.mark.parametrize("command", ["inspect", "profile"])
def test_only_edgewrights_own_files_are_left(tmp_path: Path, command: str) -> None:
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in QUIETING}
    environment |= {"HOME": str(home), "TMPDIR": str(scratch)}
    done = subprocess.run(
        [sys.executable, "-m", "edgewright", command, MODEL],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    left = {path.relative_to(home).parts[:2] for path in home.rglob("*") if path.is_file()}
    assert left <= {(".cache", "edgewright")}
    assert list(scratch.iterdir()) == []
