"""Reads a model file of either format and says what is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from .facts import ModelFacts
from .facts_json import facts_from_json, facts_to_json
from .file_kind import assert_regular, model_format
from .sandbox import Sandbox

#: A hang of the parser on a small file ends after this; the start of Python and of onnx is in it.
_TIMEOUT_S = 60.0
#: A slow SD card's rate, for the file is read as a whole to hash it.
_BYTES_PER_S = 10_000_000
#: What the parser may have: for itself, and for each byte of the file.
_MEMORY_BYTES = 2 << 30
_MEMORY_PER_BYTE = 4

#: One process reads all files, for it takes a good part of a second to start.
_parser = Sandbox()


def inspect_model(path: str | Path) -> ModelFacts:
    """The inputs, outputs, operators and costs of a model, read from its file; nothing is run.

    The file is read in a process of its own: one that crashes its parser, makes it hang or
    allocate without end is one error.

    Raises:
        UsageError: the file is missing, is no model (the message says what it looks like), is
            truncated or damaged, or lacks the files that hold its weights.
    """
    return inspect_in(_parser, Path(path))


def inspect_in(sandbox: Sandbox, path: Path, timeout_s: float = _TIMEOUT_S) -> ModelFacts:
    """As `inspect_model`, in a process and with a limit of one's own."""
    size = assert_regular(path)
    text = sandbox.call(
        f"{__name__}:read_facts",
        str(path),
        timeout_s=timeout_s + size / _BYTES_PER_S,
        memory_bytes=_MEMORY_BYTES + _MEMORY_PER_BYTE * size,
        what=f"reading {path}",
    )
    # The path is ours, and need not be Unicode text.
    return replace(facts_from_json(text), path=path)


def read_facts(path: str) -> str:
    """Facts as JSON, without the path: runs in the sandbox."""
    from pydantic_core import PydanticSerializationError

    facts = replace(_read(Path(path)), path=Path())
    try:
        return facts_to_json(facts)
    except PydanticSerializationError as error:
        # Protobuf hands out names that are no UTF-8 as bytes.
        raise UsageError(
            f"{path} is damaged: a name in it is no Unicode text", hint="copy or download it again"
        ) from error


def _read(path: Path) -> ModelFacts:
    if model_format(path) == "tflite":
        from .inspect_tflite import inspect_tflite

        return inspect_tflite(path)
    from .inspect_onnx import inspect_onnx

    return inspect_onnx(path)
