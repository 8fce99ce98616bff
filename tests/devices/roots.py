"""The file systems of the emulated boards: built once, kept in a cache, never written to.

    python tests/devices/roots.py prepare [ROOT...]

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CACHE_VARIABLE = "EDGEWRIGHT_TEST_CACHE"

SUITE = "bookworm"  # the runtimes have wheels for its Python, 3.11
PYTHON_VERSION = "3.11"
MIRROR_VARIABLE = "EDGEWRIGHT_DEBIAN_MIRROR"
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
# Links that maintainer scripts would make, which nobody runs here.
LINKS = {"usr/bin/awk": "mawk"}
LAYOUT = 1  # to be raised when the way of building changes in a manner not seen above

BASE = "base"
SITE = f"usr/local/lib/python{PYTHON_VERSION}/dist-packages"

BINFMT = Path("/proc/sys/fs/binfmt_misc")
# F: the emulator is opened now, so that it is found from inside another root. P: a program learns
# the name that it was called by, without which busybox can't tell what it shall be.
BINFMT_FLAGS = "FP"


@dataclass(frozen=True)
class Architecture:
    """A kind of CPU that this machine plays.

    debian: Debian's name for it.
    machines: what `uname -m` says on machines that run its programs themselves.
    wheels: its name in the tags of Python wheels.
    emulator: qemu's program for it, without "-static".
    magic, mask: what its programs start with: the ELF header up to the machine type.
    """

    debian: str
    machines: tuple[str, ...]
    wheels: str
    emulator: str
    magic: str
    mask: str

    @property
    def wheel_platforms(self) -> tuple[str, ...]:
        """What runs on the suite's C library, the newest first: pip does not infer the older."""
        tags = (f"manylinux_2_{n}_{self.wheels}" for n in range(36, 16, -1))
        return (*tags, f"manylinux2014_{self.wheels}")


ARM64 = Architecture(
    debian="arm64",
    machines=("aarch64",),
    wheels="aarch64",
    emulator="qemu-aarch64",
    magic=r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    mask=r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
)
ARMV7 = Architecture(
    debian="armhf",
    machines=("armv7l", "armv8l"),
    wheels="armv7l",
    emulator="qemu-arm",
    magic=r"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00",
    mask=r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
)


@dataclass(frozen=True)
class Root:
    """The recipe of a file system: Debian packages, and layers of Python wheels to put above.

    runtimes: the layers; "modern", for one, has the newest runtimes.
    pip_options: for all the layers.
    """

    name: str
    architecture: Architecture
    packages: tuple[str, ...]
    runtimes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=lambda: LINKS)
    pip_options: tuple[str, ...] = ()

    @property
    def recipe(self) -> list[object]:
        """Whatever decides what is in it."""
        tags = self.architecture.wheel_platforms
        options = [self.pip_options] if self.pip_options else []
        parts = [SUITE, PYTHON_VERSION, self.packages, self.runtimes, tags, self.links]
        return [*parts, *options, LAYOUT]


ROOTS = {
    root.name: root
    for root in (
        Root(
            name="arm64",
            architecture=ARM64,
            packages=PACKAGES,
            runtimes={
                "modern": ("onnxruntime==1.31.1", "ai-edge-litert==2.3.0", "numpy==2.4.6"),
                "tflite_runtime": ("tflite-runtime==2.14.0", "numpy==1.26.4"),
            },
        ),
        Root(
            name="armv7",
            architecture=ARMV7,
            packages=(*PACKAGES, "python3-numpy"),
            runtimes={"tflite_runtime": ("tflite-runtime==2.14.0",)},
            links={
                **LINKS,
                "usr/lib/arm-linux-gnueabihf/libblas.so.3": "blas/libblas.so.3",
                "usr/lib/arm-linux-gnueabihf/liblapack.so.3": "lapack/liblapack.so.3",
            },
            pip_options=("--no-deps",),  # PyPI has no NumPy for it: Debian's own is there
        ),
    )
}


def cached(name: str, recipe: object) -> Path:
    """Where what is built by a recipe is kept, or would be."""
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
    default = Path.home() / ".cache" / "edgewright-test"
    return Path(os.environ.get(CACHE_VARIABLE) or default).absolute() / f"{name}-{digest}"


def cached_root(root: Root) -> Path:
    """Where the file systems of this recipe are, or would be."""
    return cached(root.name, root.recipe)


def layers(root: Root, runtimes: str) -> list[Path]:
    """The directories that make up a board with these runtimes, the uppermost first."""
    above = [runtimes] if runtimes in root.runtimes else []
    return [cached_root(root) / layer for layer in (*above, BASE)]


