"""An emulated Raspberry Pi over SSH: real ARM programs under qemu, in a root of their own.

Its latencies mean nothing. What it proves is that the protocols, the files, the faults and the
agent work on ARM binaries. The host's sshd serves it from namespaces of its own; the kernel's
release, the memory and the network are the host's, and there is no /proc/device-tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import roots
from .base import DeviceFiles, DeviceUnavailable
from .processes import descendants
from .sshd import SshdDevice, find_sshd, listen, set_environment

Runtimes = Literal["modern", "tflite_runtime", "none", "nopython"]

USER = "pi"
HOME = "/home/pi"
HOST_NAME = "raspberrypi"
CORES = 4
# Both inside the board's mount namespace; see chroot-board.sh.
ROOT = Path("/run/device/root")
AUTHORIZED_KEYS = Path("/run/device/authorized_keys")
MACHINE_SCRIPT = Path(__file__).with_name("chroot-board.sh")
STOP_TIMEOUT_S = 20.0

THERMAL_ZONE = "/sys/class/thermal/thermal_zone0"
CPUFREQ = "/sys/devices/system/cpu/cpufreq/policy0"
THROTTLED = "/var/lib/vcgencmd/throttled"
"""What `vcgencmd get_throttled` says; the other two commands read the files under /sys."""

VCGENCMD = f"""\
#!/bin/sh
case "$*" in
  get_throttled) echo "throttled=$(cat {THROTTLED})" ;;
  measure_temp)
    temp=$(cat {THERMAL_ZONE}/temp)
    echo "temp=$((temp / 1000)).$((temp % 1000 / 100))'C" ;;
  "measure_clock arm") echo "frequency(48)=$(cat {CPUFREQ}/scaling_cur_freq)000" ;;
  *)
    echo 'error=1 error_msg="Command not registered"'
    exit 1 ;;
esac
"""

BOARD_LINKS = {
    f"/sys/devices/system/cpu/cpu{core}/cpufreq": "../cpufreq/policy0" for core in range(CORES)
}

# The same for sshd, which runs outside the root, and for programs inside.
USER_DATABASE = {
    "passwd": (
        "root:x:0:0:root:/root:/bin/bash\n"
        "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        f"{USER}:x:1000:1000:,,,:{HOME}:/bin/bash\n"
    ),
    "group": f"root:x:0:\nvideo:x:44:{USER}\nnogroup:x:65534:\n{USER}:x:1000:\n",
    "shadow": f"root:*:19000:0:99999:7:::\n{USER}:*:19000:0:99999:7:::\n",
}


@dataclass(frozen=True, kw_only=True)
class Board:
    """What sets one kind of Raspberry Pi apart from another.

    root: its file system's name in `roots.ROOTS`.
    compatible: of the device tree, the most special first.
    cpuinfo_core: the paragraph of each core in /proc/cpuinfo, with "{core}" for its number.
    environment: of whatever runs on it: qemu takes the CPU and the kernel's name from there.
    """

    root: str
    model: str
    compatible: tuple[str, ...]
    max_frequency_khz: int
    cpuinfo_core: str
    cpuinfo_board: str
    environment: Mapping[str, str]

    @property
    def cpuinfo(self) -> str:
        cores = "".join(self.cpuinfo_core.format(core=core) for core in range(CORES))
        return f"{cores}{self.cpuinfo_board}Model\t\t: {self.model}\n"

    @property
    def files(self) -> dict[str, str]:
        """What is put above the root, by path."""
        return {
            "/etc/hostname": f"{HOST_NAME}\n",
            "/etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {HOST_NAME}\n",
            "/sys/firmware/devicetree/base/model": f"{self.model}\0",
            "/sys/firmware/devicetree/base/compatible": "\0".join((*self.compatible, "")),
            "/sys/devices/system/cpu/online": f"0-{CORES - 1}\n",
            "/sys/devices/system/cpu/possible": f"0-{CORES - 1}\n",
            "/sys/devices/system/cpu/present": f"0-{CORES - 1}\n",
            f"{CPUFREQ}/scaling_available_governors": "conservative ondemand performance \n",
            f"{CPUFREQ}/scaling_cur_freq": f"{self.max_frequency_khz}\n",
            f"{CPUFREQ}/scaling_driver": "cpufreq-dt\n",
            f"{CPUFREQ}/scaling_governor": "ondemand\n",
            f"{CPUFREQ}/scaling_max_freq": f"{self.max_frequency_khz}\n",
            f"{CPUFREQ}/scaling_min_freq": "600000\n",
            f"{THERMAL_ZONE}/type": "cpu-thermal\n",
            f"{THERMAL_ZONE}/temp": "48199\n",
            THROTTLED: "0x0\n",
            "/usr/bin/vcgencmd": VCGENCMD,
        }


@dataclass(kw_only=True)
class ChrootDevice(SshdDevice):
    """A board: namespaces held open by process 1, and an sshd that lets clients into them."""

    machine: subprocess.Popen[str]

    @property
    def root(self) -> Path:
        """The board's live file system as the tests see it, with root's rights."""
        return root_of(self.machine)

    def write(self, path: str, text: str) -> None:
        """Change a file on the board, like `/sys/class/thermal/thermal_zone0/temp`."""
        (self.root / path.lstrip("/")).write_text(text)

    def close(self) -> None:
        self.stop()
        switch_off(self.machine)
        super().close()


def start_board(
    board: Board, runtimes: Runtimes = "modern", home_size_mb: int | None = None
) -> ChrootDevice:
    """Start a board in a throw-away copy of the cached file systems.

    runtimes: what its Python has: "modern" is onnxruntime and ai_edge_litert, "tflite_runtime" is
        that with numpy 1, "none" has none, "nopython" has no Python at all.
    home_size_mb: the size of the file system that the user's home is; None for plenty.

    Raises DeviceUnavailable.
    """
    offered = {"none", "nopython", *roots.ROOTS[board.root].runtimes}
    if runtimes not in offered:
        raise ValueError(f"runtimes: {runtimes!r} is none of {', '.join(sorted(offered))}")
    sshd = require_everything(board)
    files = DeviceFiles.create()
    machine = None
    try:
        write_board(board, files.directory)
        machine = switch_on(board, files.directory, runtimes, home_size_mb)
        if runtimes == "nopython":
            for program in (root_of(machine) / "usr/bin").glob("python*"):
                program.unlink()
        settings = [
            set_environment(board.environment),
            f"ChrootDirectory {ROOT}",
            f"AuthorizedKeysFile {AUTHORIZED_KEYS}",
            "Subsystem sftp internal-sftp",
        ]
        inside = ["nsenter", f"--target={process_one(machine)}"]
        inside += ["--mount", "--pid", "--uts", "--ipc", "--"]
        listener, port = listen(sshd, files, USER, settings, inside)
    except BaseException:
        if machine is not None:
            switch_off(machine)
        files.remove()
        raise
    return ChrootDevice(
        port=port, user=USER, home=HOME, files=files, listener=listener, machine=machine
    )


def require_everything(board: Board) -> Path:
    """Raise DeviceUnavailable for the first thing that is missing; return sshd's path."""
    if os.geteuid() != 0:
        raise DeviceUnavailable("an emulated board needs root, for its namespaces and mounts")
    for program in ("unshare", "nsenter", "mount"):
        if shutil.which(program) is None:
            raise DeviceUnavailable(f"no {program} here: install the package util-linux")
    if reason := roots.missing(roots.ROOTS[board.root]):
        raise DeviceUnavailable(reason)
    return find_sshd()


