"""From a destination to an authenticated SSH connection that notices when it is dead."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from ...errors import DeviceError, EdgewrightError, Unreachable
from .commands import last_words
from .ssh_auth import authenticate
from .ssh_config import Destination
from .ssh_errors import device_error, library_errors
from .ssh_known_hosts import (
    HostKey,
    KnownKey,
    preferred_algorithms,
    read_known_keys,
    verify_host_key,
)

if TYPE_CHECKING:
    import paramiko

HANDSHAKE_TIMEOUT_S = 30
CHANNEL_TIMEOUT_S = 30

# paramiko has no ChaCha20: whatever is agreed on, both sides compute AES, and what comes with it is
# either GCM's hash or an HMAC. GCM is the faster one where CPUs have instructions for AES, and also
# where they have none, as a Raspberry Pi 4 (OpenSSL 3.0 without any special instructions:
# 141 MB/s, against 112 for AES-128-CTR with HMAC-SHA-256).
_FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")

# How much may be on the way to us: paramiko's own 2 MB would hold a link with 20 ms of delay each
# way down to 50 MB/s. Its buffer moves all that it holds at every read, so more costs time, too.
_WINDOW_BYTES = 4 << 20


class Connection:
    """An open, verified and authenticated connection to one SSH server."""

    def __init__(self, destination: Destination) -> None:
        """Connects.

        Raises:
            Unreachable, HostKeyMismatch, Unauthorized, DeviceError: as the mapping says.
            UsageError: a known_hosts file can't be read.
        """
        from .ssh_paramiko import LoginTransport

        _keep_quiet()
        self._destination = destination
        self._closing = threading.Event()
        self._lost_because: str | None = None
        self._link = _open_link(destination)
        self._transport = LoginTransport(self._link, default_window_size=_WINDOW_BYTES)
        try:
            self._shake_hands()
            self._log_in()
        except BaseException:
            self.close()
            raise
        for work in (self._ask_for_signs_of_life, self._watch_for_silence):
            threading.Thread(target=work, name=f"edgewright-ssh {destination}", daemon=True).start()

    @property
    def is_alive(self) -> bool:
        return bool(self._transport.is_active())

    def ends_within(self, seconds: float) -> bool:
        """Whether the connection is dead, or dies while we wait: it closes its channels first."""
        self._transport.join(seconds)
        return not self.is_alive

    def open_session(self) -> paramiko.Channel:
        """A new channel for one command; raises what paramiko raises."""
        return self._transport.open_session(timeout=CHANNEL_TIMEOUT_S)

    def open_tunnel(self, host: str, port: int) -> paramiko.Channel:
        """A connection from the server to another host; raises what paramiko raises."""
        return self._transport.open_channel(
            "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=CHANNEL_TIMEOUT_S
        )

    def why_lost(self) -> DeviceError:
        """The error of a connection that ended by itself."""
        cause = self._lost_because or "the other side closed it, or the network failed"
        return Unreachable(f"{self._destination}: the connection was lost: {cause}")

    def close(self) -> None:
        """Ends the connection and everything that it runs through."""
        self._closing.set()
        self._transport.close()
        self._link.close()

    def _shake_hands(self) -> None:
        """Agrees on encryption with a server that proves to be the one on record."""
        known = read_known_keys(self._destination.known_hosts, self._destination.known_as)
        with self._mapped():
            offered = _begin(self._transport, self._destination, known)
        verify_host_key(self._destination, known, offered)

    def _log_in(self) -> None:
        with self._mapped():
            authenticate(self._transport, self._destination)

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Turns what paramiko raises inside into our errors."""
        try:
            yield
        except EdgewrightError:
            raise
        except Exception as error:
            # A dead connection hands over whatever its reader stumbled over, a ValueError, say.
            if self.is_alive and not isinstance(error, library_errors()):
                raise
            raise self._link.explained(device_error(error, str(self._destination))) from error

    def _ask_for_signs_of_life(self) -> None:
        """Makes the server say something from time to time, however long a command is silent."""
        while not self._closing.wait(self._destination.alive_interval_s) and self.is_alive:
            with contextlib.suppress(*library_errors()):
                self._transport.global_request("keepalive@openssh.com", wait=True)

    def _watch_for_silence(self) -> None:
        """Ends the connection, and with it every wait for an answer, when nothing is heard."""
        limit_s = self._destination.alive_limit_s
        while not self._closing.wait(limit_s / 10) and self.is_alive:
            if time.monotonic() - self._link.heard_at > limit_s:
                self._lost_because = f"the device has been silent for {limit_s:g} s"
                self._transport.close()


