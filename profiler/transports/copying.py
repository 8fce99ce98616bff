"""What every transport needs to copy a file: unfinished names, pieces, reasons in plain words."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from ...errors import DeviceError, EdgewrightError, NoSpaceOnDevice, UsageError
from .base import Progress
from .commands import checked_text

PIECE_BYTES = 128 * 1024

# What systems and shells say in the C locale, in small letters -> what we say.
_FULL = {
    "no space left on device": "no space left",
    "disk quota exceeded": "disk quota exceeded",
}
_REASONS = {
    "permission denied": "permission denied",
    "operation not permitted": "operation not permitted",
    "read-only file system": "the file system is read-only",
    "no such file": "no such file or directory",
    "directory nonexistent": "no such directory",
    "nonexistent directory": "no such directory",
    "is a directory": "it is a directory",
    "not a directory": "a part of the path is not a directory",
    "file name too long": "the name is too long",
    "input/output error": "input/output error (a failing disk or card?)",
}


def checked_path(remote: str) -> str:
    """A path on the device that no program takes for an option.

    Raises:
        UsageError: it is empty, or no file can have this name.
    """
    if not remote:
        raise UsageError("the path on the device is empty")
    checked_text(remote)
    return f"./{remote}" if remote.startswith("-") else remote


def temporary_beside(remote: str) -> str:
    """A name in the directory of `remote` for a copy that is not complete yet."""
    directory, slash, _ = remote.rpartition("/")
    return f"{directory}{slash}.edgewright-{secrets.token_hex(8)}.part"


def size_of_source(local: Path) -> int:
    """The size of the file to send, in bytes.

    Raises:
        UsageError: it is missing or not a file.
    """
    if not local.is_file():
        what = "is not a file" if local.exists() else "does not exist"
        raise UsageError(f"can't copy {local} to the device: it {what}")
    return local.stat().st_size


def pieces_of(
    path: Path, problem: Callable[[OSError], EdgewrightError], start: int = 0
) -> Iterator[bytes]:
    """A file's bytes, a piece at a time; raises `problem(error)` where they can't be read."""
    try:
        with path.open("rb") as handle:
            handle.seek(start)
            while piece := handle.read(PIECE_BYTES):
                yield piece
    except OSError as error:
        raise problem(error) from error


def unreadable_source(local: Path, error: OSError) -> UsageError:
    """The error of a file to send that can't be read."""
    return UsageError(f"can't copy {local} to the device: {error.strerror or error}")


def report(progress: Progress | None, done: int, size: int) -> None:
    """Tells whoever wants to know how far a copy is."""
    if progress is not None:
        progress(done, size)


def file_error(address: str, doing: str, path: str, said: str | OSError) -> DeviceError:
    """The error of a copy that the device refused.

    Args:
        doing: "read" or "write".
        said: what the device's programs printed, or the system's error.
    """
    text = os.strerror(said.errno or 0) if isinstance(said, OSError) else said.strip()
    plain = text.lower()
    for words, reason in _FULL.items():
        if words in plain:
            return NoSpaceOnDevice(
                f"{address}: can't {doing} {path}: {reason}",
                hint="free some space on the device, or use a directory on another disk",
            )
    reason = next((ours for words, ours in _REASONS.items() if words in plain), text)
    return DeviceError(f"{address}: can't {doing} {path}: {reason or 'no reason given'}")
