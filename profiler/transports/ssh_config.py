"""From an address to a destination, with the help of the user's SSH configuration."""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...files import user_path
from .ssh_address import SshAddress, parse_ssh_address

CONFIG_VARIABLE = "EDGEWRIGHT_SSH_CONFIG"
DEFAULT_PORT = 22
MAX_JUMPS = 8
MAX_INCLUDES = 16


@dataclass(frozen=True)
class Destination:
    """One SSH server and everything needed to reach it.

    Attributes:
        asked_for: what the user named: for a server on the way, the device behind it.
        known_as: what its host key is filed under: "host", "[host]:port" or an alias.
        identity_files: the keys that the configuration names; empty: the usual ones.
        known_hosts: the user's files first; the first one is where a new key would go.
        hash_known_hosts: whether the host's name is not to be readable there.
        jump: the server to go through.
        alive_interval_s: how often a sign of life is asked for.
        alive_limit_s: how long the device may be silent before the connection counts as lost.
    """

    asked_for: SshAddress
    host: str
    port: int
    user: str
    known_as: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    known_hosts: tuple[Path, ...]
    hash_known_hosts: bool
    proxy_command: str | None
    jump: Destination | None
    connect_timeout_s: float
    alive_interval_s: float
    alive_limit_s: float

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


def find_destination(address: SshAddress) -> Destination:
    """Completes an address from ~/.ssh/config, or the file named by EDGEWRIGHT_SSH_CONFIG.

    HostName, Port, User, IdentityFile, IdentitiesOnly, UserKnownHostsFile, GlobalKnownHostsFile,
    HostKeyAlias, HashKnownHosts, ProxyJump, ProxyCommand, ConnectTimeout, ServerAliveInterval,
    ServerAliveCountMax and Include are understood; StrictHostKeyChecking is not: host keys are
    always verified.

    Raises:
        UsageError: the configuration can't be read or understood.
    """
    path = _config_path()
    return _Finder(path, "\n".join(_lines(path, MAX_INCLUDES))).find(address, MAX_JUMPS)


class _Finder:
    """Looks hosts up in one configuration."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text

    def find(
        self,
        address: SshAddress,
        jumps_left: int,
        jump: str | None = None,
        asked_for: SshAddress | None = None,
    ) -> Destination:
        """Completes one address; `jump` overrides the configuration's ProxyJump."""
        asked_for = asked_for or address
        if jumps_left < 0:
            raise UsageError(f"SSH configuration {self._path}: ProxyJump goes round in a circle")
        options = self._lookup(address)
        host = options.get("hostname", address.host)
        port = self._number(options, "port", DEFAULT_PORT)
        user = options.get("user") or getpass.getuser()
        proxy_command = options.get("proxycommand")
        if jump is None and proxy_command is None:
            jump = options.get("proxyjump")
        alive_interval = self._number(options, "serveraliveinterval", 0) or 5
        return Destination(
            asked_for=asked_for,
            host=host,
            port=port,
            user=user,
            known_as=options.get("hostkeyalias") or known_host_name(host, port),
            identity_files=tuple(user_path(name) for name in options.get("identityfile", ())),
            identities_only=options.get("identitiesonly", "no").lower() == "yes",
            known_hosts=tuple(self._known_hosts(options, host, port, user)),
            hash_known_hosts=options.get("hashknownhosts", "no").lower() == "yes",
            proxy_command=None if jump else proxy_command,
            jump=self._jump(jump, jumps_left, asked_for),
            connect_timeout_s=self._number(options, "connecttimeout", 0) or 15,
            alive_interval_s=alive_interval,
            alive_limit_s=alive_interval * (self._number(options, "serveralivecountmax", 0) or 3),
        )

    def _lookup(self, address: SshAddress) -> Mapping[str, Any]:
        import paramiko

        # The first value counts, also for "%p" and "%r" in the values of other options.
        given = {"User": address.user, "Port": address.port}
        first = [f"{key} {value}" for key, value in given.items() if value is not None]
        try:
            config = paramiko.SSHConfig.from_text("\n".join([*first, self._text]))
        except (paramiko.SSHException, ValueError) as error:
            raise UsageError(f"SSH configuration {self._path}: {error}") from error
        try:
            options: Mapping[str, Any] = config.lookup(address.host)
        except Exception as error:  # "Match exec" runs a command, which may fail in any way
            raise UsageError(
                f"SSH configuration {self._path}: can't look up {address.host}: {error!s:.300}"
            ) from error
        return options

    def _jump(self, jump: str | None, jumps_left: int, asked_for: SshAddress) -> Destination | None:
        """The last server of a ProxyJump list, which is reached through those before it."""
        if jump is None or jump.lower() == "none":
            return None
        before, comma, last = jump.rpartition(",")
        text = last.strip()
        address = parse_ssh_address(text if text.startswith("ssh://") else f"ssh://{text}")
        return self.find(address, jumps_left - 1, before if comma else None, asked_for)

    def _known_hosts(
        self, options: Mapping[str, Any], host: str, port: int, user: str
    ) -> Iterator[Path]:
        tokens = {
            "%%": "%",
            "%d": str(Path.home()),
            "%h": host,
            "%p": str(port),
            "%r": user,
            "%u": getpass.getuser(),
        }
        for key, usual in (
            ("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"),
            ("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"),
        ):
            named = options.get(key, usual)
            # A quoted name comes without its quotes, so blanks need not separate names.
            whole = user_path(named).is_file()
            for name in [named] if whole else _words(self._path, named):
                if name.lower() != "none":
                    full = re.sub("%.", lambda match: tokens.get(match[0], match[0]), name)
                    yield user_path(full)

    def _number(self, options: Mapping[str, Any], key: str, default: int) -> int:
        value = options.get(key, default)
        try:
            return int(value)
        except ValueError as error:
            raise UsageError(
                f"SSH configuration {self._path}: {key} must be a whole number, not {value!r}"
            ) from error


def known_host_name(host: str, port: int) -> str:
    """The name under which OpenSSH files a server's key."""
    return host if port == DEFAULT_PORT else f"[{host}]:{port}"


def _config_path() -> Path:
    named = os.environ.get(CONFIG_VARIABLE)
    if not named:
        return Path.home() / ".ssh" / "config"
    if not Path(named).is_file():
        raise UsageError(f"{CONFIG_VARIABLE} names {named}, which is not a file")
    return Path(named)


def _lines(path: Path, includes_left: int) -> Iterator[str]:
    """The lines of a configuration file, with those of the files that it includes."""
    if includes_left < 0:
        raise UsageError(f"SSH configuration {path}: Include goes round in a circle")
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"SSH configuration {path}: {error.strerror or error}") from error
    for line in lines:
        include = re.fullmatch(r"\s*include[\s=]+(.*)", line, re.IGNORECASE)
        if include is None:
            yield line
            continue
        for pattern in _words(path, include[1]):
            full = Path.home() / ".ssh" / user_path(pattern)
            for included in sorted(glob.glob(str(full))):  # noqa: PTH207 - may be absolute
                yield from _lines(Path(included), includes_left - 1)


def _words(path: Path, text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise UsageError(f"SSH configuration {path}: {text!r}: {error}") from error