def missing(root: Root) -> str | None:
    """Why programs can't be run from the cached file systems, or None when they can."""
    remedy = f"python {Path(__file__).name} prepare {root.name}"
    if not cached_root(root).is_dir():
        return f"no {root.name} root at {cached_root(root)}: {remedy}"
    if not runs(root.architecture):
        return f"no emulation of {root.name} is registered: {remedy}"
    return None


def runs(architecture: Architecture) -> bool:
    """Whether this machine runs such programs, also from inside another root."""
    if platform.machine() in architecture.machines:
        return True
    try:
        entry = (BINFMT / architecture.emulator).read_text()
    except OSError:
        return False
    flags = next((line for line in entry.splitlines() if line.startswith("flags:")), "")
    return entry.startswith("enabled") and set(BINFMT_FLAGS) <= set(flags.partition(":")[2])


def prepare(root: Root) -> None:
    """Register the emulator and build the file systems, each unless it is already done."""
    if not runs(root.architecture):
        register_emulator(root.architecture)
    build_once(cached_root(root), lambda directory: build(root, directory))


def build_once(target: Path, build: Callable[[Path], None]) -> None:
    """Have `target` built under another name and then renamed, unless it is there already."""
    if os.geteuid() != 0:
        raise SystemExit("preparing the emulated devices needs root")
    os.umask(0o022)  # the board's user must be able to read what is built
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            print(f"it is there: {target}")
            return
        unfinished = target.with_name(f"{target.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.unlink(missing_ok=True)
        build(unfinished)
        unfinished.rename(target)
        print(f"built: {target}")


def build(root: Root, directory: Path) -> None:
    """Make the base system and one layer for each set of runtimes."""
    directory.mkdir()
    unpack(root.architecture, root.packages, root.links, directory / BASE)
    with tempfile.TemporaryDirectory() as tools:
        for name, requirements in root.runtimes.items():
            layer = directory / name
            install(python_with_pip(Path(tools)), root, requirements, layer / SITE)
            byte_compile(layer, SITE)


def unpack(
    architecture: Architecture,
    packages: tuple[str, ...],
    links: Mapping[str, str],
    directory: Path,
    more_suites: tuple[str, ...] = (),
) -> None:
    """Unpack Debian packages and what they depend on; no maintainer script is run."""
    run(
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        f"--architectures={architecture.debian}",
        "--variant=extract",
        f"--include={','.join(packages)}",
        SUITE,
        str(directory),
        *sources(SUITE, *more_suites),
    )
    for name, target in links.items():
        (directory / name).symlink_to(target)
    byte_compile(directory, f"usr/lib/python{PYTHON_VERSION}")


def sources(*suites: str) -> list[str]:
    """apt's lines for suites of Debian, from the archive that this machine itself uses.

    One archive, whose parts fit each other at any time; the tests need no security updates.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror is None:
        command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = [uri for uri in told.split() if uri.rstrip("/").endswith("/debian")]
        if not found:
            raise SystemExit(f"apt knows no archive of Debian here: name one in {MIRROR_VARIABLE}")
        mirror = found[0]
    return [f"deb {mirror} {suite} main" for suite in suites]


def python_with_pip(tools: Path) -> str:
    """This Python, or one in a new environment where this one has no pip, as Debian's own."""
    if importlib.util.find_spec("pip"):
        return sys.executable
    python = tools / "environment" / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", str(tools / "environment"))
    return str(python)


def install(python: str, root: Root, requirements: tuple[str, ...], site: Path) -> None:
    """Install wheels for the board into a directory, as pip there would."""
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
        *root.pip_options,
        f"--python-version={PYTHON_VERSION}",
        *(f"--platform={tag}" for tag in root.architecture.wheel_platforms),
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


def register_emulator(architecture: Architecture) -> None:
    """Tell the kernel to run such programs with qemu, also inside another root."""
    name = architecture.emulator
    emulator = shutil.which(f"{name}-static") or shutil.which(name)
    if emulator is None:
        raise SystemExit(f"no {name} here: install the package qemu-user-static")
    if not (BINFMT / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
    if runs(architecture):  # a registration of the system's own came to light
        return
    entry = BINFMT / name
    if entry.exists():
        entry.write_text("-1")
    (BINFMT / "register").write_text(
        f":{name}:M::{architecture.magic}:{architecture.mask}:{emulator}:{BINFMT_FLAGS}"
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
    parser = argparse.ArgumentParser(description="File systems of the emulated boards.")
    parser.add_argument("action", choices=["prepare", "where"])
    parser.add_argument("roots", nargs="*", metavar="ROOT", help=f"of {', '.join(ROOTS)}; or all")
    given = parser.parse_args()
    if unknown := set(given.roots) - set(ROOTS):
        parser.error(f"no root is called {', '.join(sorted(unknown))}")
    for name in given.roots or ROOTS:
        if given.action == "prepare":
            prepare(ROOTS[name])
        else:
            print(cached_root(ROOTS[name]))


if __name__ == "__main__":
    main()
