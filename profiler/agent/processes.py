"""Processes: who measures, and whether it lives."""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import List, Optional, Tuple

from .common import Json, read_text
from .uptime import moment


def process_stat(pid: int) -> Optional[List[str]]:
    """Fields of /proc/PID/stat from the state (field 3) on; None where the process is gone."""
    try:
        fields = read_text("/proc/%d/stat" % pid).rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields


def write_pid(directory: str) -> None:
    """Says that this process measures here; the file stays open, and locked, while it lives."""
    part = directory + "/pid.part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, json.dumps(dict(moment(), pid=os.getpid(), wall_s=time.time())).encode())
    os.fsync(handle)
    os.rename(part, directory + "/pid")


def read_pid(directory: str) -> Tuple[Optional[Json], bool]:
    """The process that measures here, or did, as `write_pid` wrote it, and whether it lives."""
    try:
        with open(directory + "/pid", encoding="utf-8") as handle:
            process: Json = json.load(handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return process, True
            return process, False
    except (OSError, ValueError):  # after a loss of power the file may be empty
        return None, False


def group_members(group: int) -> List[int]:
    """Living processes of a process group (field 5 of /proc/PID/stat)."""
    members = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = process_stat(int(name))
            if fields is not None and int(fields[2]) == group:
                members.append(int(name))
    return members
