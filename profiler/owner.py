"""Whose measurement it is: a user on a host, and the process that waits for the result."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Owner(BaseModel):
    """Who measures.

    Attributes:
        name: user@host.
        pid: of the process there.
        started: when that process began, in the kernel's own count; 0 where it can't be told. A
            number alone is given to another process some day.
    """

    model_config = ConfigDict(frozen=True)

    name: str = ""
    pid: int = Field(default=0, ge=0, lt=2**31)
    started: int = 0


class Holder(Owner):
    """What a device's lock says of the measurement that it was taken for last.

    Attributes:
        run: its id.
        for_s: since when it runs, by the device's clock.
    """

    run: str = ""
    models: tuple[str, ...] = ()
    for_s: float = Field(default=0.0, ge=0)

    @property
    def is_ours(self) -> bool:
        """Whether it was taken for this user on this host."""
        return self.name == owner_name()

    @property
    def is_followed_here(self) -> bool:
        """Whether another process of this user on this host waits for its result."""
        own = self.is_ours and self.pid not in (0, os.getpid())
        return own and _is_alive(self.pid) and self.started == _started(self.pid)

    def describe(self) -> str:
        """In words: who measures what, and for how long."""
        who = f"{self.name} (process {self.pid} there)" if self.name else "somebody"
        what = ", ".join(self.models) or "something"
        run = f" (run {self.run[:16]})" if self.run else ""
        words = f"{who} has been measuring {what} for {duration_text(self.for_s)}{run}"
        # A device's file says it, and a terminal obeys what it is sent.
        return "".join(letter for letter in words if letter.isprintable())


def this_owner() -> Owner:
    """This very process."""
    return Owner(name=owner_name(), pid=os.getpid(), started=_started(os.getpid()))


def owner_name() -> str:
    """user@host of this process."""
    return f"{user_name()}@{platform.node() or 'unknown'}"


def user_name() -> str:
    """This process's user; the number, where a container has no name for it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def duration_text(seconds: float) -> str:
    """As a person would say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _started(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc(5)); 0 where there is none, and of what is dead already."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    return 0
