"""Starting, following and ending measurements."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from typing import Optional

from .common import Json, Refusal, read_text, self_command
from .cpus import choose_cpus
from .files import last_lines, write_out
from .locks import is_locked
from .processes import group_members, process_stat, read_pid
from .uptime import boot_id, now_s, oom_kills, passed_s, was_before_restart

#: How long a result waits for its host; and the remains of what ended without one.
FINISHED_KEPT_S, DEAD_KEPT_S = 7 * 24 * 3600.0, 3600.0


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
    document: Json = {"state": state, "progress": [], "boot_id": boot_id()}
    with contextlib.suppress(OSError), open(directory + "/progress.jsonl") as handle:
        lines = handle.read().split("\n")[:-1]
        document["progress"] = [json.loads(line) for line in lines[since:]]
    holder = read_holder(lock_path(directory))
    if holder.get("run") == os.path.basename(directory):
        document["holder"] = holder
    process, _ = read_pid(directory)
    if process is not None:
        document["started_s_ago"] = passed_s(process)
        # By clocks that may have been set since: for want of better, after a restart.
        document["wall_s_ago"] = max(0.0, time.time() - process["wall_s"])
    if state in ("stale", "queued"):
        document["stderr"] = last_lines(directory + "/conductor.stderr")
        document["end"] = end_of(process)
    return document


def end_of(process: Optional[Json]) -> str:
    """What ended a measurement that left no result: 'restart', 'out-of-memory' or 'unknown'."""
    if process is None:
        return "unknown"
    if was_before_restart(process):
        return "restart"
    before, now = process["oom_kills"], oom_kills()
    return "unknown" if None in (before, now) or before == now else "out-of-memory"


def lock_path(directory: str) -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(directory))) + "/lock"


def read_holder(path: str) -> Json:
    """What the lock says of whoever took it last: run, models, owner, for how long; or nothing."""
    try:
        holder = json.loads(read_text(path))
        holder["for_s"] = max(0.0, now_s() - holder["since"])
        return dict(holder)
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def write_holder(lock: int, directory: str, owner: Json, since: float) -> None:
    """In place: the lock is this file, not another of the same name."""
    models = []
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        job = json.loads(read_text(directory + "/job.json"))
        models = [model["name"] for model in job["models"]]
    holder = dict(owner, run=os.path.basename(directory), models=models, since=since)
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(holder).encode(), 0)


def take_lock(directory: str, owner: Json) -> int:
    """The device-wide lock, as an open file: it goes with the last process that has it.

    Args:
        owner: what it says of the one for whom it is taken.

    Raises:
        Refusal: another measurement runs.
    """
    path = lock_path(directory)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise Refusal("busy", "another measurement runs", holder=read_holder(path)) from None
    write_holder(lock, directory, owner, now_s())
    return lock


def take_over(directory: str, owner: Json) -> None:
    """Makes a measurement that runs, or is finished, the owner's."""
    path = lock_path(directory)
    holder = read_holder(path)
    if holder.get("run") == os.path.basename(directory):
        lock = os.open(path, os.O_RDWR)
        try:
            write_holder(lock, directory, owner, holder["since"])
        finally:
            os.close(lock)


def start(directory: str, owner: Json, new: bool = False) -> Json:
    """Starts the measurement, or says that it runs or is finished.

    Args:
        new: leave one that is there to whoever owns it.
    """
    state = state_of(directory)
    if state in ("running", "finished"):
        if not new:
            take_over(directory, owner)
        return {"state": state, "started": False}
    with open(directory + "/job.json", encoding="utf-8") as handle:
        job: Json = json.load(handle)
    choose_cpus(job["cpus"], job["cluster_counts"])
    pushed = [model[name] for model in job["models"] for name in ("path", "inputs_path")]
    write_out([*pushed, self_command()[-1], directory + "/job.json"])
    try:
        lock = take_lock(directory, owner)
    except Refusal as refusal:
        if refusal.error["holder"].get("run") == os.path.basename(directory):
            # Another process starts it at this moment.
            while state_of(directory) == "queued" and is_locked(lock_path(directory)):
                time.sleep(0.02)
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


def sweep(runs: str) -> None:
    """Deletes what hosts that never came back have left of measurements that run no more.

    Not while one runs: a tool of others shows no process of its own here.
    """
    if is_locked(lock_path(runs + "/any")):
        return
    with contextlib.suppress(OSError), os.scandir(runs) as entries:
        for entry in entries:
            state = state_of(entry.path)
            if state == "running":
                continue
            kept_s = FINISHED_KEPT_S if state == "finished" else DEAD_KEPT_S
            with contextlib.suppress(OSError, ValueError):
                if age_s(entry.path) > kept_s:
                    shutil.rmtree(entry.path, ignore_errors=True)


def age_s(directory: str) -> float:
    """Since a measurement began; by the wall clock where it never did, or before a restart."""
    process, _ = read_pid(directory)
    passed = passed_s(process) if process else None
    if passed is not None:
        return passed
    files = [directory, *(file.path for file in os.scandir(directory))]
    return time.time() - max(map(os.path.getmtime, files))


def stop(directory: str) -> Json:
    """Ends the conductor and its workers, which share its process group, and waits for it."""
    process, alive = read_pid(directory)
    if process is None or was_before_restart(process):
        return {"stopped": 0}
    group = process["pid"]
    # A number is not given away while a group has it: if it is a stranger's, the group is gone.
    if not alive and process_stat(group) is not None:
        return {"stopped": 0}
    stopped = len(group_members(group))
    for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + patience_s
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        while group_members(group) and time.monotonic() < deadline:
            time.sleep(0.02)
    return {"stopped": stopped}
