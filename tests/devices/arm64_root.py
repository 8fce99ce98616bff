"""The file systems of the emulated arm64 boards: built once, kept in a cache, never written to.

    python tests/devices/arm64_root.py prepare

is the only step that downloads anything. It needs root, mmdebstrap, qemu's user emulation and
pip; running it again when all is there takes no time. The standard library is all it imports.
"""

from __future__ import annotations

import argparse
import compileall
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE_VARIABLE = "EDGEWRIGHT_TEST_CACHE"

SUITE = "bookworm"  # the runtimes have wheels for its Python, 3.11
PYTHON_VERSION = "3.11"
PACKAGES = (
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "libgomp1",
    "libstdc++6",
    "mawk",
    "mount",
    "procps",
    "python3",
    "sed",
    "tar",
    "util-linux",
)
RUNTIMES = {
    "modern": ("onnxruntime==1.31.1", "ai-edge-litert==2.3.0", "numpy==2.4.6"),
    "tflite_runtime": ("tflite-runtime==2.14.0", "numpy==1.26.4"),
}
# Whatever runs on the suite's C library, the newest first: pip does not infer the older ones.
WHEEL_PLATFORMS = (
    *(f"manylinux_2_{n}_aarch64" for n in range(36, 16, -1)),
    "manylinux2014_aarch64",
)
# Links that maintainer scripts would make, which nobody runs here.
LINKS = {"usr/bin/awk": "mawk"}
LAYOUT = 1  # to be raised when the way of building changes in a manner not seen above

BASE = "base"
SITE = f"usr/local/lib/python{PYTHON_VERSION}/dist-packages"

BINFMT = Path("/proc/sys/fs/binfmt_misc")
BINFMT_NAME = "qemu-aarch64"
# What an arm64 program starts with: the ELF header up to the machine type, and its mask.
BINFMT_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
BINFMT_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
# F: the emulator is opened now, so that it is found from inside another root.
BINFMT_FLAGS = "F"


def cached_root() -> Path:
    """Where the file systems of this recipe are, or would be."""
    recipe = json.dumps([SUITE, PYTHON_VERSION, PACKAGES, RUNTIMES, WHEEL_PLATFORMS, LINKS, LAYOUT])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    default = Path.home() / ".cache" / "edgewright-test"
    return Path(os.environ.get(CACHE_VARIABLE) or default).absolute() / f"arm64-{digest}"


def layers(runtimes: str) -> list[Path]:
    """The directories that make up a board with these runtimes, the uppermost first."""
    above = [runtimes] if runtimes in RUNTIMES else []
    return [cached_root() / layer for layer in (*above, BASE)]


def missing() -> str | None:
    """Why arm64 programs can't be run from the cached file systems, or None when they can."""
    if not cached_root().is_dir():
        return f"no arm64 root at {cached_root()}: python {Path(__file__).name} prepare"
    if not runs_arm64():
        return f"no emulation of arm64 is registered: python {Path(__file__).name} prepare"
    return None


def runs_arm64() -> bool:
    """Whether this machine runs arm64 programs, also from inside another root."""
    if platform.machine() == "aarch64":
        return True
    try:
        entry = (BINFMT / BINFMT_NAME).read_text()
    except OSError:
        return False
    flags = next((line for line in entry.splitlines() if line.startswith("flags:")), "")
    return entry.startswith("enabled") and "F" in flags


def prepare() -> None:
    """Register the emulator and build the file systems, each unless it is already done."""
    if os.geteuid() != 0:
        raise SystemExit("preparing the arm64 device needs root")
    if not runs_arm64():
        register_emulator()
    os.umask(0o022)  # the board's user must be able to read what is built
    target = cached_root()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            print(f"the arm64 root is there: {target}")
            return
        unfinished = target.with_name(f"{target.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        build(unfinished)
        unfinished.rename(target)
        print(f"built the arm64 root: {target}")


def build(directory: Path) -> None:
    """Make the base system and one layer for each set of runtimes."""
    directory.mkdir()
    base = directory / BASE
    run(
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--architectures=arm64",
        "--variant=extract",
        f"--include={','.join(PACKAGES)}",
        SUITE,
        str(base),
    )
    for name, target in LINKS.items():
        (base / name).symlink_to(target)
    byte_compile(base, f"usr/lib/python{PYTHON_VERSION}")
    with tempfile.TemporaryDirectory() as tools:
        python = python_with_pip(Path(tools))
        for name, requirements in RUNTIMES.items():
            layer = directory / name
            install(python, requirements, layer / SITE)
            byte_compile(layer, SITE)


def python_with_pip(tools: Path) -> str:
    """This Python, or one in a new environment where this one has no pip, as Debian's own."""
    if importlib.util.find_spec("pip"):
        return sys.executable
    run(sys.executable, "-m", "venv", str(tools / "environment"))
    return str(tools / "environment" / "bin" / "python")


def install(python: str, requirements: tuple[str, ...], site: Path) -> None:
    """Install arm64 wheels into a directory, as pip on the board would."""
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
        "--no-compile",
        "--no-warn-conflicts",  # with this machine's packages, which have nothing to do with it
        "--only-binary=:all:",
        f"--python-version={PYTHON_VERSION}",
        *(f"--platform={tag}" for tag in WHEEL_PLATFORMS),
        f"--target={site}",
        *requirements,
    )
    shutil.rmtree(site / "bin", ignore_errors=True)  # launchers for this machine's Python


def byte_compile(layer: Path, folder: str) -> None:
    """Compile the Python files under a layer's folder, for the place they will have on the board.

    Nobody can write caches there later, and compiling at each start is slow under emulation. Only
    the same Python can do it; without it the board works too, and imports more slowly.
    """
    if sys.version_info[:2] == tuple(int(part) for part in PYTHON_VERSION.split(".")):
        # A few test files of the packages are no valid Python on purpose: that is no failure.
        compileall.compile_dir(layer / folder, quiet=2, workers=0, stripdir=layer, prependdir="/")


def register_emulator() -> None:
    """Tell the kernel to run arm64 programs with qemu, also inside another root."""
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        raise SystemExit("no qemu-aarch64 here: install the package qemu-user-static")
    if not (BINFMT / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
    if runs_arm64():  # a registration of the system's own came to light
        return
    entry = BINFMT / BINFMT_NAME
    if entry.exists():
        entry.write_text("-1")
    (BINFMT / "register").write_text(
        f":{BINFMT_NAME}:M::{BINFMT_MAGIC}:{BINFMT_MASK}:{emulator}:{BINFMT_FLAGS}"
    )


def run(*command: str) -> None:
    """Run a command; its failure ends the preparation with what it said."""
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{command[0]} failed with exit code {error.returncode}") from None


def main() -> None:
    parser = argparse.ArgumentParser(description="File systems of the emulated arm64 boards.")
    parser.add_argument("action", choices=["prepare", "where"])
    if parser.parse_args().action == "prepare":
        prepare()
    else:
        print(cached_root())


if __name__ == "__main__":
    main()
