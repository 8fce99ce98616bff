"""A loopback device served from inside the test process, for machines without an sshd.

It speaks the real protocol (asyncssh on the server's side) and runs real commands. One thing
differs from OpenSSH: the exit code is sent after the command's output has ended, so a command
that leaves a background process holding its output is reported only when that process ends.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import signal
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from .base import (
    MARKER,
    DeviceFiles,
    SshDevice,
    free_port,
    kill_marked,
    loopback_environment,
)

T = TypeVar("T")

USER = "device"
PASSWORD = "raspberry"
CHUNK_BYTES = 64 * 1024
CALL_TIMEOUT_S = 30.0

Process = asyncssh.SSHServerProcess[bytes]


@dataclass(kw_only=True)
class InProcessDevice(SshDevice):
    """A device behind an asyncssh server that runs in a thread of this process."""

    environment: dict[str, str]
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, init=False)
    _thread: threading.Thread = field(init=False)
    _acceptor: asyncssh.SSHAcceptor | None = field(default=None, init=False)
    _connections: set[asyncssh.SSHServerConnection] = field(default_factory=set, init=False)
    _sessions: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="in-process ssh server", daemon=True
        )
        self._thread.start()

    def start(self) -> None:
        self._call(self._start())

    def stop(self) -> None:
        self._call(self._stop())

    def drop_connections(self) -> None:
        self._call(self._drop_connections())

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self.stop()
        kill_marked(self.environment[MARKER])
        self._call(self._finish_sessions())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.files.remove()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the server's thread and wait for it."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(CALL_TIMEOUT_S)

    async def _start(self) -> None:
        self._acceptor = await asyncssh.listen(
            self.host,
            self.port,
            server_factory=lambda: Gatekeeper(self.user, self.password, self._connections),
            server_host_keys=[str(self.host_key_path)],
            authorized_client_keys=str(self.files.authorized_keys),
            process_factory=self._serve,
            sftp_factory=lambda channel: HomeSFTPServer(channel, self.home),
            encoding=None,
            reuse_address=True,
            login_timeout=30,
        )

    async def _stop(self) -> None:
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
            await self._drop_connections()
            await acceptor.wait_closed()

    async def _drop_connections(self) -> None:
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.wait_closed()

    async def _finish_sessions(self) -> None:
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _serve(self, process: Process) -> None:
        # A task of its own: a lost connection must not cancel the wait for the command.
        session = asyncio.create_task(run_command(process, self.home, self.environment))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)


def start_inprocess(python: Path | None = Path(sys.executable)) -> InProcessDevice:
    """Start a device that is this machine, served by this process.

    Like `devices.sshd.start_sshd`, except that the user has a name of the device's own and a
    password (`device.password`) as a second way in.
    """
    files = DeviceFiles.create()
    home = files.directory / "home"
    home.mkdir()
    environment = loopback_environment(files, home, python)
    environment |= {"USER": USER, "LOGNAME": USER, "SHELL": "/bin/sh"}
    device = InProcessDevice(
        port=free_port(),
        user=USER,
        password=PASSWORD,
        home=str(home),
        files=files,
        environment=environment,
    )
    try:
        device.start()
        files.write_client_files(USER, device.port)
    except BaseException:
        device.close()
        raise
    return device


class Gatekeeper(asyncssh.SSHServer):
    """Lets one user in, by key or by password, and keeps the list of open connections."""

    def __init__(
        self, user: str, password: str | None, connections: set[asyncssh.SSHServerConnection]
    ) -> None:
        self._user = user
        self._password = password
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._connection)

    def password_auth_supported(self) -> bool:
        return self._password is not None

    def validate_password(self, username: str, password: str) -> bool:
        return username == self._user and password == self._password


class HomeSFTPServer(asyncssh.SFTPServer):
    """The real file system; relative paths start in the device's home."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: str) -> None:
        super().__init__(channel)
        self._home = home.encode()

    def map_path(self, path: bytes) -> bytes:
        return posixpath.join(self._home, path)


async def run_command(process: Process, home: str, environment: dict[str, str]) -> None:
    """Run the requested command with /bin/sh; it outlives the connection, as under OpenSSH."""
    child_stdin, to_child = os.pipe()
    from_stdout, child_stdout = os.pipe()
    from_stderr, child_stderr = os.pipe()
    command = ["-c", process.command] if process.command else []
    # Pipes of our own: asyncio's would kill the command when they are closed.
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        *command,
        stdin=child_stdin,
        stdout=child_stdout,
        stderr=child_stderr,
        cwd=home,
        env=environment,
        start_new_session=True,
    )
    for end in (child_stdin, child_stdout, child_stderr):
        os.close(end)
    feeding = asyncio.create_task(feed(process, to_child))
    outputs = asyncio.gather(
        forward(from_stdout, process.stdout), forward(from_stderr, process.stderr)
    )
    exit_code = await child.wait()
    await outputs
    feeding.cancel()
    with suppress(asyncio.CancelledError):
        await feeding
    with suppress(OSError, asyncssh.Error):
        report(process, exit_code)


def report(process: Process, exit_code: int) -> None:
    """Tell the client how the command ended."""
    if exit_code >= 0:
        process.exit(exit_code)
    else:
        process.exit_with_signal(signal.Signals(-exit_code).name.removeprefix("SIG"))


async def feed(process: Process, descriptor: int) -> None:
    """Copy what the client sends to the command, until either has had enough."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb", buffering=0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    try:
        while chunk := await process.stdin.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except (OSError, asyncssh.Error):
        pass  # the command ended, or the connection was lost
    finally:
        transport.close()


async def forward(descriptor: int, client: asyncssh.SSHWriter[bytes]) -> None:
    """Copy what the command says to the client; without a client the command gets SIGPIPE."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            client.write(chunk)
            await client.drain()
    except (OSError, asyncssh.Error):
        pass  # the connection was lost
    finally:
        transport.close()