def offered_host_key(destination: Destination, known: Sequence[KnownKey]) -> HostKey:
    """The host key that a server shows, which is not verified here; nobody logs in.

    Raises:
        Unreachable, DeviceError: the server can't be reached or does not speak SSH.
        HostKeyMismatch, Unauthorized: so say the servers on the way to it.
    """
    from .ssh_paramiko import LoginTransport

    _keep_quiet()
    link = _open_link(destination)
    transport = LoginTransport(link)
    try:
        return _begin(transport, destination, known)
    except Exception as error:
        # A dead connection hands over whatever its reader stumbled over, a ValueError, say.
        if transport.is_active() and not isinstance(error, library_errors()):
            raise
        raise link.explained(device_error(error, str(destination))) from error
    finally:
        transport.close()
        link.close()


def _begin(
    transport: paramiko.Transport, destination: Destination, known: Sequence[KnownKey]
) -> HostKey:
    """Agrees on encryption; returns the server's key. Raises what paramiko raises."""
    security = transport.get_security_options()
    security.key_types = preferred_algorithms(known, security.key_types)
    fast = [cipher for cipher in _FAST_CIPHERS if cipher in security.ciphers]
    security.ciphers = [*fast, *(c for c in security.ciphers if c not in fast)]
    transport.banner_timeout = destination.connect_timeout_s
    transport.handshake_timeout = transport.auth_timeout = HANDSHAKE_TIMEOUT_S
    transport.start_client(timeout=destination.connect_timeout_s + HANDSHAKE_TIMEOUT_S)
    offered = transport.get_remote_server_key()
    return HostKey(offered.get_name(), offered.asbytes())


class _Link:
    """What paramiko wants of a socket, over a socket or a tunnel; it notes when it heard something.

    Attributes:
        heard_at: time.monotonic() of the last byte that came in.
    """

    def __init__(
        self,
        stream: Any,
        jump: Connection | None = None,
        proxy: subprocess.Popen[bytes] | None = None,
        proxy_says: IO[bytes] | None = None,
    ) -> None:
        self.heard_at = time.monotonic()
        self._stream = stream
        self._jump = jump
        self._proxy = proxy
        self._proxy_says = proxy_says

    def recv(self, size: int) -> bytes:
        data: bytes = self._stream.recv(size)
        self.heard_at = time.monotonic()
        return data

    def send(self, data: bytes) -> int:
        sent: int = self._stream.send(data)
        return sent

    def settimeout(self, seconds: float | None) -> None:
        self._stream.settimeout(seconds)

    @property
    def _closed(self) -> bool:  # paramiko looks at this one, as sockets have it
        return bool(self._stream._closed)

    def close(self) -> None:
        with contextlib.suppress(*library_errors()):  # a tunnel says goodbye, or tries to
            self._stream.close()
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()
        if self._jump is not None:
            self._jump.close()

    def explained(self, error: DeviceError) -> DeviceError:
        """The error with what the ProxyCommand had to say, where there is one."""
        if self._proxy_says is not None:
            self._proxy_says.seek(0)
            if said := last_words(self._proxy_says.read().decode(errors="replace")):
                error.hint = f"the ProxyCommand said: {said}"
        return error


def _open_link(destination: Destination) -> _Link:
    if destination.jump is not None:
        return _through_jump(destination, destination.jump)
    if destination.proxy_command is not None:
        return _through_proxy(destination.proxy_command)
    address = (destination.host, destination.port)
    try:
        stream = socket.create_connection(address, timeout=destination.connect_timeout_s)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS can't have
        raise device_error(error, str(destination)) from error
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _Link(stream)


def _through_jump(destination: Destination, jump: Destination) -> _Link:
    below = Connection(jump)
    try:
        return _Link(below.open_tunnel(destination.host, destination.port), jump=below)
    except library_errors() as error:
        below.close()
        raise device_error(error, f"{destination} through {jump}") from error


def _through_proxy(command: str) -> _Link:
    """The command comes from the user's own SSH configuration and is theirs to choose."""
    ours, theirs = socket.socketpair()
    says = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the link
    with theirs:
        proxy = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=says,
            start_new_session=True,  # Ctrl-C is for us; we end it ourselves
        )
    return _Link(ours, proxy=proxy, proxy_says=says)


def _keep_quiet() -> None:
    """Keeps paramiko's log off the terminal of programs that have not set up logging."""
    logger = logging.getLogger("paramiko")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
