"""Files: whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import List, Optional, Sequence

from .common import Json, Refusal, read_text

STDERR_LINES = 20


def sha256(path: str) -> Optional[str]:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            for chunk in iter(lambda: handle.read(1 << 20), b""):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def adopt(words: Sequence[str]) -> Json:
    """Gives pushed files their names, those that are whole. Doing it twice is fine.

    Args:
        words: for each file its SHA-256, the path it was pushed to, and the one it is to have.

    Raises:
        Refusal: one is not whole; it is deleted.
    """
    broken = []
    for expected, part, final in zip(words[::3], words[1::3], words[2::3]):  # noqa: B905
        actual = sha256(part)
        if actual is None:
            actual = sha256(final)
        elif actual == expected:
            os.replace(part, final)
        else:
            os.unlink(part)
        if actual != expected:
            broken.append("%s arrived as sha256 %s" % (final, actual or "nothing"))
    if broken:
        raise Refusal("integrity", "; ".join(broken))
    return {"adopted": len(words) // 3}


def write_whole(path: str, text: str) -> None:
    temporary = path + ".part"
    try:
        with open(temporary, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def last_lines(path: str) -> List[str]:
    try:
        text = re.sub(r"\x1b\[[0-9;]*m", "", read_text(path))
        return text.splitlines()[-STDERR_LINES:]
    except OSError:
        return []
