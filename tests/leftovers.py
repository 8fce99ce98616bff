"""Measurements on this machine as a device, and what they may have left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devices.processes import wait_until
from small_models import LONG

from edgewright.profiler.cleaning import clean
from edgewright.profiler.deploy import Agent
from edgewright.profiler.job import MeasuredModel, Sampling
from edgewright.profiler.transports.local import LocalTransport


def begin(
    agent: Agent,
    model: MeasuredModel,
    owner: Mapping[str, Any],
    run_id: str = "run",
    sampling: Sampling = LONG,
    deadline_s: float = 60,
) -> Path:
    """Starts a measurement of an ONNX model with one input, and returns its directory."""
    directory = Path(agent.base) / "runs" / run_id
    directory.mkdir()
    inputs = directory / "inputs.npz"
    np.savez(inputs, i0_0=model.inputs[0][0])
    described = {
        "name": model.name,
        "runtime": "onnxruntime",
        "path": str(model.path),
        "size_bytes": model.size_bytes,
        "inputs_path": str(inputs),
        "input_count": 1,
    }
    job = {
        "threads": 1,
        "cpus": None,
        "cluster_counts": None,
        "limits": {"load_s": 60, "inference_s": 60},
        "deadline_s": deadline_s,
        "sampling": asdict(sampling),
        "models": [described],
    }
    (directory / "job.json").write_text(json.dumps(job))
    agent.ask("start", str(directory), "--owner", json.dumps(owner))
    return directory


def processes_of(base: Path) -> list[int]:
    """Living processes whose command line names a file below `base`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{base}/".encode() in words:
                found.append(int(entry.name))
    return found


def nothing_is_left(base: Path) -> None:
    """Nothing runs, no measurement lies there and no half-sent file; cleaning takes the rest."""
    wait_until(lambda: not processes_of(base))
    assert list((base / "runs").glob("*")) == []
    assert list(base.rglob("*.part")) == []
    transport = LocalTransport()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_DEVICE_DIR", str(base))
        cleaned = clean(transport)
    assert (cleaned.processes, cleaned.kept) == ((), ())
    assert not base.exists()
