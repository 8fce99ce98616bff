"""A whole emulated board that exists nowhere else: quick, and as large as it is wanted.

It answers some ten seconds after it is switched on.
"""

from __future__ import annotations

from typing import Protocol

from . import images
from .whole_board import Hardware, WholeBoard, start_whole_board

CORES = 2
MEMORY_MB = 768


class VirtFactory(Protocol):
    """What the fixture `virt_board` is: it starts boards that last until the test ends."""

    def __call__(self, memory_mb: int = MEMORY_MB) -> WholeBoard: ...


def start_virt(memory_mb: int = MEMORY_MB) -> WholeBoard:
    """Start a board with onnxruntime and ai_edge_litert. Raises DeviceUnavailable."""
    return start_whole_board(
        Hardware(
            kernel=images.VIRT,
            machine=(
                *("-M", "virt", "-cpu", "cortex-a72"),
                *("-smp", str(CORES), "-m", f"{memory_mb}M"),
            ),
            append="console=ttyAMA0",
            drive="if=none,id=disk",
            devices=(
                *("-device", "virtio-blk-device,drive=disk"),
                *("-device", "virtio-net-device,netdev=net"),
            ),
        )
    )
