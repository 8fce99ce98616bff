"""A loopback device served by the real OpenSSH server of this machine."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .base import (
    LOOPBACK,
    MARKER,
    DeviceFiles,
    DeviceUnavailable,
    SshDevice,
    free_port,
    kill_marked,
    loopback_environment,
)
from .processes import descendants, name_of, send, wait_until

__all__ = [
    "DeviceUnavailable",
    "Listener",
    "SshDevice",
    "SshdDevice",
    "find_sshd",
    "listen",
    "start_sshd",
]

START_TIMEOUT_S = 20.0
PORT_ATTEMPTS = 5

# sshd insists on this directory when it starts as root; Debian's init script makes it at boot.
PRIVILEGE_SEPARATION = Path("/run/sshd")

# Runs sshd until it ends by itself or until standard input closes: when the test process dies,
# however it dies, its end of the pipe closes and the server goes too.
SUPERVISOR_SCRIPT = """
exec 3<&0
"$@" 3<&- </dev/null & server=$!
(read -r _ <&3; kill "$server" 2>/dev/null) >/dev/null 2>&1 & watcher=$!
wait "$server"; status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""
SUPERVISOR = ("/bin/sh", "-c", SUPERVISOR_SCRIPT, "sshd-supervisor")

# The whole session, SFTP included, starts in the device's home instead of the user's real one.
SESSION = """#!/bin/sh
cd "$HOME" || exit 1
command=$SSH_ORIGINAL_COMMAND
unset SSH_ORIGINAL_COMMAND
exec /bin/sh ${command:+-c "$command"}
"""


@dataclass
class Listener:
    """One sshd process and the connections under it.

    `supervisor` is the command that runs sshd, by default so that it ends with the test process;
    another may run it in other namespaces.
    """

    sshd: Path
    config: Path
    log: Path
    supervisor: Sequence[str] = SUPERVISOR
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start sshd and wait until it listens; raise DeviceUnavailable with its log if not."""
        command = [*self.supervisor, str(self.sshd), "-D", "-e", "-f", str(self.config)]
        already_logged = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest, which then stops the device
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while b"Server listening on" not in (said := self.log.read_bytes()[already_logged:]):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise DeviceUnavailable(f"sshd does not start: {said.decode(errors='replace')}")
            time.sleep(0.005)

    def stop(self) -> None:
        """Cut the connections and end sshd; does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        send(signal.SIGSTOP, ssh_servers(process.pid)[:1])  # from here on nobody slips in
        send(signal.SIGKILL, ssh_servers(process.pid))

        def has_ended() -> bool:
            # nsenter stops when the sshd below it is stopped, and would not see that it is dead.
            send(signal.SIGCONT, [process.pid])
            return process.poll() is not None

        wait_until(has_ended)
        process.communicate()

    def drop_connections(self) -> None:
        """Kill the connections' own processes; what they started goes on."""
        if self._process is None:
            return
        listener, *connections = ssh_servers(self._process.pid)
        send(signal.SIGKILL, connections)
        wait_until(lambda: not set(connections) & set(ssh_servers(listener)))


@dataclass(kw_only=True)
class SshdDevice(SshDevice):
    """A device behind a real sshd."""

    listener: Listener
    marker: str | None = None

    def start(self) -> None:
        self.listener.start()

    def stop(self) -> None:
        self.listener.stop()

    def drop_connections(self) -> None:
        self.listener.drop_connections()

    def close(self) -> None:
        self.stop()
        if self.marker is not None:
            kill_marked(self.marker)
        self.files.remove()


def start_sshd(python: Path | None = Path(sys.executable)) -> SshdDevice:
    """Start a device that is this machine, reached through its own OpenSSH server.

    Commands run as the current user in an empty home of their own. `python` becomes the
    device's `python3`; with None it is whatever the system has. Raises DeviceUnavailable.
    """
    sshd = find_sshd()
    subsystem = find_sftp_server()
    user = current_user()
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, parents=True, exist_ok=True)
    files = DeviceFiles.create()
    try:
        home = files.directory / "home"
        home.mkdir()
        session = files.directory / "session"
        session.write_text(SESSION)
        session.chmod(0o755)
        environment = loopback_environment(files, home, python)
        settings = [
            set_environment(environment),
            f"ForceCommand exec {shlex.quote(str(session))}",
            f"Subsystem sftp {subsystem}",
        ]
        listener, port = listen(sshd, files, user, settings)
    except BaseException:
        files.remove()
        raise
    return SshdDevice(
        port=port,
        user=user,
        home=str(home),
        files=files,
        listener=listener,
        marker=environment[MARKER],
    )


