"""Passphrases and passwords: typed on a terminal, unseen, and kept in memory alone.

They are kept for as long as the process lives: a connection that was lost in the middle of a
measurement must not wait for somebody to type.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

ATTEMPTS = 3

_kept: dict[str, str] = {}


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
            secret = getpass.getpass(f"{name}: ")
        except EOFError:
            return
        if not secret:
            return
        yield secret


def keep(name: str, secret: str) -> None:
    """Remembers a secret that fitted."""
    _kept[name] = secret
