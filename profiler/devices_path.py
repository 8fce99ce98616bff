"""Where the user's devices are written down, and their names, read without anything heavy."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from ..errors import UsageError
from ..files import configuration_folder, user_path

DEVICES_VARIABLE = "EDGEWRIGHT_DEVICES"


def devices_path() -> Path:
    """The devices file: what EDGEWRIGHT_DEVICES names, else in the user's configuration."""
    named = os.environ.get(DEVICES_VARIABLE)
    if named:
        return user_path(named)
    return configuration_folder() / "devices.toml"


def device_names(beginning: str = "") -> list[str]:
    """Names for completion; none where the file can't be read."""
    try:
        devices = tomllib.loads(devices_path().read_text(encoding="utf-8")).get("devices", {})
        return sorted(name for name in devices if name.startswith(beginning))
    except (OSError, UsageError, ValueError, TypeError, AttributeError, RecursionError):
        return []
