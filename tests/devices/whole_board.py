"""A whole emulated board over SSH: a kernel, memory and a disk of its own, in a qemu.

Its latencies mean nothing. What it proves is what only a whole machine can do: it is restarted,
its memory or its disk runs out, its clock jumps. It takes about its memory's size of this
machine's. Whatever is written to its disk lasts until `close()`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import images, qmp
from .base import LOOPBACK, DeviceFiles, DeviceUnavailable, SshDevice, free_port
from .chroot_board import HOME, USER, USER_DATABASE
from .processes import wait_until
from .sshd import PORT_ATTEMPTS, SUPERVISOR

QEMU = "qemu-system-aarch64"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
DISK = "disk.qcow2"

SSHD_CONFIG = """\
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 100
MaxSessions 100
SetEnv LANG=C.UTF-8
Subsystem sftp /usr/lib/openssh/sftp-server
"""

# Process 1 is busybox's init: it starts this, reaps orphans, and ends everybody at `reboot`.
INITTAB = """\
::sysinit:/etc/rc
::respawn:/usr/sbin/sshd -D -e
::shutdown:/bin/busybox umount -a -r
"""
RC = f"""\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/sshd {HOME}
chown {USER}:{USER} {HOME}
chmod 1777 /tmp
chmod 600 /etc/ssh/host_key /etc/shadow
hostname -F /etc/hostname
busybox ifconfig lo 127.0.0.1
for link in eth0 usb0; do busybox ifconfig $link 10.0.2.15 2>/dev/null; done
busybox route add default gw 10.0.2.2
"""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One kind of board, as qemu is told of it.

    machine: qemu's options for it, its memory included.
    append: the kernel's command line.
    drive: where the disk, which is called "disk", is put.
    devices: qemu's options for the network, which is called "net", and for other devices.
    disk_size: as `qemu-img` takes it; None for the image's own.
    """

    kernel: images.Kernel
    machine: tuple[str, ...]
    append: str
    drive: str
    devices: tuple[str, ...]
    disk_size: str | None = None


@dataclass(kw_only=True)
class WholeBoard(SshDevice):
    """A board in a qemu of its own.

    `stop()` pulls the plug and `start()` puts it in again: files that had reached the disk stay,
    processes do not.
    """

    hardware: Hardware
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def monitor(self) -> Path:
        return self.files.directory / "monitor"

    @property
    def disk(self) -> Path:
        """What differs from the image's disk."""
        return self.files.directory / DISK

    @property
    def initrd(self) -> Path:
        return self.files.directory / "initrd"

    @property
    def qemu_pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Switch it on; returns once it answers."""
        hardware, boot = self.hardware, self.hardware.kernel.directory
        self.initrd.write_bytes((boot / "initrd").read_bytes() + boot_archive(self.files))
        device_tree = boot / "device.dtb"
        network = f"user,id=net,hostfwd=tcp:{LOOPBACK}:{self.port}-:22"
        with self.files.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*SUPERVISOR, QEMU),
                    *hardware.machine,
                    *("-kernel", str(boot / "vmlinuz"), "-initrd", str(self.initrd)),
                    *(("-dtb", str(device_tree)) if device_tree.exists() else ()),
                    *("-append", f"{hardware.append} quiet panic=1"),
                    # What the board believes to be on its disk needs to survive the board only.
                    *("-drive", f"file={self.disk},format=qcow2,cache=unsafe,{hardware.drive}"),
                    *("-netdev", network, *hardware.devices),
                    *("-qmp", f"unix:{self.monitor},server=on,wait=off"),
                    *("-display", "none", "-monitor", "none", "-serial", "stdio"),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest, which then switches it off
            )
        self.wait_for_answer()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def power_off(self) -> None:
        """Pull the plug: nothing is written to the disk any more, and nothing answers."""
        self.stop()

    def reboot(self, hard: bool = True, wait: bool = True) -> None:
        """Restart it, and wait until it answers again, unless told otherwise.

        hard: as by a loss of power; else as by `reboot`, which ends processes and writes the disk.
        """
        before = self.boot_id()
        if hard:
            qmp.ask(self.monitor, "system_reset")
        else:
            self.execute("busybox reboot", user="root")
        if not wait:
            return

        def is_another() -> bool:
            self.wait_for_answer()
            return self.boot_id() not in ("", before)

        wait_until(is_another, START_TIMEOUT_S, every_s=0.2)

    def boot_id(self) -> str:
        """The kernel's name for the time since the last start; empty while nobody answers."""
        with suppress(Exception):  # a board that goes down has many ways not to answer
            return self.execute("cat /proc/sys/kernel/random/boot_id").stdout.strip()
        return ""

    def shift_clock(self, seconds: float) -> None:
        """Let the wall clock jump, as when a board without a battery learns the time."""
        self.execute(f"date -s @$(($(date +%s) + {round(seconds)}))", user="root")

    def drop_connections(self) -> None:
        self.execute(f"pkill -KILL -f 'sshd: {self.user}'", user="root")

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Let the board stand still: connections stay open and nothing answers."""
        qmp.ask(self.monitor, "stop")
        try:
            yield
        finally:
            qmp.ask(self.monitor, "cont")

    def close(self) -> None:
        self.stop()
        self.files.remove()

    def wait_for_answer(self) -> None:
        """Wait for sshd; raise DeviceUnavailable with the console's last words if it stays mute."""

        def answers() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise DeviceUnavailable(f"{QEMU} ended: {self.last_words()}")
            with suppress(OSError), socket.create_connection((self.host, self.port), 5) as probe:
                probe.settimeout(5)
                return probe.recv(4) == b"SSH-"
            return False

        try:
            wait_until(answers, START_TIMEOUT_S, every_s=0.2)
        except TimeoutError:
            raise DeviceUnavailable(f"the board does not start: {self.last_words()}") from None

    def last_words(self) -> str:
        return self.files.log.read_text(errors="replace")[-1000:].strip()


