"""The adb server, which has the devices: where it is, that it runs, what it says."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import DeviceError, Unreachable, UsageError
from .adb_errors import device_error, library_errors
from .commands import last_words

if TYPE_CHECKING:
    import adbutils

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 5037
START_TIMEOUT_S = 30.0
REACH_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 10.0
"""How long the server may take to say what it knows by itself."""

CONNECT_TIMEOUT_S = 30.0
"""How long it may take to connect to a wireless device; it gives up by itself before that."""

SOCKET_VARIABLE = "ADB_SERVER_SOCKET"
ADDRESS_VARIABLE = "ANDROID_ADB_SERVER_ADDRESS"
PORT_VARIABLE = "ANDROID_ADB_SERVER_PORT"


@dataclass(frozen=True)
class ServerAddress:
    """Where the server listens."""

    host: str
    port: int

    @property
    def is_here(self) -> bool:
        return self.host in (LOOPBACK, "localhost", "::1")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def server_address(environment: Mapping[str, str] = os.environ) -> ServerAddress:
    """Where adb's own client would look for it.

    Raises:
        UsageError: an environment variable says something that can't be used.
    """
    if where := environment.get(SOCKET_VARIABLE):
        kind, _, rest = where.partition(":")
        name, _, number = rest.rpartition(":")
        if kind != "tcp":
            raise UsageError(
                f"{SOCKET_VARIABLE}={where}: only an adb server that listens on TCP can be used",
                hint=f"expected tcp:PORT or tcp:HOST:PORT in {SOCKET_VARIABLE}",
            )
        return ServerAddress(name or LOOPBACK, _port(SOCKET_VARIABLE, where, number))
    host = environment.get(ADDRESS_VARIABLE) or LOOPBACK
    port = environment.get(PORT_VARIABLE)
    return ServerAddress(host, _port(PORT_VARIABLE, port, port) if port else DEFAULT_PORT)


def _port(variable: str, said: str | None, port: str) -> int:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"{variable}={said}: {port!r} is not a port (1 to 65535)")
    return int(port)


def adb_program() -> str:
    """The path of adb: the one on PATH, or else adbutils' own.

    Raises:
        DeviceError: there is none.
    """
    from adbutils import AdbError, adb_path

    try:
        return str(adb_path())
    except AdbError as error:
        raise DeviceError(
            "there is no adb on PATH, and adbutils brings none for this machine",
            hint="install Android's platform tools (on Debian: sudo apt install adb)",
        ) from error


class Server:
    """The adb server that this environment names."""

    def __init__(self) -> None:
        """Raises UsageError where the environment names none that can be used."""
        self._address = server_address()

    def client(self) -> adbutils.AdbClient:
        """adbutils' client of the server, which runs; started here where it did not.

        Raises:
            Unreachable: it does not run and can't be started.
            DeviceError: there is no adb that could be.
        """
        import adbutils

        if not self.listens():
            self._start()
        return adbutils.AdbClient(self._address.host, self._address.port)

    def states(self) -> dict[str, str]:
        """Serial number -> state, in adb's words, of each device that the server knows.

        Raises:
            DeviceError: the server can't be asked.
        """
        lines = self._ask("host:devices", ANSWER_TIMEOUT_S).splitlines()
        return {serial: state for serial, tab, state in (x.partition("\t") for x in lines) if tab}

    def connect(self, serial: str) -> str:
        """What the server says of its attempt to connect to a host and port."""
        return self._ask(f"host:connect:{serial}", CONNECT_TIMEOUT_S).strip()

    def disconnect(self, serial: str) -> None:
        """Makes the server forget a connection that is dead; that it has none is no error."""
        try:
            self._ask(f"host:disconnect:{serial}", ANSWER_TIMEOUT_S)
        except DeviceError:
            return

    def features(self, serial: str) -> list[str]:
        """What the device's adbd can do."""
        return self._ask(f"host-serial:{serial}:features", ANSWER_TIMEOUT_S).split(",")

    def _ask(self, request: str, timeout_s: float) -> str:
        """The server's answer to one request of its own protocol (adb's OVERVIEW.TXT)."""
        try:
            with self.client().make_connection(timeout_s) as connection:
                connection.send_command(request)
                connection.check_okay()
                return str(connection.read_string_block())
        except library_errors() as error:
            raise device_error(error, f"the adb server at {self._address}") from error

    def listens(self) -> bool:
        """Whether a server runs; none is started."""
        try:
            where = (self._address.host, self._address.port)
            socket.create_connection(where, REACH_TIMEOUT_S).close()
        except OSError:
            return False
        return True

    def _start(self) -> None:
        if not self._address.is_here:
            raise Unreachable(
                f"no adb server answers at {self._address}",
                hint=f"start it there, or unset {SOCKET_VARIABLE}, {ADDRESS_VARIABLE} and "
                f"{PORT_VARIABLE} to use this machine's",
            )
        program = adb_program()
        # A file rather than a pipe, which the server would hold open.
        with tempfile.TemporaryFile() as output:
            try:
                code = subprocess.run(
                    [program, "-P", str(self._address.port), "start-server"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=START_TIMEOUT_S,
                ).returncode
            except (OSError, subprocess.SubprocessError) as error:
                raise Unreachable(f"the adb server can't be started: {error}") from error
            output.seek(0)
            said = last_words(output.read().decode(errors="replace"))
        if code != 0 or not self.listens():
            raise Unreachable(
                f"the adb server can't be started: {said or f'{program} ended with code {code}'}",
                hint=f"does `{program} -P {self._address.port} start-server` work?",
            )
