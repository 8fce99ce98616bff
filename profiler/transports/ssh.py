"""A device over SSH."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DeviceError, DeviceTimeout, EdgewrightError, Unreachable
from . import shell_copy
from .base import Completed, Progress
from .commands import (
    SUPERVISED,
    checked_command,
    shell_line,
    too_slow,
)
from .copying import PIECE_BYTES
from .ssh_address import parse_ssh_address
from .ssh_config import find_destination
from .ssh_connection import Connection
from .ssh_errors import device_error, library_errors
from .ssh_output import Output

if TYPE_CHECKING:
    import paramiko

KILL_PATIENCE_S = 5.0
"""How long to wait for the word that a command that took too long was killed."""


class SshTransport:
    """Runs commands and copies files over one SSH connection, made when it is first needed.

    Files go through `cat` on the device rather than SFTP: small SSH servers have no SFTP, SFTP
    says "Failure" where the disk is full, and only a program on the device can remove an
    unfinished copy when the connection is lost. A POSIX shell is all that is needed there;
    relative paths start in the user's home.

    When the connection is lost, the call raises `Unreachable`, and the next one connects again.
    Not for several threads at once.
    """

    def __init__(self, address: str) -> None:
        """Raises UsageError where the address or the SSH configuration is malformed."""
        self._destination = find_destination(parse_ssh_address(address))
        self._address = address
        self._connection: Connection | None = None

    @property
    def address(self) -> str:
        return self._address

    @property
    def directory(self) -> str | None:
        return None

    def run(self, command: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """Runs one command to its end, without input and in a session of its own on the device.

        The command and its children are killed when it takes too long, when this call is
        interrupted, and when the device notices that the connection is lost.

        Raises:
            UsageError: the command can't be expressed.
            DeviceTimeout: it did not end in time; the message says whether it was killed.
            Unreachable, HostKeyMismatch, Unauthorized: there is no connection, or it was lost.
            DeviceError: the device does not run commands.
        """
        arguments = checked_command(command)
        with self._session(shell_line(SUPERVISED, arguments)) as channel:
            output = Output(channel)
            with self.mapped():
                if not output.collect(time.monotonic() + timeout_s):
                    channel.shutdown_write()  # SUPERVISED kills the command when its input ends
                    output.collect(time.monotonic() + KILL_PATIENCE_S)
                    raise too_slow(
                        self.address,
                        arguments[0],
                        timeout_s,
                        output.exit_code is not None,
                        (output.stderr, output.stdout),
                    )
            return Completed(self.exit_code(output), output.stdout, output.stderr)

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
            NoSpaceOnDevice: the disk of the device is full.
            DeviceTimeout: nothing moved for a minute.
            Unreachable, HostKeyMismatch, Unauthorized: there is no connection, or it was lost.
            DeviceError: `remote` can't be written.
        """
        shell_copy.push(self._program, self.address, local, remote, progress, mode, resume)

    def pull(self, remote: str, local: Path, progress: Progress | None = None) -> None:
        """Copies a file; `local` is complete, or as it was before, when this fails.

        Raises:
            UsageError: `local` can't be written.
            DeviceTimeout: nothing moved for a minute.
            Unreachable, HostKeyMismatch, Unauthorized: there is no connection, or it was lost.
            DeviceError: `remote` can't be read, or changed meanwhile.
        """
        shell_copy.pull(self._program, self.address, remote, local, progress)

    def close(self) -> None:
        """Ends the connection; the next call would connect again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextlib.contextmanager
    def _session(self, line: bytes) -> Iterator[paramiko.Channel]:
        """A command that runs on the device, over a connection that is made where none is alive."""
        if self._connection is None or not self._connection.is_alive:
            self.close()
            self._connection = Connection(self._destination)
        with self.mapped():
            channel = self._connection.open_session()
        try:
            channel.settimeout(shell_copy.STALL_TIMEOUT_S)
            with self.mapped():
                channel.exec_command(line)
            yield channel
        finally:
            with contextlib.suppress(*library_errors()):  # the connection may be gone
                channel.close()

    @contextlib.contextmanager
    def mapped(self) -> Iterator[None]:
        """Turns what paramiko raises inside into our errors."""
        try:
            yield
        except EdgewrightError:
            raise
        except Exception as error:
            # A dying connection fails to send before its reader finds out.
            dying = isinstance(error, EOFError | OSError) and not isinstance(error, TimeoutError)
            # A dead one hands over whatever its reader stumbled over, a ValueError, say.
            if self._connection is None or self._connection.ends_within(1.0 if dying else 0.0):
                raise self._lost() from error
            if not isinstance(error, library_errors()):
                raise
            if isinstance(error, TimeoutError):
                raise DeviceTimeout(
                    f"{self.address}: nothing moved for {shell_copy.STALL_TIMEOUT_S:g} s"
                ) from error
            raise device_error(error, self.address) from error

    def _lost(self) -> DeviceError:
        """The error of a lost connection, of which nothing is kept."""
        connection = self._connection
        self.close()
        return connection.why_lost() if connection else Unreachable(f"{self.address}: disconnected")

    def exit_code(self, output: Output) -> int:
        """The exit code of the command that ended."""
        if output.exit_code is not None:
            return output.exit_code
        if self._connection is None or self._connection.ends_within(1.0):
            raise self._lost()
        raise Unreachable(
            f"{self.address}: the command ended without an exit code: its shell was killed, or "
            "the device is shutting down"
        )

    @contextlib.contextmanager
    def _program(self, script: str, arguments: list[str]) -> Iterator[shell_copy.Program]:
        with self._session(shell_line(script, arguments)) as channel:
            yield _Program(self, channel)


@dataclass(frozen=True)
class _Program:
    """A copy's script at the other end of a channel."""

    transport: SshTransport
    channel: paramiko.Channel

    def send(self, piece: bytes) -> bool:
        with self.transport.mapped():
            return _send(self.channel, piece)

    def read(self) -> bytes:
        with self.transport.mapped():
            piece: bytes = self.channel.recv(PIECE_BYTES)
        return piece

    def end(self) -> tuple[int, str]:
        output = Output(self.channel)
        with self.transport.mapped():
            with contextlib.suppress(OSError):  # it may have ended already
                self.channel.shutdown_write()
            if not output.collect(time.monotonic() + shell_copy.STALL_TIMEOUT_S):
                raise TimeoutError
        return self.transport.exit_code(output), output.stderr


def _send(channel: paramiko.Channel, piece: bytes) -> bool:
    """Sends everything, or says that the program at the other end has ended."""
    try:
        channel.sendall(piece)
    except TimeoutError:
        raise
    except OSError:
        if channel.closed:
            return False
        raise
    return True
