"""This machine as a device."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ...errors import DeviceError, DeviceTimeout
from ...files import written_whole
from .base import Completed, Progress
from .commands import checked_command, signal_as_code
from .copying import (
    checked_path,
    file_error,
    pieces_of,
    report,
    size_of_source,
    temporary_beside,
    unreadable_source,
)

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as a POSIX shell reports them


class LocalTransport:
    """Runs commands on this machine; relative paths start at the current directory."""

    @property
    def address(self) -> str:
        return "local"

    @property
    def directory(self) -> str | None:
        return None

    def run(self, command: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """Runs one command to its end, without input and in a session of its own.

        Raises:
            UsageError: the command is empty or can't be expressed.
            DeviceTimeout: it did not end in time; it was killed with its children.
        """
        arguments = checked_command(command)
        # Files rather than pipes: a child left in the background can't hold them open.
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            try:
                process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
            except OSError as error:
                code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
                return Completed(code, "", f"{arguments[0]}: {error.strerror or error}\n")
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired as error:
                raise DeviceTimeout(
                    f"local: {arguments[0]} did not end in {timeout_s:g} s; it was killed"
                ) from error
            finally:
                if process.returncode is None:
                    _kill(process)
            stdout.seek(0)
            stderr.seek(0)
            return Completed(
                signal_as_code(code),
                stdout.read().decode(errors="replace"),
                stderr.read().decode(errors="replace"),
            )

    def push(
        self,
        local: Path,
        remote: str,
        progress: Progress | None = None,
        *,
        mode: int = 0o600,
        resume: bool = False,
    ) -> None:
        """Copies a file; see `Transport.push`.

        Raises:
            UsageError: `local` can't be read.
            NoSpaceOnDevice: the disk is full.
            DeviceError: `remote` can't be written.
        """
        size = size_of_source(local)
        target = Path(checked_path(remote))
        written = target if resume else Path(temporary_beside(remote))
        try:
            if target.is_dir():
                raise file_error(self.address, "write", remote, "Is a directory")
            if resume and target.exists() and not target.is_file():
                raise file_error(self.address, "write", remote, "not a regular file")
            with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as handle:
                there = handle.seek(0, os.SEEK_END)
                done = handle.seek(there if there <= size else 0)
                handle.truncate()
                report(progress, done, size)
                for piece in pieces_of(local, lambda error: unreadable_source(local, error), done):
                    handle.write(piece)
                    done += len(piece)
                    report(progress, done, size)
                with contextlib.suppress(PermissionError):  # not every disk knows modes
                    os.fchmod(handle.fileno(), mode)
            if done != size:
                raise DeviceError(f"local: {local} changed while it was copied")
            written.replace(target)
        except OSError as error:
            raise file_error(self.address, "write", remote, error) from error
        finally:
            if not resume:
                with contextlib.suppress(OSError):
                    written.unlink()

    def pull(self, remote: str, local: Path, progress: Progress | None = None) -> None:
        """Copies a file; `local` is complete, or as it was before, when this fails.

        Raises:
            UsageError: `local` can't be written.
            DeviceError: `remote` can't be read, or changed meanwhile.
        """
        source = Path(checked_path(remote))
        try:
            size = source.stat().st_size
            if not source.is_file():
                said = "Is a directory" if source.is_dir() else "not a regular file"
                raise file_error(self.address, "read", remote, said)
        except OSError as error:
            raise file_error(self.address, "read", remote, error) from error
        with written_whole(local) as temporary, temporary.open("wb") as handle:
            done = 0
            report(progress, done, size)
            for piece in pieces_of(
                source, lambda error: file_error(self.address, "read", remote, error)
            ):
                handle.write(piece)
                done += len(piece)
                report(progress, done, size)
            if done != size:
                raise DeviceError(f"local: {remote} changed while it was copied")

    def close(self) -> None:
        """Does nothing: there is no connection."""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a command with all its children that stayed in its process group."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended just now
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
