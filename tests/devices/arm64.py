"""An emulated 64-bit Raspberry Pi 4 over SSH."""

from __future__ import annotations

from typing import Protocol

from .chroot_board import HOME, THERMAL_ZONE, THROTTLED, Board, ChrootDevice, Runtimes, start_board

__all__ = [
    "BOARD",
    "HOME",
    "MODEL",
    "THERMAL_ZONE",
    "THROTTLED",
    "Arm64Device",
    "Arm64Factory",
    "Runtimes",
    "start_arm64",
]

MODEL = "Raspberry Pi 4 Model B Rev 1.5"

BOARD = Board(
    root="arm64",
    model=MODEL,
    compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
    max_frequency_khz=1_800_000,
    cpuinfo_core="""\
processor\t: {core}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

""",
    cpuinfo_board="Revision\t: c03115\nSerial\t\t: 10000000a1b2c3d4\n",
    environment={
        "QEMU_CPU": "cortex-a72",  # also eight times faster than qemu's default
        "QEMU_UNAME": "6.6.51+rpt-rpi-v8",
        "LANG": "C.UTF-8",
    },
)

Arm64Device = ChrootDevice


class Arm64Factory(Protocol):
    """What the fixture `arm64_device` is: it starts boards that last until the test ends."""

    def __call__(
        self, runtimes: Runtimes = "modern", home_size_mb: int | None = None
    ) -> ChrootDevice: ...


def start_arm64(runtimes: Runtimes = "modern", home_size_mb: int | None = None) -> ChrootDevice:
    """Start a board; see `chroot_board.start_board`. Raises DeviceUnavailable."""
    return start_board(BOARD, runtimes, home_size_mb)