def write_board(board: Board, directory: Path) -> None:
    """Write what makes the board a Raspberry Pi: the top layer of its root, and its cpuinfo."""
    (directory / "cpuinfo").write_text(board.cpuinfo)
    layer = directory / "board"
    for name, text in USER_DATABASE.items():
        database = directory / name
        database.write_text(text)
        database.chmod(0o600 if name == "shadow" else 0o644)
    for path, text in board.files.items():
        file = layer / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    for path, target in BOARD_LINKS.items():
        link = layer / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    for folder in layer.glob("**/"):
        folder.chmod(0o755)  # whatever the umask of the tests is


def switch_on(
    board: Board, directory: Path, runtimes: Runtimes, home_size_mb: int | None
) -> subprocess.Popen[str]:
    """Make the board's namespaces and mounts; they exist as long as the returned process."""
    layers = [directory / "board", *roots.layers(roots.ROOTS[board.root], runtimes)]
    namespaces = ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
    home_size = "" if home_size_mb is None else f"{home_size_mb}m"
    with (directory / "machine.log").open("w+") as log:
        machine = subprocess.Popen(
            [
                *("unshare", *namespaces),
                *("/bin/sh", str(MACHINE_SCRIPT)),
                *(":".join(str(layer) for layer in layers), str(directory), home_size),
                sys.executable,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for pytest, which then switches the board off
        )
        assert machine.stdout is not None
        if machine.stdout.readline() != "ready\n":
            switch_off(machine)
            log.seek(0)
            raise DeviceUnavailable(f"the board can't be set up: {log.read().strip()}")
    return machine


def switch_off(machine: subprocess.Popen[str]) -> None:
    """End process 1, and with it everything on the board."""
    try:
        machine.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        machine.kill()  # takes process 1 with it
        machine.communicate()


def process_one(machine: subprocess.Popen[str]) -> int:
    """The board's process 1 by the id that it has outside."""
    return descendants(machine.pid)[0]


def root_of(machine: subprocess.Popen[str]) -> Path:
    return Path(f"/proc/{process_one(machine)}/root") / ROOT.relative_to("/")
