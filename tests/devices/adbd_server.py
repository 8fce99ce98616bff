"""An adb server of the tests' own, which sees no phone but theirs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from .base import LOOPBACK, DeviceUnavailable, free_port
from .sshd import SUPERVISOR

START_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 30.0

# It looks neither for phones on USB nor for emulators nor for wireless ones: a developer's own
# server has them.
ALONE = {"ADB_USB": "0", "ADB_EMU": "0", "ADB_MDNS": "0"}


def bundled_adb() -> Path:
    """The adb that comes with adbutils."""
    import adbutils

    program = Path(adbutils.__file__).parent / "binaries" / "adb"
    if not os.access(program, os.X_OK):
        raise DeviceUnavailable("the package adbutils has no adb for this machine")
    return program


@dataclass
class AdbServer:
    """One adb server on a port of the loopback interface, with keys of its own in `directory`."""

    directory: Path
    adb: Path = field(default_factory=bundled_adb)
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a client use this server rather than the developer's."""
        return {"ANDROID_ADB_SERVER_PORT": str(self.port)}

    def start(self) -> None:
        """Start it and wait until it listens; raise DeviceUnavailable with its log if not."""
        home = self.directory / "adb-home"
        home.mkdir(exist_ok=True)
        log_path = self.directory / "adb-server.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*SUPERVISOR, str(self.adb), "-P", str(self.port), "server", "nodaemon"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**clean_environment(), **ALONE, "HOME": str(home)},
                start_new_session=True,  # Ctrl-C is for pytest, which then stops the server
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise DeviceUnavailable(f"no adb server: {log_path.read_text(errors='replace')}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Kill it; does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def command(self, *arguments: str) -> str:
        """What the client says to one command, like `connect`."""
        done = subprocess.run(
            [str(self.adb), *arguments],
            env={**clean_environment(), **self.environment},
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        return done.stdout + done.stderr

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0


def clean_environment() -> dict[str, str]:
    """The environment of the tests without what would lead to another adb server."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ADB_", "ANDROID_"))
    }
