"""The ways to a device: each is one file here and one line in the table below."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping

from ...errors import UsageError
from .base import Completed, Progress, Transport

__all__ = ["TRANSPORTS", "Completed", "Progress", "Transport", "open_transport"]

FORMS = "local, ssh://[user@]host[:port], or adb://[SERIAL or host:port]"


def _local(address: str) -> Transport:
    from .local import LocalTransport

    return LocalTransport()


def _ssh(address: str) -> Transport:
    from .ssh import SshTransport

    return SshTransport(address)


def _adb(address: str) -> Transport:
    from .adb import AdbTransport

    return AdbTransport(address)


TRANSPORTS: Mapping[str, Callable[[str], Transport]] = {
    "local": _local,
    "ssh": _ssh,
    "adb": _adb,
}
"""What stands before `://` in an address (or the whole address) -> how to open it."""


def open_transport(address: str) -> Transport:
    """The way to a device; nothing is sent before the first command.

    Args:
        address: "local" (this machine) or "ssh://[user@]host[:port]", where the host may be a name
            from the SSH configuration and an IPv6 address stands in brackets.

    Raises:
        UsageError: the address is malformed, or the SSH configuration is.
    """
    scheme, separator, _ = address.partition("://")
    if scheme in TRANSPORTS and bool(separator) is (scheme != "local"):
        return TRANSPORTS[scheme](address)
    shown = without_password(address)
    nearest = _nearest(shown)
    raise UsageError(
        f"{shown!r} is neither a device of yours nor an address",
        hint=f"`edgewright devices list` shows your devices; an address is {FORMS}"
        + (f"; did you mean {nearest!r}?" if nearest else ""),
    )


def without_password(address: str) -> str:
    """The address as it may be shown: what looks like a password in it is masked."""
    return re.sub(r":(?!//)[^@]*@", ":***@", address, flags=re.DOTALL)


def _nearest(shown: str) -> str | None:
    if "***" in shown:
        return None
    scheme, separator, rest = shown.rpartition("://")
    if separator and rest:
        guess = difflib.get_close_matches(scheme.lower(), TRANSPORTS, n=1, cutoff=0.5)
        return f"{guess[0]}://{rest}" if guess and guess[0] != "local" else None
    if difflib.get_close_matches(shown.lower(), ["local", "localhost"], cutoff=0.7):
        return "local"
    if re.fullmatch(r"[\w.@-]+(:\d+)?", shown):
        return f"ssh://{shown}"
    return None
