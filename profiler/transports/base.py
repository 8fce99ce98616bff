"""The whole seam between Edgewright and the way to a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


@dataclass(frozen=True)
class Completed:
    """A command that ended on the device.

    Attributes:
        code: exit status; 128 + N where signal N ended it.
    """

    code: int
    stdout: str
    stderr: str


class Transport(Protocol):
    """Runs commands and moves files. Paths on the device are POSIX text, used as given.

    Every method raises a `DeviceError` and nothing of the library underneath.
    """

    @property
    def address(self) -> str:
        """The device as the user named it, without secrets."""

    @property
    def directory(self) -> str | None:
        """Where Edgewright's files belong on this kind of device; None: below the user's home."""

    def run(self, command: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """Runs one command (an argument list, never a shell's text) to its end."""

    def push(
        self,
        local: Path,
        remote: str,
        progress: Progress | None = None,
        *,
        mode: int = 0o600,
        resume: bool = False,
    ) -> None:
        """Copies a file to the device; `remote` is complete, or as it was before, when this fails.

        Args:
            progress: with `resume` it begins with the bytes that need not be sent.
            mode: of `remote`, on a disk that knows modes.
            resume: `remote` itself is written, not a temporary beside it; what is there already is
                taken for the beginning of `local`, and only the rest is sent; what arrived stays
                when this fails. The caller proves the whole by its hash.
        """

    def pull(self, remote: str, local: Path, progress: Progress | None = None) -> None:
        """Copies a file from the device."""

    def close(self) -> None:
        """Ends the connection; calling it twice is fine."""
