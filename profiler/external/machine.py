"""For which machine a program was built, by the header of its ELF file."""

from __future__ import annotations

#: `e_machine` of the ELF specification, with the class (1: 32 bits, 2: 64) where it matters.
_MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
#: What a machine runs besides its own.
_ALSO = {"x86_64": {"i686"}, "aarch64": {"armv7l"}}


def built_for(header: str) -> str | None:
    """The machine, as `uname -m` names it; None for what is no ELF program, such as a script.

    Args:
        header: the first 20 bytes as `od -An -tx1` writes them.
    """
    try:
        raw = bytes(int(word, 16) for word in header.split())
    except ValueError:
        return None
    if len(raw) < 20 or raw[:4] != b"\x7fELF":
        return None
    return _MACHINES.get(int.from_bytes(raw[18:20], "little" if raw[5] == 1 else "big"))


def fits(built: str, machine: str) -> bool:
    """Whether a machine runs what was built for another, as far as it is known."""
    plain = "armv7l" if machine.startswith("armv") else machine
    return built == plain or built in _ALSO.get(plain, ()) or plain not in _MACHINES.values()
