"""Which shared libraries programs and modules need, by what their ELF files say."""

from __future__ import annotations

import io
from collections.abc import Mapping

from ...errors import UsageError
from ...targets.profile import Architecture

_MACHINES: dict[str, Architecture] = {
    "EM_AARCH64": "aarch64",
    "EM_ARM": "armv7l",
    "EM_X86_64": "x86_64",
}


def needed_by(name: str, content: bytes, architecture: Architecture) -> tuple[str, ...]:
    """The libraries that an ELF file names (DT_NEEDED, System V ABI, "Dynamic Section").

    Raises:
        UsageError: it is none, or of another architecture.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(content))
        machine = elf.header["e_machine"]
        dynamic = elf.get_section_by_name(".dynamic")
        names = tuple(tag.needed for tag in dynamic.iter_tags("DT_NEEDED")) if dynamic else ()
    except ELFError as error:
        raise UsageError(f"{name} is damaged: {error}") from error
    if _MACHINES.get(machine) != architecture:
        raise UsageError(f"{name} is made for {machine}, not for {architecture}")
    return names


def without_symbols(content: bytes) -> bytes:
    """An ELF file without what no loader reads: symbols for debuggers, and the table of sections.

    All that is loaded lies in segments (System V ABI, "Program Header"); the rest, which compilers
    put at the end, is cut off. Anything else is returned as it is.
    """
    from elftools.elf.elffile import ELFFile

    if not content.startswith(b"\x7fELF"):
        return content
    elf = ELFFile(io.BytesIO(content))
    header = elf.header
    end = max(
        header["e_phoff"] + header["e_phnum"] * header["e_phentsize"],
        *(segment["p_offset"] + segment["p_filesz"] for segment in elf.iter_segments()),
    )
    kept = bytearray(content[:end])
    # e_shoff, then e_shnum and e_shstrndx.
    offset, size, counts = (0x28, 8, 0x3C) if elf.elfclass == 64 else (0x20, 4, 0x30)
    kept[offset : offset + size] = bytes(size)
    kept[counts : counts + 4] = bytes(4)
    return bytes(kept)


def choose_libraries(
    files: Mapping[str, bytes], available: Mapping[str, bytes], architecture: Architecture
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Libraries for the programs and modules of a runtime, and what those libraries need.

    Args:
        files: of the runtime, by path; its programs and modules are found by their content.
        available: by the name that programs know them under.

    Returns:
        The libraries to add, and for each file that can't be loaded what is missing.

    Raises:
        UsageError: a file is damaged or of another architecture.
    """
    own = {path.rpartition("/")[2] for path in files}
    chosen: dict[str, bytes] = {}
    unloadable: dict[str, str] = {}
    for path, content in files.items():
        if not content.startswith(b"\x7fELF"):
            continue
        fresh: dict[str, bytes] = {}
        waiting = list(needed_by(path, content, architecture))
        while waiting:
            name = waiting.pop()
            if name in own or name in chosen or name in fresh:
                continue
            if name not in available:
                unloadable[path] = name
                break
            fresh[name] = available[name]
            waiting += needed_by(name, available[name], architecture)
        else:
            chosen |= fresh
    return chosen, unloadable
