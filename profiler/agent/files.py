"""Files: whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import List, Optional

from .common import read_text

STDERR_LINES = 40


def sha256(path: str) -> Optional[str]:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            for chunk in iter(lambda: handle.read(1 << 20), b""):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def write_whole(path: str, text: str, lasting: bool = True) -> None:
    """Writes a file; `lasting`: so that it outlives a power failure, which takes its time."""
    temporary = path + ".part"
    try:
        with open(temporary, "w", encoding="utf-8") as handle:
            handle.write(text)
            if lasting:
                handle.flush()
                os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_out(paths: List[str]) -> None:
    """Has the kernel write files to the disk, those that there are, and their directories.

    What is still on its way there would disturb a measurement, and would be gone or empty after a
    loss of power.
    """
    for path in [*paths, *sorted({os.path.dirname(path) for path in paths})]:
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def last_lines(path: str) -> List[str]:
    try:
        text = re.sub(r"\x1b\[[0-9;]*m", "", read_text(path))
        return text.splitlines()[-STDERR_LINES:]
    except OSError:
        return []
