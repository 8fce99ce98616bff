"""Reading and writing files: whole or not at all, and named by content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import UsageError


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def user_path(text: str) -> Path:
    """A path as people write it: `~` is the user's home, `~ann` is Ann's.

    Raises:
        UsageError: there is no such user, or no such home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text}: nobody knows where that home is") from error


def configuration_folder() -> Path:
    """Edgewright's folder in the user's configuration (XDG base directory specification)."""
    configuration = os.environ.get("XDG_CONFIG_HOME", "")
    # By the specification a relative path counts as none.
    folder = Path(configuration) if configuration.startswith("/") else Path.home() / ".config"
    return folder / "edgewright"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, renamed to it when the block ends without an error.

    Raises:
        UsageError: the directory can't be made or written, or the disk is full.
    """
    ensure_directory(path.parent)
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise _unwritable(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        try:
            yield temporary
            # mkstemp makes files for the owner alone; a result is as readable as any other file.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    """Writes one JSON document whole or not at all."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Reads a JSON document.

    Raises:
        UsageError: the file is missing or is not JSON; `what` names it in the message.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{what} {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{what} {path} is not JSON: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{what} {path} is nested too deeply to be one") from error


def ensure_directory(path: Path) -> None:
    """Makes a directory that can be written to.

    Raises:
        UsageError: it is a file, or can't be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise _unwritable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def ensure_writable(path: Path) -> None:
    """Makes a directory, and proves by a file that it can be written to.

    Raises:
        UsageError: it can't; some file systems tell it only when a file is made.
    """
    ensure_directory(path)
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"can't write {path}: {error.strerror or error}",
        hint="choose an output path that can be written, with room on its disk",
    )


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
