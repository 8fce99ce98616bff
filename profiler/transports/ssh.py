"""A device over SSH."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DeviceError, DeviceTimeout, EdgewrightError, Unreachable
from ...files import written_whole
from .base import Completed, Progress
from .commands import (
    RECEIVE,
    RECEIVE_REST,
    SEND,
    SUPERVISED,
    checked_command,
    last_words,
    shell_line,
)
from .copying import (
    PIECE_BYTES,
    checked_path,
    file_error,
    pieces_of,
    report,
    size_of_source,
    temporary_beside,
    unreadable_source,
)
from .ssh_address import parse_ssh_address
from .ssh_config import find_destination
from .ssh_connection import Connection
from .ssh_errors import device_error, library_errors
from .ssh_output import Output

if TYPE_CHECKING:
    import paramiko

STALL_TIMEOUT_S = 60.0
"""How long a copy may stand still."""

KILL_PATIENCE_S = 5.0
"""How long to wait for the word that a command that took too long was killed."""


_SIZE_LINE_BYTES = 64


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
            with self._mapped():
                if not output.collect(time.monotonic() + timeout_s):
                    channel.shutdown_write()  # SUPERVISED kills the command when its input ends
                    output.collect(time.monotonic() + KILL_PATIENCE_S)
                    raise self._too_slow(arguments[0], timeout_s, output)
            return Completed(self._exit_code(output), output.stdout, output.stderr)

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
        size = size_of_source(local)
        target = checked_path(remote)
        arguments = [target, f"{mode:o}", str(size)]
        if resume:
            line = shell_line(RECEIVE_REST, arguments)
        else:
            line = shell_line(RECEIVE, [*arguments, temporary_beside(target)])
        with self._session(line) as channel:
            done = self._size_line(channel, "write", remote)[0] if resume else 0
            if done > size:
                raise DeviceError(f"{self.address}: it says that {done} of {size} bytes are there")
            report(progress, done, size)
            for piece in pieces_of(local, lambda error: unreadable_source(local, error), done):
                with self._mapped():
                    if not _send(channel, piece):
                        break
                done += len(piece)
                report(progress, done, size)
            output = self._rest(channel)
            if self._exit_code(output) != 0:
                said = output.stderr or f"{size} bytes were expected, and not all of them arrived"
                raise file_error(self.address, "write", remote, said)
            if done != size:
                raise DeviceError(f"{self.address}: {local} changed while it was copied")

    def pull(self, remote: str, local: Path, progress: Progress | None = None) -> None:
        """Copies a file; `local` is complete, or as it was before, when this fails.

        Raises:
            UsageError: `local` can't be written.
            DeviceTimeout: nothing moved for a minute.
            Unreachable, HostKeyMismatch, Unauthorized: there is no connection, or it was lost.
            DeviceError: `remote` can't be read, or changed meanwhile.
        """
        with (
            self._session(shell_line(SEND, [checked_path(remote)])) as channel,
            written_whole(local) as temporary,
            temporary.open("wb") as handle,
        ):
            size, piece = self._size_line(channel, "read", remote)
            piece = piece or self._receive(channel)
            done = 0
            report(progress, done, size)
            while piece:
                handle.write(piece)
                done += len(piece)
                report(progress, done, size)
                piece = self._receive(channel)
            output = self._rest(channel)
            if self._exit_code(output) != 0:
                raise file_error(self.address, "read", remote, output.stderr)
            if done != size:
                raise DeviceError(f"{self.address}: {remote} changed while it was copied")

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
        with self._mapped():
            channel = self._connection.open_session()
        try:
            channel.settimeout(STALL_TIMEOUT_S)
            with self._mapped():
                channel.exec_command(line)
            yield channel
        finally:
            with contextlib.suppress(*library_errors()):  # the connection may be gone
                channel.close()

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
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
                    f"{self.address}: nothing moved for {STALL_TIMEOUT_S:g} s"
                ) from error
            raise device_error(error, self.address) from error

    def _lost(self) -> DeviceError:
        """The error of a lost connection, of which nothing is kept."""
        connection = self._connection
        self.close()
        return connection.why_lost() if connection else Unreachable(f"{self.address}: disconnected")

    def _exit_code(self, output: Output) -> int:
        """The exit code of the command that ended."""
        if output.exit_code is not None:
            return output.exit_code
        if self._connection is None or self._connection.ends_within(1.0):
            raise self._lost()
        raise Unreachable(
            f"{self.address}: the command ended without an exit code: its shell was killed, or "
            "the device is shutting down"
        )

    def _too_slow(self, name: str, timeout_s: float, output: Output) -> DeviceTimeout:
        fate = "it was killed" if output.exit_code is not None else "it may still be running there"
        said = last_words(output.stderr) or last_words(output.stdout)
        return DeviceTimeout(
            f"{self.address}: {name} did not end in {timeout_s:g} s; {fate}"
            + (f"; its last words were {said!r}" if said else "")
        )

    def _size_line(self, channel: paramiko.Channel, doing: str, remote: str) -> tuple[int, bytes]:
        """The number that a copy's program begins with, and what came after it."""
        received = b""
        while b"\n" not in received and len(received) < _SIZE_LINE_BYTES:
            piece = self._receive(channel)
            if not piece:
                output = self._rest(channel)
                self._exit_code(output)
                raise file_error(self.address, doing, remote, output.stderr)
            received += piece
        number, _, rest = received.partition(b"\n")
        if not number.strip().isdigit():
            raise DeviceError(f"{self.address}: the device sent {number!r:.80}, not a size")
        return int(number), rest

    def _receive(self, channel: paramiko.Channel) -> bytes:
        with self._mapped():
            piece: bytes = channel.recv(PIECE_BYTES)
        return piece

    def _rest(self, channel: paramiko.Channel) -> Output:
        """What a copy's program says at its end; nothing more is sent to it."""
        output = Output(channel)
        with self._mapped():
            with contextlib.suppress(OSError):  # it may have ended already
                channel.shutdown_write()
            if not output.collect(time.monotonic() + STALL_TIMEOUT_S):
                raise TimeoutError
        return output


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
