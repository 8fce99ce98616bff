"""A device over ADB: an Android phone, mostly."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import DeviceTimeout, EdgewrightError, Unreachable
from . import shell_copy
from .adb_address import parse_adb_address
from .adb_errors import device_error, library_errors
from .adb_link import Link
from .adb_stream import ShellStream
from .base import Completed, Progress
from .commands import (
    SUPERVISED_FOR,
    checked_command,
    shell_line,
    too_slow,
)

DIRECTORY = "/data/local/tmp/edgewright"
"""The one place where adb's user may write files and run them."""

KILL_PATIENCE_S = 5.0
"""How long to wait for the word that a command that took too long was killed."""

LIFE_TIMEOUT_S = 10.0
"""How long a device may take to give a sign of life."""

DEVICE_GRACE_S = 15
"""How long after its time a command that nobody here could end is killed by the device."""

_SERVICE = b"shell,v2,raw:exec "
_MAX_LINE_BYTES = 0xFFFF - len(_SERVICE)  # the length of a request is four hexadecimal digits


class AdbTransport:
    """Runs commands and copies files through the adb server; the device is found when needed.

    Files go through `cat` on the device rather than adb's sync service, as over SSH: it is as
    fast, a full disk is named, a copy can be resumed, and a program on the device removes what is
    unfinished when the link is lost. Relative paths start at `/`.

    When the link is lost, the call raises `Unreachable`, and the next one connects again. Not for
    several threads at once.
    """

    def __init__(self, address: str) -> None:
        """Raises UsageError where the address is malformed, or the environment's adb server is."""
        self._address = address
        self._link = Link(parse_adb_address(address), address)

    @property
    def address(self) -> str:
        return self._address

    @property
    def directory(self) -> str | None:
        return DIRECTORY

    def run(self, command: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """Runs one command to its end, without input and in a session of its own on the device.

        The command and its children are killed when it takes too long, when this call is
        interrupted, and when the device notices that the link is lost; where it does not, some
        seconds after the command's time is over.

        Raises:
            UsageError: the command can't be expressed, or the address fits several devices.
            DeviceTimeout: it did not end in time; the message says whether it was killed.
            Unreachable, Unauthorized, DeviceError: there is no usable device, or it was lost.
        """
        arguments = checked_command(command)
        mark = f"edgewright-{secrets.token_hex(8)} "
        limit = str(int(timeout_s) + DEVICE_GRACE_S)
        stdout: list[bytes] = []
        with self._program(SUPERVISED_FOR, [limit, mark, *arguments], mark) as stream:
            with self.mapped():
                if not stream.collect(stdout, time.monotonic() + timeout_s):
                    stream.close_input()  # the script kills the command when its input ends
                    stream.collect(stdout, time.monotonic() + KILL_PATIENCE_S)
                    said = (stream.stderr, b"".join(stdout).decode(errors="replace"))
                    raise too_slow(
                        self.address, arguments[0], timeout_s, stream.exit_code is not None, said
                    )
            code = self.exit_code(stream)
            return Completed(code, b"".join(stdout).decode(errors="replace"), stream.stderr)

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
            UsageError: `local` can't be read, or the address fits several devices.
            NoSpaceOnDevice: the disk of the device is full.
            DeviceTimeout: nothing moved for a minute.
            Unreachable, Unauthorized: there is no usable device, or it was lost.
            DeviceError: `remote` can't be written.
        """
        shell_copy.push(self._copy, self.address, local, remote, progress, mode, resume)

    def pull(self, remote: str, local: Path, progress: Progress | None = None) -> None:
        """Copies a file; `local` is complete, or as it was before, when this fails.

        Raises:
            UsageError: `local` can't be written, or the address fits several devices.
            DeviceTimeout: nothing moved for a minute.
            Unreachable, Unauthorized: there is no usable device, or it was lost.
            DeviceError: `remote` can't be read, or changed meanwhile.
        """
        shell_copy.pull(self._copy, self.address, remote, local, progress)

    def close(self) -> None:
        """Does nothing: nothing stays open between two calls, and the adb server is everybody's."""

    @contextlib.contextmanager
    def _program(
        self, script: str, arguments: Sequence[str], end_mark: str = ""
    ) -> Iterator[ShellStream]:
        """A script that runs on the device."""
        line = shell_line(script, arguments, _MAX_LINE_BYTES)
        stream = ShellStream(self._link.open(_SERVICE + line), self._ask_for_life, end_mark)
        try:
            yield stream
        finally:
            with contextlib.suppress(*library_errors()):  # the connection may be gone
                stream.close()

    @contextlib.contextmanager
    def mapped(self) -> Iterator[None]:
        """Turns what adbutils and sockets raise inside into our errors."""
        try:
            yield
        except EdgewrightError:
            raise
        except TimeoutError as error:
            raise DeviceTimeout(
                f"{self.address}: nothing moved for {shell_copy.STALL_TIMEOUT_S:g} s"
            ) from error
        except library_errors() as error:
            raise device_error(error, self.address) from error

    def _ask_for_life(self) -> None:
        if not self._link.answers(LIFE_TIMEOUT_S):
            raise self._lost()

    def _lost(self) -> Unreachable:
        """The error of a lost link, of which nothing is kept."""
        return Unreachable(f"{self.address}: the connection was lost: {self._link.why_lost()}")

    def exit_code(self, stream: ShellStream) -> int:
        """The exit code of the program that ended."""
        if stream.exit_code is None:
            raise self._lost()
        return stream.exit_code

    @contextlib.contextmanager
    def _copy(self, script: str, arguments: list[str]) -> Iterator[shell_copy.Program]:
        with self._program(script, arguments) as stream:
            yield _Program(self, stream)


@dataclass(frozen=True)
class _Program:
    """A copy's script at the other end of a stream."""

    transport: AdbTransport
    stream: ShellStream

    def send(self, piece: bytes) -> bool:
        with self.transport.mapped():
            return self.stream.send(piece, shell_copy.STALL_TIMEOUT_S)

    def read(self) -> bytes:
        with self.transport.mapped():
            return self.stream.read(time.monotonic() + shell_copy.STALL_TIMEOUT_S)

    def end(self) -> tuple[int, str]:
        with self.transport.mapped():
            self.stream.close_input()
            if not self.stream.collect([], time.monotonic() + shell_copy.STALL_TIMEOUT_S):
                raise TimeoutError
        return self.transport.exit_code(self.stream), self.stream.stderr
