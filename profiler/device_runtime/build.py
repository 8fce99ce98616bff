"""From a recipe to one archive that a device can unpack and run."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import posixpath
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ...errors import UsageError
from ...files import sha256_file, written_whole
from .bundle import LAUNCHER, Bundle, Ingredient, digest_of_files, with_list, write_archive
from .libraries import choose_libraries, without_symbols
from .packages import Package, PackageSource, fetch_packages, read_package
from .recipe import PYTHON_PACKAGES, Recipe
from .wheels import fetch_wheel, read_wheel

OnStep = Callable[[str, int, int], None]


def build_runtime(
    recipe: Recipe, source: PackageSource, directory: Path, on_step: OnStep | None = None
) -> tuple[Bundle, Path]:
    """Builds a runtime; the same packages and wheels give the same archive.

    Args:
        directory: where the archive is put, under a name of its own.
        on_step: called with (what is done, 0, 0).

    Returns:
        What it is, and the archive.

    Raises:
        UsageError: packages or wheels can't be had, or don't fit together; or a disk here is full.
    """
    tell = on_step or (lambda what, done, total: None)
    try:
        return _build(recipe, source, directory, tell)
    except OSError as error:
        raise UsageError(
            f"can't build the runtime: {error.filename or 'a file'}: {error.strerror}",
            hint="make room on the disk; TMPDIR names another for what is only needed meanwhile",
        ) from error


def _build(
    recipe: Recipe, source: PackageSource, directory: Path, tell: OnStep
) -> tuple[Bundle, Path]:
    with tempfile.TemporaryDirectory(prefix="edgewright-runtime-") as name:
        scratch = Path(name)
        tell("fetching Python and the C library", 0, 0)
        packages = fetch_packages(
            recipe.packages, PYTHON_PACKAGES, recipe.platform, source, scratch / "apt"
        )
        python = next(p for key, p in packages.items() if key.startswith("python3."))
        minor = python.name.removeprefix("python").removesuffix("-minimal")
        glibc = int(packages["libc6"].upstream.split(".")[1])
        tell(f"fetching {recipe.wheel}", 0, 0)
        (scratch / "wheels").mkdir()
        wheel = fetch_wheel(recipe, minor, glibc, scratch / "wheels")
        tell("putting the runtime together", 0, 0)
        files, libraries = _collect(packages, wheel, minor, recipe)
        compiled = sys.version_info[:2] == tuple(map(int, minor.split(".")))
        if compiled:
            files = _byte_compiled(files, scratch / "modules")
        chosen = _choose(files, libraries, recipe) | {
            recipe.platform.loader: libraries[recipe.platform.loader]
        }
        files |= {f"lib/{name}": content for name, content in chosen.items()}
        files = {path: without_symbols(content) for path, content in files.items()}
        bundle = Bundle(
            sha256="0" * 64,
            files_sha256="0" * 64,
            archive_bytes=1,
            installed_bytes=1,
            files=1,
            architecture=recipe.architecture,
            runtime=recipe.runtime,
            runtime_version=recipe.wheel.partition("==")[2],
            python_version=python.upstream,
            numpy_version=packages["python3-numpy"].upstream,
            recipe=recipe.digest,
            compiled=compiled,
            ingredients=_ingredients(packages, wheel, recipe),
        )
        files[LAUNCHER] = recipe.launcher.format(
            title=bundle.title, launcher=LAUNCHER, loader=recipe.platform.loader
        ).encode()
        files = with_list(files)
        tell("packing the runtime", 0, 0)
        archive = directory / f"{os.getpid()}.tar.gz"
        executable = frozenset((LAUNCHER, "bin/python", f"lib/{recipe.platform.loader}"))
        with written_whole(archive) as temporary:
            write_archive(files, executable, temporary)
        return bundle.model_copy(
            update={
                "sha256": sha256_file(archive),
                "files_sha256": digest_of_files(files),
                "archive_bytes": archive.stat().st_size,
                "installed_bytes": sum(map(len, files.values())),
                "files": len(files),
            }
        ), archive


def _collect(
    packages: Mapping[str, Package], wheel: Path, python: str, recipe: Recipe
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The runtime's files, and every shared library that the packages have, by name."""
    places = (
        (f"usr/bin/python{python}", "bin/python"),
        (f"usr/lib/python{python}/", f"lib/python{python}/"),
        ("usr/lib/python3/dist-packages/numpy/", "site/numpy/"),
    )
    triplet = re.compile(rf"(?:usr/)?lib/{re.escape(recipe.platform.triplet)}/(?:.*/)?([^/]+)")
    files: dict[str, bytes] = {}
    libraries: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for package in packages.values():
        for path, content, target in read_package(package.path):
            library = triplet.fullmatch(path)
            if library and ".so" in library[1]:
                if content is not None:
                    libraries[library[1]] = content
                elif target is not None:
                    links[library[1]] = posixpath.basename(target)
                continue
            if content is None:
                continue
            for prefix, place in places:
                if path == prefix or (prefix.endswith("/") and path.startswith(prefix)):
                    files[place + path.removeprefix(prefix)] = content
    libraries |= {name: libraries[to] for name, to in links.items() if to in libraries}
    for path, content in read_wheel(wheel):
        files[f"site/{path}"] = content
    for path in files:
        if ".." in path.split("/"):
            raise UsageError(f"a package or wheel has a file outside itself: {path}")
    stdlib = f"lib/python{python}/"
    patterns = [pattern.replace("stdlib/", stdlib, 1) for pattern in recipe.left_out]
    left_out = re.compile("|".join(map(fnmatch.translate, patterns)))
    dist_packages = f"{stdlib}dist-packages/"
    kept = {
        path: content
        for path, content in files.items()
        if not left_out.fullmatch(path) and not path.startswith(dist_packages)
    }
    kept |= dict.fromkeys(recipe.stubs, recipe.stub.encode())
    if "bin/python" not in kept or f"{stdlib}os.py" not in kept:
        raise UsageError(f"the packages have no Python {python}: are they of one distribution?")
    return kept, libraries


