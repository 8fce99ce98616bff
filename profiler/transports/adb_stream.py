"""One program on the device: its input, its two outputs and its exit code on one adb stream.

The format is that of adb's shell service, version 2 (shell_protocol.h): packets of one byte that
says what they carry, four bytes of length, little endian, and the content.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .copying import PIECE_BYTES

if TYPE_CHECKING:
    import adbutils

SILENCE_S = 5.0
"""After how long without a byte the device is asked for a sign of life."""

QUIET_S = 1.0
"""How long to listen on after the command's end while a child of its holds the output open."""

_HEADER_BYTES = 5
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)


class ShellStream:
    """A program that runs; closing the stream closes its input.

    Attributes:
        exit_code: None until the program has ended, or where nobody said how.
    """

    def __init__(
        self,
        connection: adbutils.AdbConnection,
        ask_for_life: Callable[[], None],
        end_mark: str = "",
    ) -> None:
        """
        Args:
            ask_for_life: raises our error where the device no longer answers.
            end_mark: begins the last line on stderr, which ends with the exit code.
        """
        self._connection = connection
        self._socket = connection.conn
        self._ask_for_life = ask_for_life
        self._end_mark = b"\n" + end_mark.encode() if end_mark else b""
        self._received = bytearray()
        self._stderr = bytearray()
        self._has_ended = False
        self.exit_code: int | None = None

    @property
    def stderr(self) -> str:
        return self._stderr.decode(errors="replace")

    def send(self, piece: bytes, patience_s: float) -> bool:
        """Sends to the program's input; False where it has ended.

        Raises:
            TimeoutError: nothing was taken for `patience_s`.
        """
        packet = memoryview(_packet(_STDIN, piece))
        deadline = time.monotonic() + patience_s
        while packet:
            try:
                self._socket.settimeout(min(SILENCE_S, patience_s))
                packet = packet[self._socket.send(packet) :]
                deadline = time.monotonic() + patience_s
            except TimeoutError:
                self._ask_for_life()
                if time.monotonic() > deadline:
                    raise
            except ConnectionError:
                return False
        return True

    def close_input(self) -> None:
        """Ends the program's input, unless the program has ended."""
        try:
            self._socket.settimeout(SILENCE_S)
            self._socket.sendall(_packet(_CLOSE_STDIN, b""))
        except OSError:
            return

    def read(self, deadline: float) -> bytes:
        """The next piece of stdout; empty where the program has ended, or the stream has.

        Raises:
            TimeoutError: `deadline` (time.monotonic) has come.
        """
        while not self._has_ended:
            packet = self._next_packet()
            if packet is None:
                if not self._listen(deadline):
                    self._has_ended = True
                continue
            kind, content = packet
            if kind == _STDOUT and content:
                return content
            if kind == _STDERR:
                self._stderr += content
                deadline = self._noted_end(deadline)
            elif kind == _EXIT:
                self.exit_code = content[0] if content else None
                self._has_ended = True
        return b""

    def collect(self, stdout: list[bytes], deadline: float) -> bool:
        """Adds the rest of stdout; returns whether the program ended before `deadline`."""
        try:
            while piece := self.read(deadline):
                stdout.append(piece)
        except TimeoutError:
            return self.exit_code is not None
        return True

    def close(self) -> None:
        self._connection.close()

    def _listen(self, deadline: float) -> bool:
        """Waits for bytes; False where the stream has ended."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(min(left, SILENCE_S))
            try:
                piece = self._socket.recv(PIECE_BYTES)
            except TimeoutError:
                if left > SILENCE_S:
                    self._ask_for_life()
                continue
            except ConnectionError:
                return False
            self._received += piece
            return bool(piece)

    def _next_packet(self) -> tuple[int, bytes] | None:
        """The next whole packet of what was received; None where there is none yet."""
        if len(self._received) < _HEADER_BYTES:
            return None
        end = _HEADER_BYTES + int.from_bytes(self._received[1:_HEADER_BYTES], "little")
        if len(self._received) < end:
            return None
        kind, content = self._received[0], bytes(self._received[_HEADER_BYTES:end])
        del self._received[:end]
        return kind, content

    def _noted_end(self, deadline: float) -> float:
        """Takes the mark of the command's end off stderr; from then on patience is short.

        The stream itself only ends when nobody holds the outputs open any more.
        """
        if not self._end_mark or self.exit_code is not None:
            return deadline
        before, mark, after = self._stderr.rpartition(self._end_mark)
        if not mark or not after.endswith(b"\n"):
            return deadline
        code = after.strip()
        if not code.isdigit():
            return deadline
        self._stderr = before
        self.exit_code = int(code)
        return min(deadline, time.monotonic() + QUIET_S)


def _packet(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + len(content).to_bytes(4, "little") + content
