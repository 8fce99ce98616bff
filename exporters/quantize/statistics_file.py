"""Statistics of a calibration as a file beside the artifact: versioned and hashed.

One .npz archive without pickles. Its member `header` is JSON; the others are arrays in which the
channels of all tensors follow one another, as the header lists them.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from ...errors import IntegrityError, UsageError
from ...files import written_whole
from ...targets.profile import Format, Model
from .statistics import Collected, Origin, Statistics
from .tensor_statistics import ChannelStatistics, TensorStatistics

Arrays = dict[str, npt.NDArray[Any]]

_VERSION = 1
_FIELDS = tuple(field.name for field in fields(TensorStatistics))
_CHANNEL_FIELDS = ("minimum", "maximum", "total")


class _Tensor(Model):
    name: str
    channels: int = Field(ge=1)


class _Channels(_Tensor):
    axis: int = Field(ge=0)
    count: int = Field(ge=0)
    covariance: bool


class _Header(Model):
    """What the arrays are of.

    Attributes:
        content_sha256: of all that follows in the header, and of the arrays.
        complete: False where the calibration was stopped before the end of the data.
    """

    schema_version: Literal[1] = 1
    content_sha256: str = ""
    model_format: Format
    model_sha256: str
    data_identity: str
    data_description: str
    samples: int = Field(ge=0)
    complete: bool
    channel_axes: dict[str, int]
    covariances: list[str]
    histograms_per_channel: list[str]
    tensors: list[_Tensor]
    channels: list[_Channels]
    per_channel: list[_Tensor]


def save(statistics: Statistics, path: Path) -> None:
    """Writes statistics, whole or not at all.

    Raises:
        UsageError: the file can't be written.
    """
    arrays = _arrays(statistics)
    header = _header(statistics)
    signed = header.model_copy(update={"content_sha256": _digest(header, arrays)})
    encoded = np.frombuffer(signed.model_dump_json().encode(), dtype=np.uint8)
    with written_whole(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, header=encoded, **arrays)


def load(path: Path) -> Statistics:
    """Reads statistics, complete or not.

    Raises:
        UsageError: it is missing, is something else, or of another schema version.
        IntegrityError: its content is not what was written.
    """
    arrays = _read(path)
    header = _parsed(arrays.pop("header", None), path)
    if header.content_sha256 != _digest(header, arrays):
        raise _damaged(path)
    try:
        return _statistics(header, arrays)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{path}: the arrays do not fit their header: {error}") from error


def require_for(statistics: Statistics, model_sha256: str, path: Path) -> None:
    """That statistics are of a model, and of all the data.

    Raises:
        UsageError: they are of another model, or of an interrupted calibration.
    """
    theirs = statistics.origin.model_sha256
    if theirs != model_sha256:
        raise UsageError(
            f"{path} is of another model (SHA-256 {theirs[:12]}…, not {model_sha256[:12]}…)",
            hint="calibrate this model: --calibration DATA",
        )
    if not statistics.complete:
        raise UsageError(
            f"{path} is of a calibration that was stopped after {statistics.samples} samples",
            hint="finish it: the same command with --calibration DATA goes on from there",
        )


def _header(statistics: Statistics) -> _Header:
    origin, collected = statistics.origin, statistics.collected
    return _Header(
        model_format=origin.model_format,
        model_sha256=origin.model_sha256,
        data_identity=origin.data_identity,
        data_description=origin.data_description,
        samples=statistics.samples,
        complete=statistics.complete,
        channel_axes=dict(collected.channel_axes),
        covariances=sorted(collected.covariances),
        histograms_per_channel=sorted(collected.per_channel),
        tensors=[_Tensor(name=n, channels=t.channels) for n, t in statistics.tensors.items()],
        channels=[
            _Channels(
                name=name,
                channels=found.total.size,
                axis=found.axis,
                count=found.count,
                covariance=found.covariance is not None,
            )
            for name, found in statistics.channels.items()
        ],
        per_channel=[
            _Tensor(name=n, channels=t.channels) for n, t in statistics.per_channel.items()
        ],
    )


def _arrays(statistics: Statistics) -> Arrays:
    channels = list(statistics.channels.values())
    arrays = {
        **_joined("tensors", statistics.tensors.values(), _FIELDS),
        **_joined("channels", channels, _CHANNEL_FIELDS),
        **_joined("per_channel", statistics.per_channel.values(), _FIELDS),
    }
    for index, found in enumerate(channels):
        if found.covariance is not None:
            arrays[f"covariance.{index}"] = found.covariance
    return arrays


def _joined(group: str, parts: Iterable[Any], names: Iterable[str]) -> Arrays:
    found = list(parts)
    if not found:
        return {}
    return {f"{group}.{n}": np.concatenate([getattr(part, n) for part in found]) for n in names}


def _statistics(header: _Header, arrays: Arrays) -> Statistics:
    """The value that a header and its arrays stand for.

    Raises:
        KeyError, ValueError: they do not fit.
    """
    channels = {}
    parts = _parted("channels", header.channels, ChannelStatistics.empty(0, 1), arrays)
    for index, (told, part) in enumerate(zip(header.channels, parts, strict=True)):
        covariance = arrays[f"covariance.{index}"] if told.covariance else None
        if covariance is not None:
            _check(covariance, f"covariance.{index}", np.float32, (told.channels, told.channels))
        channels[told.name] = ChannelStatistics(
            axis=told.axis, count=told.count, covariance=covariance, **part
        )
    tensors, per_channel = (
        {
            told.name: TensorStatistics(**part)
            for told, part in zip(
                listed, _parted(group, listed, TensorStatistics.empty(), arrays), strict=True
            )
        }
        for group, listed in (("tensors", header.tensors), ("per_channel", header.per_channel))
    )
    return Statistics(
        origin=Origin(
            header.model_format,
            header.model_sha256,
            header.data_identity,
            header.data_description,
        ),
        collected=Collected(
            header.channel_axes,
            frozenset(header.covariances),
            frozenset(header.histograms_per_channel),
        ),
        samples=header.samples,
        complete=header.complete,
        tensors=tensors,
        channels=channels,
        per_channel=per_channel,
    )


def _parted(
    group: str,
    listed: Sequence[_Tensor],
    like: TensorStatistics | ChannelStatistics,
    arrays: Arrays,
) -> Iterator[Arrays]:
    """The arrays of each listed tensor by the names of its fields."""
    names = _FIELDS if isinstance(like, TensorStatistics) else _CHANNEL_FIELDS
    total = sum(each.channels for each in listed)
    for name in names if listed else ():
        one = getattr(like, name)
        _check(arrays[f"{group}.{name}"], f"{group}.{name}", one.dtype, (total, *one.shape[1:]))
    start = 0
    for each in listed:
        # Copies: what goes on counting must not write into its neighbours' array.
        end = start + each.channels
        yield {name: arrays[f"{group}.{name}"][start:end].copy() for name in names}
        start = end


def _check(
    array: npt.NDArray[Any], name: str, dtype: npt.DTypeLike, shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, not {dtype} {shape}")


def _digest(header: _Header, arrays: Arrays) -> str:
    told = header.model_dump(mode="json", exclude={"content_sha256"})
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read(path: Path) -> Arrays:
    if not path.is_file():
        raise UsageError(f"calibration statistics {path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except zipfile.BadZipFile as error:
        # A member's checksum, or the archive's end is missing.
        raise _damaged(path) from error
    except Exception as error:
        # Whatever NumPy stumbles over in a file that is none of its own.
        raise _something_else(path) from error


def _parsed(header: npt.NDArray[Any] | None, path: Path) -> _Header:
    try:
        told = json.loads(bytes(header.astype(np.uint8))) if header is not None else None
    except ValueError as error:
        raise _something_else(path) from error
    if not isinstance(told, dict) or "schema_version" not in told:
        raise _something_else(path)
    if told["schema_version"] != _VERSION:
        raise UsageError(
            f"{path} is of schema version {told['schema_version']}; "
            f"this version of Edgewright reads {_VERSION}",
            hint="calibrate again with --calibration DATA",
        )
    try:
        return _Header.model_validate(told)
    except ValidationError as error:
        raise _something_else(path) from error


def _something_else(path: Path) -> UsageError:
    return UsageError(
        f"{path} is no file of calibration statistics",
        hint="a calibration writes one beside the artifact",
    )


def _damaged(path: Path) -> IntegrityError:
    return IntegrityError(
        f"{path} is damaged: its content is not what was written",
        hint="calibrate again with --calibration DATA",
    )