def listen(
    sshd: Path,
    files: DeviceFiles,
    user: str,
    settings: Iterable[str],
    supervisor: Sequence[str] = SUPERVISOR,
) -> tuple[Listener, int]:
    """Start sshd for `user` on a free port, with `settings` added to its configuration."""
    listener = Listener(sshd, files.directory / "sshd_config", files.log, supervisor)
    for attempt in range(PORT_ATTEMPTS):
        port = free_port()
        listener.config.write_text(configuration(sshd, files, user, port, settings))
        try:
            listener.start()
        except DeviceUnavailable as error:
            # Between asking for a free port and listening on it, somebody else may have taken it.
            if "Address already in use" in str(error) and attempt < PORT_ATTEMPTS - 1:
                continue
            raise
        files.write_client_files(user, port)
        return listener, port
    raise AssertionError("unreachable")


def configuration(
    sshd: Path, files: DeviceFiles, user: str, port: int, settings: Iterable[str]
) -> str:
    """The sshd_config of a device: one user, one key, no limits that a test would run into."""
    lines = [
        *settings,  # first, as sshd takes the first of two
        f"ListenAddress {LOOPBACK}",
        f"Port {port}",
        f"HostKey {files.host_key}",
        f"AuthorizedKeysFile {files.authorized_keys}",
        f"AllowUsers {user}",
        "AuthenticationMethods publickey",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "StrictModes no",
        "UsePAM no",
        "UseDNS no",
        "PidFile none",
        "PrintMotd no",
        "PrintLastLog no",
        "MaxStartups 100",
        "MaxSessions 100",
        "MaxAuthTries 20",
        "LogLevel VERBOSE",
    ]
    # Newer servers shut out an address after a few refused logins; older ones don't know the word.
    if supports(sshd, files, "PerSourcePenalties no"):
        lines.append("PerSourcePenalties no")
    return "\n".join(lines) + "\n"


def set_environment(environment: Mapping[str, str]) -> str:
    """The setting that gives commands these variables; sshd heeds one such line only."""
    return "SetEnv " + " ".join(f'{name}="{value}"' for name, value in environment.items())


def supports(sshd: Path, files: DeviceFiles, setting: str) -> bool:
    """Whether this version of sshd knows a setting."""
    command = [str(sshd), "-t", "-f", "/dev/null", "-h", str(files.host_key), "-o", setting]
    return b"Bad configuration option" not in subprocess.run(command, capture_output=True).stderr


def find_sshd() -> Path:
    """The sshd of this machine, by absolute path, as it wants to be started."""
    search = os.pathsep.join(["/usr/sbin", "/usr/local/sbin", "/sbin", os.environ.get("PATH", "")])
    found = shutil.which("sshd", path=search)
    if found is None:
        raise DeviceUnavailable("no sshd here: install the package openssh-server")
    return Path(found).absolute()


def find_sftp_server() -> Path:
    """OpenSSH's SFTP server program, which distributions keep in different places."""
    folders = ("lib/openssh", "libexec/openssh", "lib/ssh", "libexec", "lib/misc")
    for folder in folders:
        program = Path("/usr", folder, "sftp-server")
        if os.access(program, os.X_OK):
            return program
    raise DeviceUnavailable("no sftp-server here: install the package openssh-sftp-server")


def current_user() -> str:
    """The name of the user that the tests run as, if sshd can let it in."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise DeviceUnavailable("the current user has no name that sshd could know") from None
    # Without PAM, sshd refuses a locked account, even with a key. Only root can see the lock, and
    # only as root does sshd see it.
    if os.geteuid() == 0:
        for line in Path("/etc/shadow").read_text().splitlines():
            if line.startswith(f"{user}:!"):
                raise DeviceUnavailable(f"the account {user} is locked: usermod -p '*' {user}")
    return user


def ssh_servers(ancestor: int) -> list[int]:
    """The sshd processes under `ancestor`: the listener first, then those of its connections."""
    return [pid for pid in descendants(ancestor) if name_of(pid).startswith("sshd")]
