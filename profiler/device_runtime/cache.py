"""The runtimes that this host has built, ready to be sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ...errors import UsageError
from ...files import ensure_directory, write_json
from ...targets.profile import Architecture, RuntimeName
from .bundle import Bundle
from .recipe import WHEELS, recipe_for

CACHE_VARIABLE = "EDGEWRIGHT_CACHE"


@dataclass(frozen=True)
class Kept:
    """A runtime in the cache: two files, of which the description is written last.

    Attributes:
        is_current: built as this version of Edgewright builds it; others are not used.
    """

    bundle: Bundle
    archive: Path
    description: Path

    @property
    def is_current(self) -> bool:
        architectures = WHEELS[self.bundle.runtime][1]
        if self.bundle.architecture not in architectures:
            return False
        return (
            self.bundle.recipe == recipe_for(self.bundle.architecture, self.bundle.runtime).digest
        )


def cache_directory() -> Path:
    """Where built runtimes are kept; made when the first one is.

    Apart from `~/.cache/edgewright`, which is what this host has as a device.
    """
    told = os.environ.get(CACHE_VARIABLE)
    if told:
        return Path(told).absolute() / "runtimes"
    return Path.home() / ".cache" / "edgewright-runtimes"


def keep(bundle: Bundle, archive: Path) -> Kept:
    """Moves a built archive, which lies in the cache's directory, to its name there.

    Others for the same architecture and runtime give way to it.
    """
    name = f"{bundle.runtime}-{bundle.architecture}-{bundle.sha256[:12]}"
    kept = Kept(
        bundle,
        cache_directory() / f"{name}.tar.gz",
        cache_directory() / f"{name}.json",
    )
    archive.replace(kept.archive)
    write_json(kept.description, bundle.model_dump(mode="json"))
    for other in list_kept():
        same = (other.bundle.runtime, other.bundle.architecture) == (
            bundle.runtime,
            bundle.architecture,
        )
        if same and other.bundle.sha256 != bundle.sha256:
            remove_kept(other)
    return kept


def list_kept() -> list[Kept]:
    """What is in the cache, by name. A file that describes no runtime is no part of it."""
    found = []
    for description in sorted(cache_directory().glob("*.json")):
        archive = description.with_suffix(".tar.gz")
        try:
            bundle = Bundle.model_validate_json(description.read_bytes())
            if archive.stat().st_size == bundle.archive_bytes:
                found.append(Kept(bundle, archive, description))
        except (OSError, ValidationError):
            continue
    return found


def find_kept(architecture: Architecture, runtimes: Sequence[RuntimeName]) -> Kept | None:
    """The first of these runtimes that is built for an architecture, and current."""
    there = {
        kept.bundle.runtime: kept
        for kept in list_kept()
        if kept.bundle.architecture == architecture and kept.is_current
    }
    return next((there[name] for name in runtimes if name in there), None)


def find_by_name(name: str) -> Kept:
    """One by the beginning of its hash, or by RUNTIME-ARCHITECTURE.

    Raises:
        UsageError: none or several have it.
    """
    found = [
        kept
        for kept in list_kept()
        if (len(name) >= 4 and kept.bundle.sha256.startswith(name))
        or name == f"{kept.bundle.runtime}-{kept.bundle.architecture}"
    ]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} runtimes in {cache_directory()} are called {name!r}",
            hint="`edgewright runtime list` shows what is there, with the beginning of each hash",
        )
    return found[0]


def remove_kept(kept: Kept) -> None:
    """Deletes one; the description first, so that what is left is no runtime."""
    try:
        kept.description.unlink(missing_ok=True)
        kept.archive.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"can't delete {error.filename}: {error.strerror}") from error


def prepare_cache() -> Path:
    """The cache's directory, made where it is not there.

    Raises:
        UsageError: it can't be made or written.
    """
    directory = cache_directory()
    ensure_directory(directory)
    return directory
