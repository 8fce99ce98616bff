"""Looking at this machine's processes and signalling them, by way of /proc."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path


def all_processes() -> Iterator[int]:
    """The ids of the processes that exist now."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def descendants(ancestor: int) -> list[int]:
    """The processes under `ancestor`, parents before their children."""
    below: dict[int, list[int]] = {}
    for pid in all_processes():
        below.setdefault(parent_of(pid), []).append(pid)
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        pids = below.get(waiting.pop(0), [])
        found += pids
        waiting += pids
    return found


def parent_of(pid: int) -> int:
    """The parent's id; -1 when the process is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    return int(stat.rpartition(")")[2].split()[1])  # the name in brackets may hold anything


def name_of(pid: int) -> str:
    """The process's short name; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def with_environment(variable: str, value: str) -> list[int]:
    """The processes, other than this one, that were started with `variable=value`."""
    wanted = f"{variable}={value}".encode()
    found = []
    for pid in all_processes():
        with suppress(OSError):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if pid != os.getpid() and wanted in environment:
                found.append(pid)
    return found


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Signal those of the processes that still exist."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(
    condition: Callable[[], bool], timeout_s: float = 10.0, every_s: float = 0.005
) -> None:
    """Wait for a condition; raises TimeoutError when it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true in time")
        time.sleep(every_s)
