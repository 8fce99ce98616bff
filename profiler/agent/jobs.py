"""Starting, following and ending measurements."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import time

from .common import Json, Refusal, self_command
from .cpus import choose_cpus
from .files import last_lines
from .processes import group_members, process_stat, read_pid


def state_of(directory: str) -> str:
    if os.path.exists(directory + "/result.json"):
        return "finished"
    if read_pid(directory)[1]:
        return "running"
    # It may have ended between the two looks.
    if os.path.exists(directory + "/result.json"):
        return "finished"
    if os.path.exists(directory + "/pid"):
        return "stale"
    return "queued" if os.path.exists(directory + "/job.json") else "absent"


def poll(directory: str, since: int) -> Json:
    state = state_of(directory)
    document: Json = {"state": state, "progress": []}
    with contextlib.suppress(OSError), open(directory + "/progress.jsonl") as handle:
        lines = handle.read().split("\n")[:-1]
        document["progress"] = [json.loads(line) for line in lines[since:]]
    with contextlib.suppress(OSError):
        began = os.stat(directory + "/pid").st_mtime
        document["started_s_ago"] = max(0.0, time.time() - began)
    if state == "stale":
        document["stderr"] = last_lines(directory + "/conductor.stderr")
    return document


def take_lock(directory: str) -> int:
    """The device-wide lock, as an open file: it goes with the last process that has it.

    Raises:
        Refusal: another measurement runs.
    """
    base = os.path.dirname(os.path.dirname(os.path.abspath(directory)))
    lock = os.open(base + "/lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 200).decode("utf-8", "replace").strip()
        os.close(lock)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise Refusal("busy", holder) from None
    os.ftruncate(lock, 0)
    os.write(lock, os.path.basename(directory).encode())
    return lock


def start(directory: str) -> Json:
    """Starts the measurement, or says that it runs or is finished."""
    state = state_of(directory)
    if state in ("running", "finished"):
        return {"state": state, "started": False}
    with open(directory + "/job.json", encoding="utf-8") as handle:
        job: Json = json.load(handle)
    choose_cpus(job["cpus"], job["cluster_counts"])
    try:
        lock = take_lock(directory)
    except Refusal as refusal:
        if refusal.message == os.path.basename(directory):
            return {"state": "running", "started": False}
        raise
    with contextlib.suppress(FileNotFoundError):
        os.unlink(directory + "/pid")
    with open(directory + "/conductor.stderr", "wb") as stderr:
        conductor = subprocess.Popen(
            [*self_command(), "run", directory, "--lock-fd", str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            cwd=directory,
            start_new_session=True,
            pass_fds=(lock,),
        )
    while not os.path.exists(directory + "/pid") and conductor.poll() is None:
        time.sleep(0.02)
    return {"state": "running", "started": True}


def stop(directory: str) -> Json:
    """Ends the conductor and its workers, which share its process group, and waits for it."""
    group, alive = read_pid(directory)
    # A number is not given away while a group has it: if it is a stranger's, the group is gone.
    if group is None or (not alive and process_stat(group) is not None):
        return {"stopped": 0}
    stopped = len(group_members(group))
    for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + patience_s
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        while group_members(group) and time.monotonic() < deadline:
            time.sleep(0.02)
    return {"stopped": stopped}
