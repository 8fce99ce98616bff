"""Decodes what Linux tells programs of an ARM processor in their auxiliary vector.

Where /proc/cpuinfo is about the machine (and under an emulator about the wrong one), this is what
the kernel promises to programs. Bits: arch/arm64/include/uapi/asm/hwcap.h and
arch/arm/include/uapi/asm/hwcap.h of Linux.
"""

from __future__ import annotations

from typing import get_args

from .profile import Architecture, Feature

#: Architecture -> bits of AT_HWCAP, then bits of AT_HWCAP2.
_BITS: dict[Architecture, tuple[dict[int, tuple[Feature, ...]], dict[int, tuple[Feature, ...]]]] = {
    "aarch64": (
        {1: ("asimd", "neon"), 10: ("fp16",), 20: ("dotprod",), 22: ("sve",)},
        {1: ("sve2",), 13: ("i8mm",), 14: ("bf16",), 23: ("sme",)},
    ),
    "armv7l": (
        {12: ("neon",), 23: ("fp16",), 24: ("dotprod",), 26: ("bf16",), 27: ("i8mm",)},
        {},
    ),
}


def features_from_hwcap(
    architecture: Architecture, hwcap: int, hwcap2: int
) -> tuple[Feature, ...] | None:
    """The features in the order of the type `Feature`; None where they aren't told this way (x86).

    Args:
        hwcap: the value of AT_HWCAP.
        hwcap2: the value of AT_HWCAP2, 0 where the kernel gives none.
    """
    if architecture not in _BITS:
        return None
    found = {
        feature
        for word, bits in zip((hwcap, hwcap2), _BITS[architecture], strict=True)
        for bit, features in bits.items()
        if word >> bit & 1
        for feature in features
    }
    return tuple(feature for feature in get_args(Feature) if feature in found)
