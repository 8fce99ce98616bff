"""Processes on a terminal of their own."""

from __future__ import annotations

import os
import pty
import selectors
import time

import pytest

TIMEOUT_S = 30


class Screen:
    """A process on a terminal of its own, as its user sees it."""

    def __init__(self, *command: str) -> None:
        self.text = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.execv(command[0], command)

    def wait_for(self, words: str, times: int = 1) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while self.text.count(words) < times:
            assert self._has_drawn(deadline - time.monotonic()), self.text
            try:
                self.text += os.read(self._terminal, 65536).decode(errors="replace")
            except OSError:  # how a terminal says that its process has ended
                pytest.fail(f"it ended without {words!r}: {self.text}")

    def is_still(self, seconds: float) -> bool:
        """Whether nothing is drawn for so long."""
        return not self._has_drawn(seconds)

    def _has_drawn(self, seconds: float) -> bool:
        # Not select(): among many tests the terminal may have a number that it can't take.
        with selectors.DefaultSelector() as selector:
            selector.register(self._terminal, selectors.EVENT_READ)
            return bool(selector.select(max(0, seconds)))

    def type(self, line: str) -> None:
        os.write(self._terminal, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)
