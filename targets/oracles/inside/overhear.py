"""What programs say while they are asked."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def overheard() -> Iterator[list[str]]:
    """What this process prints meanwhile, libraries in C included; a list of one text, at the end.

    For the sandbox: it takes the process's standard output and error.
    """
    heard: list[str] = []
    with tempfile.TemporaryFile() as file:
        saved = [os.dup(1), os.dup(2)]
        _flush()
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield heard
        finally:
            _flush()
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            heard.append(file.read().decode("utf-8", "replace"))


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)


#: Colours and such in what programs print for terminals.
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    """In one line, without escape sequences."""
    return " ".join(_ESCAPES.sub("", text).split())
