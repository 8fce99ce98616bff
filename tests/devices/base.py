"""What every test device is: an address over SSH, the keys to it, and the faults it can have."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .processes import send, with_environment

if TYPE_CHECKING:
    import paramiko

LOOPBACK = "127.0.0.1"
MARKER = "EDGEWRIGHT_TEST_DEVICE"
"""Environment variable carried by every process of a loopback device, so that it can be found."""


class DeviceUnavailable(Exception):
    """This machine cannot offer the device; the message says why and what would help."""


class CommandResult(NamedTuple):
    """What a command on a device left behind."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, kw_only=True)
class DeviceFiles:
    """The temporary directory of one device: its keys and its configuration, never its own files.

    Everything a client needs (`key`, `known_hosts`, `ssh_config`) lies beside what the server
    needs (`host_key`, `authorized_keys`, `log`).
    """

    directory: Path

    @classmethod
    def create(cls) -> DeviceFiles:
        """Make the directory with a fresh host key and a fresh, authorized client key."""
        files = cls(directory=Path(tempfile.mkdtemp(prefix="edgewright-device-")))
        write_key_pair(files.host_key)
        write_key_pair(files.key)
        files.authorized_keys.write_bytes(public_half(files.key).read_bytes())
        return files

    @property
    def host_key(self) -> Path:
        return self.directory / "host_key"

    @property
    def key(self) -> Path:
        return self.directory / "id_ed25519"

    @property
    def authorized_keys(self) -> Path:
        return self.directory / "authorized_keys"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    def write_client_files(self, user: str, port: int) -> None:
        """Write the known_hosts file and the ssh_config fragment for a server on `port`."""
        algorithm, public_key = public_half(self.host_key).read_text().split()[:2]
        self.known_hosts.write_text(f"[{LOOPBACK}]:{port} {algorithm} {public_key}\n")
        self.ssh_config.write_text(
            f"Host edgewright-device {LOOPBACK}\n"
            f"  HostName {LOOPBACK}\n"
            f"  Port {port}\n"
            f"  User {user}\n"
            f"  IdentityFile {self.key}\n"
            "  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n"
            "  StrictHostKeyChecking yes\n"
        )

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(kw_only=True)
class SshDevice(ABC):
    """A device that answers SSH on the loopback interface; also a context manager.

    `home` is the directory in which commands and SFTP start, as the device names it.
    `known_hosts_path` and `ssh_config_path` describe the host key the device was born with:
    after `change_host_key()` they are out of date on purpose.
    """

    host: str = LOOPBACK
    port: int
    user: str
    password: str | None = None
    home: str
    files: DeviceFiles

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@{self.host}:{self.port}"

    @property
    def key_path(self) -> Path:
        return self.files.key

    @property
    def host_key_path(self) -> Path:
        return self.files.host_key

    @property
    def known_hosts_path(self) -> Path:
        return self.files.known_hosts

    @property
    def ssh_config_path(self) -> Path:
        """A fragment for `ssh -F`; the host is called `edgewright-device`."""
        return self.files.ssh_config

    @abstractmethod
    def start(self) -> None:
        """Listen on `port`; returns once connections are accepted."""

    @abstractmethod
    def stop(self) -> None:
        """Refuse connections and cut the open ones; processes and files on the device stay."""

    @abstractmethod
    def drop_connections(self) -> None:
        """Cut every open connection; go on listening, and leave the device's processes alone."""

    @abstractmethod
    def close(self) -> None:
        """Stop, kill what still runs on the device, and remove its files. Can be called twice."""

    def restart(self) -> None:
        """Stop and listen again on the same port, as after a reboot of the SSH server."""
        self.stop()
        self.start()

    def change_host_key(self) -> None:
        """Give the server another host key, as after a reinstallation or in an attack."""
        self.stop()
        write_key_pair(self.files.host_key)
        self.start()

    def connect(self, user: str | None = None) -> paramiko.SSHClient:
        """A connected paramiko client that trusts `known_hosts_path` and nothing else."""
        import paramiko

        client = paramiko.SSHClient()
        client.load_host_keys(str(self.known_hosts_path))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.connect(
            self.host,
            self.port,
            user or self.user,
            key_filename=str(self.key_path),
            look_for_keys=False,
            allow_agent=False,
            timeout=20,
            banner_timeout=20,
            auth_timeout=20,
        )
        return client

    def execute(self, command: str, stdin: str = "", user: str | None = None) -> CommandResult:
        """Run one shell command over a connection of its own and wait for its end."""
        with self.connect(user) as client:
            to_stdin, stdout, stderr = client.exec_command(command)
            to_stdin.write(stdin)
            to_stdin.channel.shutdown_write()
            out, err = stdout.read().decode(), stderr.read().decode()
            return CommandResult(stdout.channel.recv_exit_status(), out, err)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def write_key_pair(path: Path) -> None:
    """Write a fresh ed25519 key to `path` (mode 600) and its public half beside it."""
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    public_half(path).write_bytes(public + b"\n")


def public_half(key_path: Path) -> Path:
    """Where the public key to the private key at `key_path` lies."""
    return key_path.with_name(f"{key_path.name}.pub")


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def loopback_environment(files: DeviceFiles, home: Path, python: Path | None) -> dict[str, str]:
    """The environment of commands on a device that is really this machine.

    The device's `bin` directory comes first on PATH; tests may put tools there. With `python`,
    the device's `python3` is that interpreter, with whatever is installed in it.
    """
    programs = files.directory / "bin"
    programs.mkdir(exist_ok=True)
    if python is not None:
        # A script, as a link to a virtual environment's python would forget the environment.
        launcher = programs / "python3"
        launcher.write_text(f"#!/bin/sh\nexec '{python}' \"$@\"\n")
        launcher.chmod(0o755)
    return {
        "HOME": str(home),
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        MARKER: secrets.token_hex(16),
    }


def kill_marked(marker: str) -> None:
    """Kill every process that carries the device marker `marker` in its environment."""
    send(signal.SIGKILL, with_environment(MARKER, marker))
