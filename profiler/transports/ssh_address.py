"""What a user may write after `ssh://`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ...errors import UsageError

PASSWORD_VARIABLE = "EDGEWRIGHT_SSH_PASSWORD"
FORM = "ssh://[user@]host[:port]; an IPv6 address stands in brackets"

# Nothing that a shell could take for more than a word: both may end up in a ProxyCommand.
_USER = re.compile(r"\w[\w.+-]*(@[\w.+-]+)?")
_HOST = re.compile(r"[\w][\w.-]*")
_SCOPE = re.compile(r"[\w.-]+")
_WHOLE = re.compile(
    r"ssh://(?:(?P<user>.*)@)?(?:\[(?P<ipv6>[^]]*)\]|(?P<host>[^:/\[\]]*))(?::(?P<port>[^:/]*))?/?"
)


@dataclass(frozen=True)
class SshAddress:
    """An address as the user wrote it; None where the SSH configuration decides."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.user is None else f"{self.user}@"
        return f"ssh://{user}{host}" + ("" if self.port is None else f":{self.port}")


def parse_ssh_address(text: str) -> SshAddress:
    """Reads `ssh://[user@]host[:port]`.

    Raises:
        UsageError: it is malformed, or contains a password.
    """
    login, at, _ = text.removeprefix("ssh://").rpartition("@")
    if at and ":" in login:
        raise UsageError(
            "a device address must not contain a password",
            hint=f"use a key, or set the environment variable {PASSWORD_VARIABLE}",
        )
    match = _WHOLE.fullmatch(text)
    if match is None:
        raise _malformed(text, "it is not of this form")
    user, host = match["user"], match["host"]
    if user is not None and not _USER.fullmatch(user):
        raise _malformed(text, f"{user!r} can't be a user's name")
    if match["ipv6"] is not None:
        host = _ipv6(text, match["ipv6"])
    elif not _HOST.fullmatch(host):
        raise _malformed(text, f"{host!r} can't be a host's name")
    return SshAddress(host, user, _port(text, match["port"]))


def _ipv6(text: str, host: str) -> str:
    address, percent, scope = host.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError as error:
        raise _malformed(text, f"{host!r} is not an IPv6 address") from error
    if percent and not _SCOPE.fullmatch(scope):
        raise _malformed(text, f"{scope!r} can't be an IPv6 zone")
    return host


def _port(text: str, port: str | None) -> int | None:
    if port is None:
        return None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _malformed(text, f"{port!r} is not a port (1 to 65535)")
    return int(port)


def _malformed(text: str, why: str) -> UsageError:
    return UsageError(f"device address {text!r}: {why}", hint=f"expected {FORM}")
