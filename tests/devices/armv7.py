"""An emulated 32-bit Raspberry Pi 2 over SSH, as old as the systems that still run tflite-runtime.

Its NumPy is Debian's, 1.24: PyPI has wheels of neither NumPy nor ONNX Runtime for it.
"""

from __future__ import annotations

from .chroot_board import Board, ChrootDevice, Runtimes, start_board

MODEL = "Raspberry Pi 2 Model B Rev 1.1"

BOARD = Board(
    root="armv7",
    model=MODEL,
    compatible=("raspberrypi,2-model-b", "brcm,bcm2836"),
    max_frequency_khz=900_000,
    cpuinfo_core="""\
processor\t: {core}
model name\t: ARMv7 Processor rev 5 (v7l)
BogoMIPS\t: 38.40
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm
CPU implementer\t: 0x41
CPU architecture: 7
CPU variant\t: 0x0
CPU part\t: 0xc07
CPU revision\t: 5

""",
    cpuinfo_board="Hardware\t: BCM2835\nRevision\t: a01041\nSerial\t\t: 00000000a1b2c3d4\n",
    environment={
        "QEMU_CPU": "cortex-a7",
        "QEMU_UNAME": "6.1.21-v7+",
        "LANG": "C.UTF-8",
    },
)


def start_armv7(runtimes: Runtimes = "tflite_runtime") -> ChrootDevice:
    """Start a board whose Python has tflite_runtime, or "none". Raises DeviceUnavailable."""
    return start_board(BOARD, runtimes)
