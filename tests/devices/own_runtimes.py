"""Edgewright's own runtimes for the test devices: built once, kept in the tests' cache."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from edgewright.errors import UsageError
from edgewright.profiler.device_runtime.build import build_runtime
from edgewright.profiler.device_runtime.cache import (
    CACHE_VARIABLE,
    Kept,
    find_kept,
    keep,
    prepare_cache,
)
from edgewright.profiler.device_runtime.packages import PackageSource
from edgewright.profiler.device_runtime.recipe import recipe_for
from edgewright.targets.profile import Architecture, RuntimeName

from . import roots
from .base import DeviceUnavailable


def own_runtime(
    monkeypatch: pytest.MonkeyPatch, architecture: Architecture, runtime: RuntimeName
) -> Kept:
    """Have a runtime in the cache that Edgewright uses during this test.

    Raises DeviceUnavailable where its parts can't be downloaded.
    """
    cache = Path(os.environ.get(roots.CACHE_VARIABLE) or Path.home() / ".cache/edgewright-test")
    recipe = recipe_for(architecture, runtime)
    # Apart from those of other versions of the recipe, which would give way to this one.
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.absolute() / f"own-{recipe.digest}"))
    directory = prepare_cache()
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = find_kept(architecture, [runtime])
        if kept is None:
            try:
                kept = keep(*build_runtime(recipe, PackageSource(), directory))
            except UsageError as error:
                raise DeviceUnavailable(f"{runtime} can't be built: {error.message}") from error
    return kept
