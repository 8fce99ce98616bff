"""Whether somebody has a lock."""

from __future__ import annotations

import fcntl
import os

from . import common
from .common import read_text


def is_locked(path: str) -> bool:
    """Whether somebody has the lock; to try it would be in the way of who wants it just now.

    /proc/locks (proc(5)): number, kind, ADVISORY, WRITE, process, device:device:inode, ...
    Phones show it to nobody: there it has to be tried, for a moment.
    """
    try:
        inode = ":%d" % os.stat(path).st_ino
    except OSError:
        return False
    try:
        lines = read_text(common.PROC + "/locks").splitlines()
    except OSError:
        return _is_refused(path)
    return any(
        words[1:2] == ["FLOCK"] and "".join(words[5:6]).endswith(inode)
        for words in map(str.split, lines)
    )


def _is_refused(path: str) -> bool:
    with open(path, "rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