def start_whole_board(hardware: Hardware) -> WholeBoard:
    """Switch a board on. Raises DeviceUnavailable."""
    require_everything(hardware.kernel)
    files = DeviceFiles.create()
    try:
        make_disk(hardware, files)
        for attempt in range(PORT_ATTEMPTS):
            port = free_port()
            board = WholeBoard(port=port, user=USER, home=HOME, files=files, hardware=hardware)
            files.write_client_files(USER, port)
            try:
                board.start()
            except DeviceUnavailable as error:
                board.stop()
                # Somebody else may have taken the port in the meantime.
                if "host forwarding rule" in str(error) and attempt < PORT_ATTEMPTS - 1:
                    continue
                raise
            return board
    except BaseException:
        files.remove()
        raise
    raise AssertionError("unreachable")


def require_everything(kernel: images.Kernel) -> None:
    """Raise DeviceUnavailable for the first thing that is missing."""
    for program, package in ((QEMU, "qemu-system-arm"), ("qemu-img", "qemu-utils")):
        if shutil.which(program) is None:
            raise DeviceUnavailable(f"no {program} here: install the package {package}")
    if shutil.which("cpio") is None:
        raise DeviceUnavailable("no cpio here: install the package cpio")
    if reason := images.missing(kernel):
        raise DeviceUnavailable(reason)


def make_disk(hardware: Hardware, files: DeviceFiles) -> None:
    """A disk that starts as the image's and keeps what is changed to itself."""
    base, disk = images.disk_directory() / "disk.ext4", files.directory / DISK
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(disk)]
    subprocess.run([*command, *filter(None, [hardware.disk_size])], check=True)


def boot_archive(files: DeviceFiles) -> bytes:
    """What is put on the disk of this very board at each start, as an archive for the initrd."""
    content = files.directory / "boot"
    board = content / "board"
    texts = {
        "etc/hostname": "board\n",
        "etc/hosts": "127.0.0.1 localhost board\n",
        "etc/inittab": INITTAB,
        "etc/rc": RC,
        "etc/ssh/sshd_config": SSHD_CONFIG,
        "etc/ssh/host_key": files.host_key.read_text(),
        "etc/ssh/authorized_keys": files.authorized_keys.read_text(),
        **{f"etc/{name}": text for name, text in USER_DATABASE.items()},
    }
    for name, text in texts.items():
        file = board / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    archive = images.cpio(content)
    shutil.rmtree(content)
    return archive
