"""Proving who we are to an SSH server, and saying afterwards what was tried."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import Unauthorized
from .ssh_address import PASSWORD_VARIABLE
from .ssh_config import Destination
from .ssh_errors import library_errors
from .ssh_secrets import keep, secrets_for

if TYPE_CHECKING:
    import paramiko

_USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


def authenticate(transport: paramiko.Transport, destination: Destination) -> None:
    """Logs in with the configured keys, the agent's, the usual ones in ~/.ssh, or a password.

    The password comes from the environment variable EDGEWRIGHT_SSH_PASSWORD. Where there is a
    terminal, the passphrases of encrypted keys and a password are asked for when nothing else fits.

    Raises:
        Unauthorized: nothing was accepted; it lists what was tried and what the server takes.
        paramiko.SSHException, EOFError, OSError: the connection failed.
    """
    _Login(transport, destination).attempt()


@dataclass
class _Login:
    transport: paramiko.Transport
    destination: Destination
    accepted: list[str] = field(default_factory=list)  # by the server, in SSH's names
    tried: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    encrypted: list[Path] = field(default_factory=list)  # and not unlocked
    cut_off: bool = False

    def attempt(self) -> None:
        if self._without_credentials() or self._by_key() or self._by_password():
            return
        raise self._refusal()

    def _without_credentials(self) -> bool:
        """Asks which methods there are, in the way SSH provides: by using none."""
        import paramiko

        try:
            self.transport.auth_none(self.destination.user)
        except paramiko.BadAuthenticationType as answer:
            self.accepted = list(answer.allowed_types)
            return False
        return True

    def _by_key(self) -> bool:
        import paramiko

        if "publickey" not in self.accepted:
            return False
        for name, key in self._keys():
            self.tried.append(f"{name} ({key.get_name()} {key.fingerprint})")
            try:
                more = self.transport.auth_publickey(self.destination.user, key)
            except (paramiko.SSHException, EOFError) as error:
                if not self.transport.is_active():
                    self._connection_ended(error)
                    return False
                continue
            if not more:
                return True
            self.accepted = list(more)  # the key was right, and the server wants more
            return False
        return False

    def _by_password(self) -> bool:
        method = next((m for m in ("password", "keyboard-interactive") if m in self.accepted), None)
        if self.cut_off or method is None:
            return False
        if password := os.environ.get(PASSWORD_VARIABLE):
            self.tried.append(f"the password in {PASSWORD_VARIABLE}")
            return self._password_fits(method, password)
        name = f"password of {self.destination}"
        for typed in secrets_for(name):
            self.tried.append("a password that was typed")
            if self._password_fits(method, typed):
                keep(name, typed)
                return True
            if not self.transport.is_active():
                break
        return False

    def _password_fits(self, method: str, password: str) -> bool:
        import paramiko

        try:
            if method == "password":
                more = self.transport.auth_password(self.destination.user, password, fallback=False)
            else:
                more = self.transport.auth_interactive(
                    self.destination.user, lambda _title, _text, prompts: [password] * len(prompts)
                )
        except (paramiko.SSHException, EOFError) as error:
            if not self.transport.is_active():
                self._connection_ended(error)
            return False
        return not more

    def _connection_ended(self, error: BaseException) -> None:
        """Servers hang up after too many attempts; before the first one it is something else."""
        if len(self.tried) < 2:
            import paramiko

            if not isinstance(error, paramiko.AuthenticationException):
                raise error
        self.cut_off = True

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """The keys to try with their names for the user, each once."""
        seen: set[bytes] = set()
        for name, key in self._candidates():
            if (blob := key.asbytes()) not in seen:
                seen.add(blob)
                yield name, key
        for path in list(self.encrypted):
            # Nobody is asked for a passphrase of a key that the agent had, too.
            if seen.isdisjoint(_public_blobs(path)) and (opened := self._unlocked(path)):
                yield str(path), opened

    def _candidates(self) -> Iterator[tuple[str, paramiko.PKey]]:
        configured = self.destination.identity_files
        yield from self._from_files(configured, named_by_user=True)
        only = {blob for path in configured for blob in _public_blobs(path)}
        for key in _agent_keys():
            if not self.destination.identities_only or key.asbytes() in only:
                yield f"agent key {key.comment}".rstrip(), key
        if not configured:
            usual = [Path.home() / ".ssh" / name for name in _USUAL_KEYS]
            yield from self._from_files(usual, named_by_user=False)

    def _from_files(
        self, paths: Iterable[Path], *, named_by_user: bool
    ) -> Iterator[tuple[str, paramiko.PKey]]:
        import paramiko
        from cryptography.exceptions import UnsupportedAlgorithm

        for path in paths:
            try:
                yield str(path), paramiko.PKey.from_path(path.expanduser())
            except FileNotFoundError:
                if named_by_user:
                    self.unusable.append(f"{path} does not exist")
            except (TypeError, paramiko.PasswordRequiredException):  # how a missing passphrase ends
                self.encrypted.append(path)
            except (*library_errors(), ValueError, UnsupportedAlgorithm, paramiko.UnknownKeyType):
                self.unusable.append(f"{path} can't be used as a private key")

    def _unlocked(self, path: Path) -> paramiko.PKey | None:
        import paramiko

        name = f"passphrase of {path}"
        for passphrase in secrets_for(name):
            try:
                key = paramiko.PKey.from_path(path.expanduser(), passphrase.encode())
            except (paramiko.SSHException, OSError, ValueError):  # how a wrong passphrase ends
                continue
            keep(name, passphrase)
            self.encrypted.remove(path)
            return key
        return None

    def _refusal(self) -> Unauthorized:
        said = f"it accepts {', '.join(self.accepted) or 'nothing that is known here'}"
        tried = f"tried: {'; '.join(self.tried)}" if self.tried else "there was nothing to try"
        parts = [f"{self.destination}: access denied", tried, said]
        unusable = [*self.unusable, *(f"{path} is encrypted" for path in self.encrypted)]
        if unusable:
            parts.insert(2, f"not usable: {'; '.join(unusable)}")
        if self.cut_off:
            parts.append("it hung up after so many attempts")
        return Unauthorized("; ".join(parts), hint=self._hint())

    def _hint(self) -> str:
        if self.cut_off:
            return "name the right key with IdentityFile and IdentitiesOnly in ~/.ssh/config"
        if self.encrypted:
            return f"load the key into an agent: ssh-add {self.encrypted[0]}"
        if {"password", "keyboard-interactive"} & set(self.accepted):
            return f"install a key with ssh-copy-id, or set {PASSWORD_VARIABLE}"
        return "add a public key of this machine to ~/.ssh/authorized_keys on the device"


def _agent_keys() -> list[paramiko.PKey]:
    """The keys in the user's SSH agent; none where no agent runs."""
    import paramiko

    try:
        return list(paramiko.Agent().get_keys())
    except library_errors():
        return []


def _public_blobs(path: Path) -> Iterator[bytes]:
    """The public key that belongs to an identity file, as agents name it."""
    for candidate in (path, path.with_name(f"{path.name}.pub")):
        try:
            fields = candidate.expanduser().read_text(encoding="ascii").split()
            yield base64.b64decode(fields[1], validate=True)
        except (OSError, ValueError, IndexError, binascii.Error):
            continue
