"""One built runtime: an archive, and what is known of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from ...targets.profile import Architecture, Model, RuntimeName

SHA256 = r"^[0-9a-f]{64}$"
#: A file of the runtime that names all of them, itself included, in order.
FILES = "FILES"
LAUNCHER = "python"


class Ingredient(Model):
    """One package or wheel that a runtime is made of."""

    file: str
    version: str
    sha256: str = Field(pattern=SHA256)


class Bundle(Model):
    """What is known of a built runtime.

    Attributes:
        sha256: of the archive: the runtime's name on every device.
        files_sha256: of the hashes of all its files, as `sha256sum` prints them.
        archive_bytes: what a device is sent.
        installed_bytes: the files on the device.
        files: how many they are.
        recipe: digest of the recipe.
        compiled: whether the modules are byte code; else the device compiles them when it first
            needs them, as it does with any Python file.
    """

    schema_version: Literal[1] = 1
    sha256: str = Field(pattern=SHA256)
    files_sha256: str = Field(pattern=SHA256)
    archive_bytes: int = Field(gt=0)
    installed_bytes: int = Field(gt=0)
    files: int = Field(gt=0)
    architecture: Architecture
    runtime: RuntimeName
    runtime_version: str
    python_version: str
    numpy_version: str
    recipe: str
    compiled: bool
    ingredients: tuple[Ingredient, ...]

    @property
    def title(self) -> str:
        """The runtime in words."""
        return (
            f"{self.runtime} {self.runtime_version} on Python {self.python_version} for "
            f"{self.architecture}"
        )


def with_list(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files in order, with the list of them."""
    names = sorted((*files, FILES))
    listing = "".join(f"{name}\n" for name in names).encode()
    return {name: listing if name == FILES else files[name] for name in names}


def digest_of_files(files: Mapping[str, bytes]) -> str:
    """What `xargs sha256sum <FILES | sha256sum` prints where all files are whole."""
    lines = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def write_archive(files: Mapping[str, bytes], executable: frozenset[str], path: Path) -> None:
    """Writes a .tar.gz that depends on nothing but the files and the zlib of this host.

    gzip, as every device's shell can unpack that; xz is missing on phones.
    """
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        folders: set[str] = set()
        for name, content in files.items():
            for folder in reversed([str(parent) for parent in Path(name).parents][:-1]):
                if folder not in folders:
                    folders.add(folder)
                    entry = tarfile.TarInfo(folder)
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if name in executable else 0o644
            archive.addfile(entry, io.BytesIO(content))
