"""What the agent makes of a measurement that it finds dead."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.profiler.agent import jobs, uptime


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process group of its own, whose number is that of a process before a restart."""
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as process:
        yield process
        process.kill()


def leave(directory: Path, **changes: Any) -> str:
    """A measurement's directory as a conductor that died has left it."""
    process = {**uptime.moment(), "pid": 2**22, "wall_s": 0.0, **changes}
    (directory / "job.json").write_text("{}")
    (directory / "pid").write_text(json.dumps(process))
    return str(directory)


def test_after_a_restart_its_number_is_a_strangers(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    directory = leave(tmp_path, boot_id="another", pid=stranger.pid)
    found = jobs.poll(directory, 0)
    assert (found["state"], found["end"], found["started_s_ago"]) == ("stale", "restart", None)
    assert found["boot_id"] == uptime.boot_id() != "another"
    assert jobs.stop(directory) == {"stopped": 0}
    assert stranger.poll() is None


def test_the_kernel_counts_whom_it_ends_for_memory(tmp_path: Path) -> None:
    kills = uptime.oom_kills()
    assert kills is not None
    assert jobs.poll(leave(tmp_path, oom_kills=kills), 0)["end"] == "unknown"
    assert jobs.poll(leave(tmp_path, oom_kills=kills - 1), 0)["end"] == "out-of-memory"
    assert jobs.poll(leave(tmp_path, oom_kills=None), 0)["end"] == "unknown"


def test_a_loss_of_power_may_leave_nothing_but_names(tmp_path: Path) -> None:
    for name in ("job.json", "pid", "progress.jsonl"):
        (tmp_path / name).touch()
    found = jobs.poll(str(tmp_path), 0)
    assert (found["state"], found["end"], found["progress"]) == ("stale", "unknown", [])
    assert jobs.stop(str(tmp_path)) == {"stopped": 0}


@pytest.mark.parametrize("wall_s", [0.0, 1e12])
def test_age_is_told_by_no_clock_that_anybody_sets(tmp_path: Path, wall_s: float) -> None:
    directory = leave(tmp_path, boot_s=uptime.now_s() - 50, wall_s=wall_s)
    for file in tmp_path.iterdir():
        os.utime(file, (wall_s, wall_s))
    assert jobs.poll(directory, 0)["started_s_ago"] == pytest.approx(50, abs=5)
    assert jobs.age_s(directory) == pytest.approx(50, abs=5)
