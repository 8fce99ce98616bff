"""What a TFLite file says of itself: who wrote it, and its metadata.

Layouts: Model.metadata of schema.fbs; conversion_metadata.fbs (TensorFlow) for
CONVERSION_METADATA; metadata_schema.fbs (tflite-support) for TFLITE_METADATA.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from .tflite_schema import text

_LONGEST_TEXT = 200
_TEXT_BYTES = 4096

#: Strings of metadata_schema.fbs' root table ModelMetadata, by their position in it.
_MODEL_FIELDS = {0: "name", 1: "description", 2: "version", 4: "author", 5: "license"}


def read_producer(model: Any) -> str | None:
    """The converter with its version, where the file says so."""
    description = text(model.Description()).strip()
    version = None
    data = _values(model).get("CONVERSION_METADATA")
    if data:
        # ConversionMetadata.environment.tensorflow_version: each the first field of its table.
        version = _string(_table(_root(data), 0), 0)
    if version is None:
        return description or None
    return f"TensorFlow {version}" + (f" ({description})" if description else "")


def read_metadata(model: Any) -> dict[str, str]:
    """The metadata that says anything: short text as it stands, other values by their size."""
    found = {}
    for name, data in _values(model).items():
        told = _describe(data)
        if told:
            found[name] = told
        if name == "TFLITE_METADATA" and data:
            root = _root(data)
            for position, field in _MODEL_FIELDS.items():
                value = _string(root, position)
                if value:
                    found[f"{name}.{field}"] = _shorten(value)
    return found


def associated_files(path: Path) -> tuple[str, ...]:
    """Names of the files packed behind the model, such as labels (TFLite Model Metadata)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return ()


def _values(model: Any) -> dict[str, memoryview]:
    values = {}
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        buffer = model.Buffers(entry.Buffer())
        data = memoryview(b"") if buffer.DataIsNone() else buffer.DataAsNumpy().data
        values[text(entry.Name())] = data
    return values


def _describe(data: memoryview) -> str:
    try:
        words = bytes(data[:_TEXT_BYTES]).decode("utf-8").strip("\0 \n")
    except UnicodeDecodeError:
        return f"{len(data)} bytes"
    if words.isprintable() and len(data) <= _TEXT_BYTES:
        return _shorten(words)
    return f"{len(data)} bytes"


def _shorten(words: str) -> str:
    return words if len(words) <= _LONGEST_TEXT else f"{words[:_LONGEST_TEXT]}…"


def _root(data: memoryview) -> Any:
    from flatbuffers import encode, packer
    from flatbuffers.table import Table

    values = bytes(data)
    return Table(values, encode.Get(packer.uoffset, values, 0))


def _field(table: Any, position: int) -> int:
    """Where a table's field lies; 0 if it is left out."""
    offset = table.Offset(4 + 2 * position) if table is not None else 0
    return int(table.Pos + offset) if offset else 0


def _table(table: Any, position: int) -> Any:
    from flatbuffers.table import Table

    place = _field(table, position)
    return Table(table.Bytes, table.Indirect(place)) if place else None


def _string(table: Any, position: int) -> str | None:
    place = _field(table, position)
    return text(table.String(place)) if place else None