def _choose(
    files: dict[str, bytes], libraries: Mapping[str, bytes], recipe: Recipe
) -> dict[str, bytes]:
    """The libraries that are needed; modules of Python that need others are taken out."""
    chosen, unloadable = choose_libraries(files, libraries, recipe.architecture)
    for path, missing in unloadable.items():
        if "/lib-dynload/" not in path:
            raise UsageError(f"{path} needs {missing}, which none of the packages has")
        del files[path]
    return chosen


def _byte_compiled(files: Mapping[str, bytes], scratch: Path) -> dict[str, bytes]:
    """The files with byte code in place of Python, without docstrings.

    A fresh process with a fixed hash seed: what byte code looks like depends on both.
    """
    for path, content in files.items():
        if path.endswith(".py"):
            target = scratch / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    command = [
        *(sys.executable, "-S", "-s", "-m", "compileall", "-q", "-b", "-o", "2"),
        *("--invalidation-mode", "unchecked-hash", "-s", str(scratch), "-p", "/", str(scratch)),
    ]
    # Packages have files that are no Python of this version on purpose: those stay as they are.
    subprocess.run(command, env={"PYTHONHASHSEED": "0"}, capture_output=True, check=False)
    found = {}
    for path, content in files.items():
        code = scratch / f"{path}c"
        if path.endswith(".py") and code.is_file():
            found[f"{path}c"] = code.read_bytes()
        else:
            found[path] = content
    return found


def _ingredients(
    packages: Mapping[str, Package], wheel: Path, recipe: Recipe
) -> tuple[Ingredient, ...]:
    version = recipe.wheel.partition("==")[2]
    found = [Ingredient(file=wheel.name, version=version, sha256=sha256_file(wheel))]
    for _, package in sorted(packages.items()):
        content = package.path.read_bytes()
        found.append(
            Ingredient(
                file=package.path.name,
                version=package.version,
                sha256=hashlib.sha256(content).hexdigest(),
            )
        )
    return tuple(found)
