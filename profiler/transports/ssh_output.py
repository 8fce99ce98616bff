"""What a command on an SSH channel prints, and how it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko

QUIET_S = 1.0
"""How long to listen on after the command's end while a child of its holds the output open."""

_POLL_S = 0.1
_PIECE_BYTES = 64 * 1024
_NO_STATUS = -1  # paramiko's word for: it ended, or the connection did, without an exit status


class Output:
    """Collects stdout and stderr of one command, apart from each other."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._channel.settimeout(_POLL_S)
        self._stdout: list[bytes] = []
        self._stderr: list[bytes] = []

    @property
    def stdout(self) -> str:
        return b"".join(self._stdout).decode(errors="replace")

    @property
    def stderr(self) -> str:
        return b"".join(self._stderr).decode(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """None where the command has not ended, or nobody said how."""
        if not self._channel.exit_status_ready():
            return None
        code: int = self._channel.recv_exit_status()
        return None if code == _NO_STATUS else code

    def collect(self, deadline: float) -> bool:
        """Listens until the command has ended or `deadline` (time.monotonic) has come.

        Returns whether it has ended. Raises what paramiko raises.
        """
        quiet_since = time.monotonic()
        while True:
            # Asked before reading: what came before the end is then read below.
            closed, ended = self._channel.closed, self._channel.exit_status_ready()
            if self._read():
                quiet_since = time.monotonic()
            elif closed:
                return True
            now = time.monotonic()
            if ended and now - quiet_since > QUIET_S:
                return True
            if now > deadline:
                return bool(ended)

    def _read(self) -> bool:
        """Takes what has arrived, waiting a little for it; False where nothing has."""
        anything = False
        while self._channel.recv_stderr_ready():
            self._stderr.append(self._channel.recv_stderr(_PIECE_BYTES))
            anything = True
        try:
            piece = self._channel.recv(_PIECE_BYTES)
        except TimeoutError:
            return anything
        if piece:
            self._stdout.append(piece)
            return True
        if not self._channel.closed:
            time.sleep(_POLL_S / 10)  # stdout has ended, and recv no longer waits
        return anything
