"""Files beside a model that hold its weights, for either format."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import UsageError


def external_file(model: Path, location: str, what: str) -> Path:
    """The file that a model names; never one outside of the model's folder.

    Args:
        location: the path as the model gives it.
        what: what it holds, for the message.

    Raises:
        UsageError: it lies outside of the model's folder, or is missing.
    """
    parts = PurePosixPath(location).parts + PureWindowsPath(location).parts
    rooted = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
    if not location or rooted or ".." in parts or "\0" in location:
        raise UsageError(
            f"{model} keeps {what} in '{location}', outside of its folder",
            hint="save the model again with its weights beside it or inside it",
        )
    place = model.parent / location
    if not place.resolve().is_relative_to(model.parent.resolve()):
        raise UsageError(
            f"{model} keeps {what} in {place}, a link that leads outside of its folder",
            hint="put the file itself there instead of a link",
        )
    if place.exists() and not place.is_file():
        raise UsageError(f"{model} keeps {what} in {place}, which is no regular file")
    if not place.is_file():
        raise UsageError(
            f"{model} keeps its weights in {place}, which is missing",
            hint=f"put {location} beside the model, or save the model as one file",
        )
    return place
