"""The agent's archive as a file, as a device has it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from edgewright.profiler.agent_archive import agent_archive

_directory = tempfile.TemporaryDirectory(prefix="edgewright-agent-")


@functools.cache
def agent_file() -> Path:
    path = Path(_directory.name) / "agent.pyz"
    path.write_bytes(agent_archive())
    return path
