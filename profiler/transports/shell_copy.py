"""Copying through a program on the device: a shell's `cat` at the other end of a stream.

Small SSH servers have no SFTP, and adb's sync service does not resume; a POSIX shell is everywhere,
names a full disk, and removes what is unfinished when the link is lost (`commands.py` has the
scripts).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ...errors import DeviceError
from ...files import written_whole
from .base import Progress
from .commands import RECEIVE, RECEIVE_REST, SEND
from .copying import (
    checked_path,
    file_error,
    pieces_of,
    report,
    size_of_source,
    temporary_beside,
    unreadable_source,
)

STALL_TIMEOUT_S = 60.0
"""How long a copy may stand still."""

_SIZE_LINE_BYTES = 64


class Program(Protocol):
    """A script that runs on the device, with its input and output.

    Every method raises a `DeviceError`, also where nothing moved for STALL_TIMEOUT_S.
    """

    def send(self, piece: bytes) -> bool:
        """Sends everything, or says that the program has ended."""

    def read(self) -> bytes:
        """The next piece of its output; empty at the end."""

    def end(self) -> tuple[int, str]:
        """Sends nothing more; the exit code and what it said on stderr."""


Start = Callable[[str, list[str]], AbstractContextManager[Program]]
"""Starts a script of `commands.py` with its arguments on the device."""


def push(
    start: Start,
    address: str,
    local: Path,
    remote: str,
    progress: Progress | None,
    mode: int,
    resume: bool,
) -> None:
    """Copies a file to the device; as `Transport.push`."""
    size = size_of_source(local)
    target = checked_path(remote)
    arguments = [target, f"{mode:o}", str(size)]
    if not resume:
        arguments.append(temporary_beside(target))
    with start(RECEIVE_REST if resume else RECEIVE, arguments) as program:
        done = _size_line(program, address, "write", remote)[0] if resume else 0
        if done > size:
            raise DeviceError(f"{address}: it says that {done} of {size} bytes are there")
        report(progress, done, size)
        for piece in pieces_of(local, lambda error: unreadable_source(local, error), done):
            if not program.send(piece):
                break
            done += len(piece)
            report(progress, done, size)
        code, said = program.end()
        if code != 0:
            said = said or f"{size} bytes were expected, and not all of them arrived"
            raise file_error(address, "write", remote, said)
        if done != size:
            raise DeviceError(f"{address}: {local} changed while it was copied")


def pull(start: Start, address: str, remote: str, local: Path, progress: Progress | None) -> None:
    """Copies a file from the device; as `Transport.pull`."""
    with (
        start(SEND, [checked_path(remote)]) as program,
        written_whole(local) as temporary,
        temporary.open("wb") as handle,
    ):
        size, piece = _size_line(program, address, "read", remote)
        piece = piece or program.read()
        done = 0
        report(progress, done, size)
        while piece:
            handle.write(piece)
            done += len(piece)
            report(progress, done, size)
            piece = program.read()
        code, said = program.end()
        if code != 0:
            raise file_error(address, "read", remote, said)
        if done != size:
            raise DeviceError(f"{address}: {remote} changed while it was copied")


def _size_line(program: Program, address: str, doing: str, remote: str) -> tuple[int, bytes]:
    """The number that a copy's program begins with, and what came after it."""
    received = b""
    while b"\n" not in received and len(received) < _SIZE_LINE_BYTES:
        piece = program.read()
        if not piece:
            raise file_error(address, doing, remote, program.end()[1])
        received += piece
    number, _, rest = received.partition(b"\n")
    if not number.strip().isdigit():
        raise DeviceError(f"{address}: the device sent {number!r:.80}, not a size")
    return int(number), rest
