"""What every part of the agent needs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Callable, Dict, List

Json = Dict[str, Any]

PROC = "/proc"
SYS = "/sys"
DEV = "/dev"

#: Set by a runtime of our own: the script that starts its Python (through `sh`).
LAUNCHER_VARIABLE = "EDGEWRIGHT_PYTHON"


class Refusal(Exception):
    """Something that the host is told in so many words."""

    def __init__(self, kind: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.error: Json = dict(details, kind=kind, message=message)


def self_command() -> List[str]:
    """What starts this very agent again: the pushed archive, or the installed package."""
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    python = ["sh", launcher] if launcher else [sys.executable]
    # What imported this module knows the archive that it came from.
    archive = getattr(globals()["__loader__"], "archive", None)
    return [*python, os.path.abspath(archive)] if archive else [*python, "-m", __package__]


def read_text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as handle:
        return handle.read().replace("\0", "").strip()


def why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return "%s: %s" % (error.filename, error.strerror) if error.filename else error.strerror
    return str(error) or type(error).__name__


def fill(document: Json, readers: Dict[str, Callable[[], Any]]) -> Json:
    """Calls each reader; what can't be read is null, with the reason under `missing`."""
    missing = {}
    for name, reader in readers.items():
        try:
            document[name] = reader()
        except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            document[name] = None
            missing[name] = why(error)
    document["missing"] = missing
    return document


def is_out_of_memory(text: str) -> bool:
    return any(
        s in text for s in ("bad_alloc", "Failed to allocate memory", "Cannot allocate memory")
    )


def ask_program(command: List[str]) -> str:
    """What a program of the device prints.

    Raises:
        LookupError: it fails, or is too slow.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            timeout=5,
        )
    except subprocess.TimeoutExpired:
        raise LookupError("%s did not answer in 5 s" % command[0]) from None
    if done.returncode != 0:
        raise LookupError("%s: %s" % (command[0], done.stdout.strip() or "failed"))
    return done.stdout.strip()
