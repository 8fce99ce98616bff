"""An emulated 64-bit Android phone over ADB: the real adbd and real arm64 programs under qemu.

Its latencies mean nothing. It has Android's shell and tools, the shell user's rights, no Python
and no glibc; a network link of its own that can be cut; what Android's own services say is
recorded (see adbd_files.py). The kernel and the memory are the host's.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from . import adbd_root
from .adbd_files import cpuinfo, phone_files, phone_links
from .adbd_server import AdbServer
from .base import CommandResult, DeviceUnavailable
from .chroot_board import ROOT, process_one, root_of, switch_off
from .processes import descendants, send, wait_until

MACHINE_SCRIPT = Path(__file__).with_name("adbd-machine.sh")
PORT = 5555
SHELL_USER = 2000
GROUPS = (
    1004,
    1007,
    1011,
    1015,
    1028,
    3001,
    3002,
    3003,
    3006,
)  # input, log, adb, sdcard, inet, ...
START_TIMEOUT_S = 20.0
ATTEMPTS = 5

ENVIRONMENT = {
    "ADBD_PORT": str(PORT),
    "ANDROID_DATA": "/data",
    "ANDROID_ROOT": "/system",
    "PATH": "/product/bin:/apex/com.android.runtime/bin:/system/bin:/system/xbin:/vendor/bin",
    "QEMU_CPU": "cortex-a76",
    "QEMU_UNAME": "6.1.75-android14-11-g5f0e0c1d0a5e-ab11904254",
}
ADBD = (
    adbd_root.LOADER,
    *("--library-path", str(Path(adbd_root.LOADER).parent)),
    f"{adbd_root.ADBD}/bin/adbd",
)

# Networks of two hosts each, in the range that is set aside for tests of networks (RFC 2544).
FIRST_NETWORK = IPv4Address("198.18.0.0")
NETWORKS = 2**15


@dataclass
class AdbPhone:
    """A phone: namespaces held open by process 1, an adbd in them, and a link to this machine."""

    directory: Path
    machine: subprocess.Popen[str]
    interface: str
    host: str
    server: AdbServer
    _adbd: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def serial(self) -> str:
        """As the adb server lists it, once it has been connected to."""
        return f"{self.host}:{PORT}"

    @property
    def address(self) -> str:
        return f"adb://{self.serial}"

    @property
    def listens_at(self) -> tuple[str, int]:
        """Host and port of adbd."""
        return self.host, PORT

    @property
    def root(self) -> Path:
        """The phone's live file system as the tests see it, with root's rights."""
        return root_of(self.machine)

    @property
    def home(self) -> Path:
        """/data/local/tmp, seen from outside."""
        return self.root / "data/local/tmp"

    def write(self, path: str, text: str) -> None:
        """Change a file on the phone, like `/sys/class/thermal/thermal_zone0/temp`."""
        (self.root / path.lstrip("/")).write_text(text)

    def execute(self, command: str) -> CommandResult:
        """Run one shell command as the shell user, without adb."""
        inside = self._inside("/system/bin/sh", "-c", command)
        done = subprocess.run(inside, capture_output=True, text=True, env=ENVIRONMENT)
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def processes(self) -> list[str]:
        """The command lines of what runs on the phone beside adbd."""
        return [" ".join(words) for _, words in self._processes()]

    def signal(self, number: signal.Signals, name: str) -> None:
        """Signal the programs of this name."""
        found = [pid for pid, words in self._processes() if words[0] == name]
        self.execute(f"kill -{number.value} {' '.join(found)}")

    def cut_link(self) -> None:
        """Unplug the network: what is sent arrives nowhere, and nobody is told."""
        ip("link", "set", self.interface, "down")

    def restore_link(self) -> None:
        ip("link", "set", self.interface, "up")

    def start_adbd(self) -> None:
        """Start adbd and wait until it listens; raise DeviceUnavailable with its log if not."""
        log_path = self.directory / "adbd.log"
        with log_path.open("ab") as log:
            self._adbd = subprocess.Popen(
                self._inside(*ADBD),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            if self._adbd.poll() is not None or time.monotonic() > deadline:
                raise DeviceUnavailable(f"no adbd: {log_path.read_text(errors='replace')}")
            time.sleep(0.02)

    def kill_adbd(self) -> None:
        """End adbd, and with it all connections; what it started goes on."""
        adbd, self._adbd = self._adbd, None
        if adbd is not None:
            send(signal.SIGKILL, [*descendants(adbd.pid)[:1], adbd.pid])
            adbd.wait()
            wait_until(lambda: not self._listens())

    def close(self) -> None:
        """Switch the phone off and remove everything of it. Can be called twice."""
        self.server.stop()
        switch_off(self.machine)
        if self._adbd is not None:
            self._adbd.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _processes(self) -> Iterator[tuple[str, list[str]]]:
        """The id on the phone and the words of each command line."""
        for entry in (self.root / "proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and entry.name != "1":
                    words = (entry / "cmdline").read_bytes().decode().split("\0")[:-1]
                    words = words[2:]  # after those of the emulator
                    if words and not words[0].startswith(adbd_root.ADBD):
                        yield entry.name, words

    def _inside(self, *command: str) -> list[str]:
        """The command that runs another one on the phone as the shell user."""
        groups = ",".join(str(group) for group in GROUPS)
        nsenter, chroot = (str(shutil.which(program)) for program in ("nsenter", "chroot"))
        return [
            *(nsenter, f"--target={process_one(self.machine)}"),
            *("--mount", "--pid", "--uts", "--ipc", "--net", "--"),
            *(chroot, f"--userspec={SHELL_USER}:{SHELL_USER}", f"--groups={groups}", str(ROOT)),
            *command,
        ]

    def _listens(self) -> bool:
        sockets = Path(f"/proc/{process_one(self.machine)}/net")
        lines = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in (sockets / table).read_text().splitlines()
        ]
        return any(line[1].endswith(f":{PORT:04X}") and line[3] == "0A" for line in lines)


class AdbPhoneFactory(Protocol):
    """What the fixture `adb_phone` is: it starts phones that last until the test ends."""

    def __call__(self, data_size_mb: int = 1024) -> AdbPhone: ...


def start_adb_phone(data_size_mb: int = 1024) -> AdbPhone:
    """Start a phone and an adb server of its own, which does not know the phone yet.

    data_size_mb: the size of the file system on /data.

    Raises DeviceUnavailable.
    """
    require_everything()
    directory = Path(tempfile.mkdtemp(prefix="edgewright-phone-"))
    machine = None
    server = AdbServer(directory)
    try:
        write_phone(directory)
        machine = switch_on(directory, data_size_mb)
        interface, host = link(process_one(machine))
        phone = AdbPhone(directory, machine, interface, host, server)
        phone.start_adbd()
        server.start()
    except BaseException:
        server.stop()
        if machine is not None:
            switch_off(machine)
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return phone


def require_everything() -> None:
    """Raise DeviceUnavailable for the first thing that is missing."""
    if os.geteuid() != 0:
        raise DeviceUnavailable("the phone needs root, for its namespaces and mounts")
    for program, package in (
        *((program, "util-linux") for program in ("unshare", "nsenter")),
        ("mount", "mount"),
        ("ip", "iproute2"),
    ):
        if shutil.which(program) is None:
            raise DeviceUnavailable(f"no {program} here: install the package {package}")
    if reason := adbd_root.missing():
        raise DeviceUnavailable(reason)


def write_phone(directory: Path) -> None:
    """Write what makes the phone this phone: the top layer of its root, and its cpuinfo."""
    (directory / "cpuinfo").write_text(cpuinfo())
    phone = directory / "phone"
    for path, text in phone_files().items():
        file = phone / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    for path, target in phone_links().items():
        place = phone / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    for folder in phone.glob("**/"):
        folder.chmod(0o755)  # whatever the umask of the tests is


def switch_on(directory: Path, data_size_mb: int) -> subprocess.Popen[str]:
    """Make the phone's namespaces and mounts; they exist as long as the returned process."""
    namespaces = ["--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child"]
    with (directory / "machine.log").open("w+") as log:
        machine = subprocess.Popen(
            [
                *("unshare", *namespaces, "/bin/sh", str(MACHINE_SCRIPT)),
                *(str(adbd_root.cached_root()), str(directory), f"{data_size_mb}m"),
                sys.executable,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for pytest, which then switches the phone off
        )
        assert machine.stdout is not None
        if machine.stdout.readline() != "ready\n":
            switch_off(machine)
            log.seek(0)
            raise DeviceUnavailable(f"the phone can't be set up: {log.read().strip()}")
    return machine


def link(pid: int) -> tuple[str, str]:
    """Connect this machine with the network of process `pid`; returns interface and address.

    The link vanishes with the phone's network.
    """
    for attempt in range(ATTEMPTS):
        number = secrets.randbelow(NETWORKS)
        ours, theirs = FIRST_NETWORK + 4 * number + 1, FIRST_NETWORK + 4 * number + 2
        interface = f"ew-phone{number}"
        try:
            ip("link", "add", interface, "type", "veth", "peer", "name", "wlan0", "netns", str(pid))
        except DeviceUnavailable:
            if attempt < ATTEMPTS - 1:  # somebody else's number
                continue
            raise
        ip("address", "add", f"{ours}/30", "dev", interface)
        ip("link", "set", interface, "up")
        there = ("nsenter", f"--target={pid}", "--net")
        ip("address", "add", f"{theirs}/30", "dev", "wlan0", within=there)
        ip("link", "set", "wlan0", "up", within=there)
        ip("link", "set", "lo", "up", within=there)
        return interface, str(theirs)
    raise AssertionError("unreachable")


def ip(*arguments: str, within: Sequence[str] = ()) -> None:
    """One command of iproute2; raises DeviceUnavailable with what it said."""
    done = subprocess.run([*within, "ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise DeviceUnavailable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
