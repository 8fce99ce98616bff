"""Passphrases and passwords: typed on a terminal, unseen, and kept in memory alone.

They are kept for as long as the process lives: a connection that was lost in the middle of a
measurement must not wait for somebody to type.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

ATTEMPTS = 3

_kept: dict[str, str] = {}
_around: list[Callable[[], AbstractContextManager[None]]] = []


@contextlib.contextmanager
def asking_within(around: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """While this lasts, questions are asked within `around()`: who draws on the terminal stops."""
    _around.append(around)
    try:
        yield
    finally:
        _around.remove(around)


def secrets_for(name: str) -> Iterator[str]:
    """The secret that fitted before, then what the user types: three times, or an empty line.

    Where there is no terminal nobody is asked.

    Args:
        name: what it is the secret of, in words for the user.
    """
    if name in _kept:
        yield _kept[name]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    import getpass

    for _ in range(ATTEMPTS):
        try:
            with contextlib.ExitStack() as stack:
                for around in _around:
                    stack.enter_context(around())
                secret = getpass.getpass(f"{name}: ")
        except EOFError:
            return
        if not secret:
            return
        yield secret


def keep(name: str, secret: str) -> None:
    """Remembers a secret that fitted."""
    _kept[name] = secret
