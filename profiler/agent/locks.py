"""Who has a lock, without trying it."""

from __future__ import annotations

import contextlib
import os

from . import common
from .common import read_text


def is_locked(path: str) -> bool:
    """Whether somebody has the lock; to try it would be in the way of who wants it just now.

    /proc/locks (proc(5)): number, kind, ADVISORY, WRITE, process, device:device:inode, ...
    """
    with contextlib.suppress(OSError, IndexError):
        inode = ":%d" % os.stat(path).st_ino
        for line in read_text(common.PROC + "/locks").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].endswith(inode):
                return True
    return False
