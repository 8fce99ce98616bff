"""What a file really is, from its first bytes: a wrong name or a broken download says so."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import UsageError
from .formats import Format

_HEAD_BYTES = 512

#: Magic numbers of what is mistaken for a model.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive (PyTorch's .pt and Keras' .keras files are such)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras' .h5 files are such)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"GGUF", "a GGUF file"),
    (b"\x7fELF", "a program"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x02", "a Python pickle (old PyTorch files are such)"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"version https://git-lfs.github.com/spec", "a Git LFS pointer: the model was not fetched"),
)

#: Tags that a serialized onnx.ModelProto can begin with: field number and wire type (onnx.proto).
_ONNX_TAGS = frozenset({0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72})

_HINTS = {
    "a Git LFS pointer: the model was not fetched": "run 'git lfs pull'",
    "a web page (HTML)": "the download gave a page, not the file: use its raw or direct link",
}


def model_format(path: Path) -> Format:
    """Which format a model file has, by its content.

    Raises:
        UsageError: no file, an empty file, something else than a model, or a model of the other
            format than the name says.
    """
    assert_regular(path)
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    if not head:
        raise UsageError(f"{path} is empty")
    said = {".onnx": "onnx", ".tflite": "tflite"}.get(path.suffix.lower())
    found = _format_of(head)
    if found is None or (said == "tflite" and found != "tflite" and not _is_onnx(path)):
        what = looks_like(head)
        expected = {"onnx": "an ONNX model", "tflite": "a TFLite model"}.get(str(said), "a model")
        raise UsageError(f"{path} is not {expected}: it looks like {what}", hint=_HINTS.get(what))
    if said is not None and said != found:
        names = {"onnx": "an ONNX", "tflite": "a TFLite"}
        raise UsageError(
            f"{path} holds {names[found]} model, but is named .{said}",
            hint=f"rename it to .{found}",
        )
    return found


def assert_regular(path: Path) -> int:
    """The size in bytes of a regular file: others (a FIFO, a device) may never end.

    Raises:
        UsageError: it is missing, or a folder, or no regular file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{str(path)!r} is no path: {error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(
            f"{path} is a folder, not a model file", hint="give a .onnx or .tflite file"
        )
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(
            f"{path} is no regular file", hint="save the model in a file and give that"
        )
    return status.st_size


def looks_like(head: bytes) -> str:
    """Words for the kind of file that begins with these bytes."""
    for magic, words in _MAGIC:
        if head.startswith(magic):
            return words
    if head[4:8] == b"ORTM":
        return "a model in ONNX Runtime's own format (.ort)"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "a safetensors file"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML)"
    if text.startswith(b"{"):
        return "a JSON file"
    if not head.strip(b"\0"):
        return "nothing but zeros"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "a text file"
    return "binary data of an unknown kind"


def _format_of(head: bytes) -> Format | None:
    if head[4:8] == b"TFL3":
        return "tflite"
    if any(head.startswith(magic) for magic, _ in _MAGIC) or head[4:8] == b"ORTM":
        return None
    return "onnx" if head[0] in _ONNX_TAGS else None


def _is_onnx(path: Path) -> bool:
    """Whether a file that could be ONNX by its first byte parses as such."""
    from .onnx_file import parse_onnx

    return parse_onnx(path) is not None
