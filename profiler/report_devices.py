"""What is known of the user's devices, as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import EdgewrightError
from ..targets.profile import TargetProfile
from .cleaning import Leftovers
from .devices_file import FoundDevice
from .live_device import LiveDevice


def live_document(device: FoundDevice, live: LiveDevice) -> dict[str, Any]:
    """What `devices show --json` prints."""
    return {**live.model_dump(mode="json"), "device": device.model_dump(mode="json")}


def probed_document(
    device: FoundDevice,
    live: LiveDevice,
    claimed: TargetProfile | None,
    differences: Sequence[str] | None,
    probed: TargetProfile,
    kept: tuple[str, str | None],
) -> dict[str, Any]:
    """What `devices probe --json` prints; `differences` is null where there is no profile.

    Args:
        claimed: the profile that it was held against.
        probed: its own.
        kept: the file of that, and whether it was 'written', was the 'same' before, or 'differs'
            and stays; None where nothing was to be written.
    """
    return {
        "schema_version": 1,
        "device": device.model_dump(mode="json"),
        **live.model_dump(
            mode="json",
            include={
                "facts", "clusters", "accelerators", "python", "python_version", "numpy",
                "runtimes", "notes",
            },
        ),
        "zones": [zone.model_dump(mode="json") for zone in live.conditions.zones],
        "free_bytes": live.stored.free_bytes,
        "probed": probed.model_dump(mode="json", exclude_none=True),
        "file": kept[0],
        "kept": kept[1],
        "profile": claimed.name if claimed else None,
        "differences": list(differences) if differences is not None else None,
    }  # fmt: skip


def cleaned_document(
    results: Mapping[str, Leftovers | EdgewrightError], dry_run: bool
) -> dict[str, Any]:
    """What `devices clean --json` prints."""
    devices = [{"device": name, **_cleaned(result)} for name, result in results.items()]
    return {"schema_version": 1, "dry_run": dry_run, "devices": devices}


def _cleaned(result: Leftovers | EdgewrightError) -> dict[str, Any]:
    if isinstance(result, EdgewrightError):
        return {
            "error": {
                "type": type(result).__name__,
                "message": result.message,
                "hint": result.hint,
            }
        }
    return {
        "directory": result.directory,
        "size_bytes": result.size_bytes,
        "processes": list(result.processes),
        "holder": result.holder.model_dump(mode="json") if result.holder else None,
        "kept": list(result.kept),
    }
