"""What Edgewright keeps on the device, and what runs there."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import List, Tuple

from .common import Json, read_text
from .jobs import read_holder, state_of
from .locks import is_locked


def stored(base: str) -> Json:
    """The disk, what is kept by kind, the measurements that lie there, and whose runs now."""
    disk = os.statvfs(base)
    kept = {}
    with os.scandir(base) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                count, size = _size(entry.path)
                kept[entry.name] = {"files": count, "size_bytes": size}
    runs = [_run(path) for path in _folders(base + "/runs")]
    return {
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "total_bytes": disk.f_blocks * disk.f_frsize,
        "kept": kept,
        "runs": runs,
        "holder": read_holder(base + "/lock") if is_locked(base + "/lock") else None,
    }


def _run(path: str) -> Json:
    models: List[str] = []
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        job = json.loads(read_text(path + "/job.json"))
        models = [model["name"] for model in job["models"]]
    return {
        "run": os.path.basename(path),
        "state": state_of(path),
        "models": models,
        "changed_s_ago": max(0.0, time.time() - os.path.getmtime(path)),
    }


def _folders(path: str) -> List[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir())
    except OSError:
        return []


def _size(directory: str) -> Tuple[int, int]:
    """Files, and what they take of the disk."""
    count = size = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                size += 512 * os.lstat(os.path.join(folder, name)).st_blocks
                count += 1
    return count, size
