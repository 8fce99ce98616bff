"""A whole emulated Raspberry Pi 3: its own model name, and a thermal zone of the kernel's.

It answers some 20 seconds after it is switched on, and its network is slow (0.2 MB/s).
"""

from __future__ import annotations

from . import images
from .whole_board import Hardware, WholeBoard, start_whole_board

MODEL = "Raspberry Pi 3 Model B"


def start_raspi3b() -> WholeBoard:
    """Start a board with onnxruntime and ai_edge_litert. Raises DeviceUnavailable."""
    return start_whole_board(
        Hardware(
            kernel=images.RASPI3B,
            machine=("-M", "raspi3b"),
            append="console=ttyAMA0,115200 console=ttyAMA1,115200",
            drive="if=sd",
            devices=("-device", "usb-net,netdev=net"),
            disk_size="2G",  # of a card that exists, as the machine insists
        )
    )
