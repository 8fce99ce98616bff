"""Keeps the chatter of export libraries off the user's terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

_KEPT_CHARACTERS = 8000


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Captures standard output, standard error (native code's too) and warnings.

    What was captured is dropped when the block ends well. When it raises, the end of it becomes a
    note of the exception, so that a traceback shows it. The redirection is the whole process's:
    not for several threads at once.
    """
    with (
        tempfile.TemporaryFile() as captured,
        _python_streams(captured.fileno()),
        _descriptors(captured.fileno()),
        _root_handlers(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            captured.seek(0)
            text = captured.read().decode("utf-8", "replace").strip()
            if text:
                error.add_note(f"What the libraries printed:\n{text[-_KEPT_CHARACTERS:]}")
            raise


@contextlib.contextmanager
def _descriptors(target: int) -> Iterator[None]:
    saved: dict[int, int] = {}
    for descriptor in (1, 2):
        # A process may have been started with a descriptor closed.
        with contextlib.suppress(OSError):
            saved[descriptor] = os.dup(descriptor)
    try:
        for descriptor in saved:
            os.dup2(target, descriptor)
        yield
    finally:
        for descriptor, original in saved.items():
            os.dup2(original, descriptor)
            os.close(original)


@contextlib.contextmanager
def _root_handlers() -> Iterator[None]:
    """Drops the handler that a library's logging.warning() gives the root logger."""
    before = list(logging.root.handlers)
    try:
        yield
    finally:
        logging.root.handlers[:] = before


@contextlib.contextmanager
def _python_streams(target: int) -> Iterator[None]:
    stream = _Detachable(target)
    try:
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield
    finally:
        stream.detach_target()


class _Detachable(io.TextIOBase):
    """Writes to a descriptor, and to the real standard error once detached.

    Libraries that are imported while it stands in for `sys.stderr` keep it in their log handlers,
    which go on writing to it afterwards.
    """

    def __init__(self, target: int) -> None:
        self._target: int | None = target

    def detach_target(self) -> None:
        self._target = None

    def write(self, text: str) -> int:
        if self._target is None:
            return sys.__stderr__.write(text) if sys.__stderr__ is not None else len(text)
        os.write(self._target, text.encode("utf-8", "replace"))
        return len(text)

    def writable(self) -> bool:
        return True
