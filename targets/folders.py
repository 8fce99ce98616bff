"""Where device profiles lie: those that come with Edgewright, and the user's own."""

from __future__ import annotations

import os
from pathlib import Path

from ..files import configuration_folder, user_path

TARGETS_VARIABLE = "EDGEWRIGHT_TARGETS"

BUILT_IN = Path(__file__).parent.parent / "device_configs"


def own_folder() -> Path:
    """The folder for the user's profiles: what EDGEWRIGHT_TARGETS names, else a fixed one."""
    named = os.environ.get(TARGETS_VARIABLE)
    return user_path(named) if named else configuration_folder() / "targets"


def profile_files() -> list[Path]:
    """All profiles' files: the built-in ones, then the user's; each by name."""
    return [*sorted(BUILT_IN.glob("*.toml")), *sorted(own_folder().glob("*.toml"))]


def names_beginning(with_: str) -> list[str]:
    """Names for completion: files are called as the devices in them."""
    return sorted({path.stem for path in profile_files() if path.stem.startswith(with_)})
