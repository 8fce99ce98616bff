"""The benchmark of the agent's overhead: its bare loops are compiled and run for real."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import GOLDEN, matmul

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "overhead.py"

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def overhead(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_both_loops_beside_the_agent(tmp_path: Path) -> None:
    model, report = matmul(tmp_path / "m.onnx"), tmp_path / "overhead.json"
    done = overhead(model, GOLDEN / "tiny_float.tflite", "--rounds", "2", "--json", report)
    assert "m.onnx" in done.stdout and "tiny_float.tflite" in done.stdout, done.stderr
    onnx, tflite = json.loads(report.read_text())["overhead"]
    for found in (onnx, tflite):
        assert 0 < found["bare_p50_ms"] < 1 and 0 < found["agent_p50_ms"] < 1
        assert found["interval"][0] <= found["ratio"] <= found["interval"][1]
        assert found["pairs"] == 2 and found["inferences"] >= 10
    assert onnx["verdict"] in ("within", "too short")


def test_a_model_that_the_loop_cannot_run_is_said_so(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    done = overhead(broken)
    assert done.returncode == 2
    assert "broken.tflite" in done.stdout and "Traceback" not in done.stderr


def test_no_compiler(tmp_path: Path) -> None:
    if importlib.util.find_spec("ziglang"):
        pytest.skip("ziglang is installed, which is one")
    done = overhead(matmul(tmp_path / "m.onnx"), PATH=str(tmp_path))
    assert done.returncode == 2
    assert "no C compiler" in done.stdout and "apt install gcc" in done.stdout
