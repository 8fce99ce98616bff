"""Fixtures of the transports' tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root: that a full disk is named is NOT TESTED")
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount_point)],
        capture_output=True,
        text=True,
    )
    if mounting.returncode != 0:
        pytest.skip(f"no disk can be mounted here, a full disk is NOT TESTED: {mounting.stderr}")
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", "-l", str(mount_point)], check=True)
