"""Reads Linux' /proc/cpuinfo: which cores there are, and what they can compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast, get_args

from .profile import FEATURES, LEAST_HZ, Architecture, CoreCluster, Feature

#: Linux' names (Documentation/arch/arm64/elf_hwcaps.rst, arch/x86/include/asm/cpufeatures.h)
#: that differ from ours.
_RENAMED: dict[str, Feature] = {"asimdhp": "fp16", "asimddp": "dotprod"}

#: (CPU implementer, CPU part) of the main ID register, as the technical reference manuals give it.
_CORES: dict[tuple[int, int], str] = {
    (0x41, 0xC07): "Cortex-A7",
    (0x41, 0xC0F): "Cortex-A15",
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4B): "Cortex-A78C",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
}


def features_from_cpuinfo(text: str, architecture: Architecture) -> tuple[Feature, ...]:
    """The features that every core has, in the order of the type `Feature`."""
    sets = [set(_features(fields, architecture)) for _, fields in _processors(text)]
    common = set.intersection(*sets) if sets else set()
    return tuple(feature for feature in get_args(Feature) if feature in common)


def clusters_from_cpuinfo(
    text: str, architecture: Architecture, frequencies: Mapping[int, int]
) -> tuple[CoreCluster, ...]:
    """The kinds of cores from fastest to slowest; empty where the text tells of none.

    Args:
        text: what /proc/cpuinfo says.
        architecture: decides which names of features count.
        frequencies: the highest frequency of each core in Hz, as far as known; one that no core
            can have counts as unknown.
    """
    kinds: dict[tuple[str, int | None, tuple[Feature, ...]], int] = {}
    for number, fields in _processors(text):
        features = _features(fields, architecture)
        frequency = frequencies.get(number)
        if frequency is not None and frequency < LEAST_HZ:
            frequency = None
        kind = (_core_name(fields), frequency, features)
        kinds[kind] = kinds.get(kind, 0) + 1
    clusters = [
        CoreCluster(core=core, count=count, max_frequency_hz=frequency, features=features)
        for (core, frequency, features), count in kinds.items()
    ]
    return tuple(sorted(clusters, key=lambda c: c.max_frequency_hz or 0, reverse=True))


def _processors(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The number and fields of each processor; fields before or after all of them are shared."""
    blocks: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        key = name.strip()
        if not colon:
            blocks.append({})
        elif key == "processor" and value.strip().isdigit() and blocks[-1]:
            blocks.append({key: value.strip()})
        else:
            blocks[-1].setdefault(key, value.strip())
    shared = {
        key: value
        for b in blocks
        if not b.get("processor", "").isdigit()
        for key, value in b.items()
    }
    for block in blocks:
        if block.get("processor", "").isdigit():
            yield int(block["processor"]), {**shared, **block}


def _features(fields: Mapping[str, str], architecture: Architecture) -> tuple[Feature, ...]:
    words = fields.get("flags" if architecture == "x86_64" else "Features", "").split()
    found = {_RENAMED.get(word, word) for word in words}
    if "asimd" in found:
        found.add("neon")
    known = [f for f in get_args(Feature) if f in FEATURES[architecture]]
    return cast(tuple[Feature, ...], tuple(f for f in known if f in found))


def _core_name(fields: Mapping[str, str]) -> str:
    implementer, part = fields.get("CPU implementer"), fields.get("CPU part")
    if implementer and part:
        try:
            known = _CORES.get((int(implementer, 16), int(part, 16)))
        except ValueError:
            known = None
        return known or f"CPU part {part} of implementer {implementer}"
    return fields.get("model name") or fields.get("Processor") or "unknown core"
