"""Any trained model a user may have, as one Source."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from .user_code import blaming_user

SourceKind = Literal["torch", "exported-program", "keras", "saved-model", "onnx", "tflite"]

_SUFFIXES: dict[str, SourceKind] = {
    ".pt2": "exported-program",
    ".keras": "keras",
    ".h5": "keras",
    ".onnx": "onnx",
    ".tflite": "tflite",
}

_EXPECTED = (
    "a source is FILE.py:FACTORY or package.module:FACTORY (PyTorch), or a .pt2, .keras, .h5, "
    ".onnx or .tflite file, or a SavedModel directory"
)


@dataclass(frozen=True)
class Source:
    """A trained model as the user named it.

    Attributes:
        spec: the user's words.
        kind: what it is.
        path: the file or directory; None for `package.module:factory`.
        module: the Python module; only for `package.module:factory`.
        factory: name of the factory function; only for kind 'torch'.
    """

    spec: str
    kind: SourceKind
    path: Path | None = None
    module: str | None = None
    factory: str | None = None

    @property
    def stem(self) -> str:
        """A short name for the files made from this source."""
        if self.factory is not None:
            return self.factory
        assert self.path is not None
        return self.path.stem or self.path.resolve().name

    @property
    def file(self) -> Path:
        """The path of a source that is a file or directory."""
        if self.path is None:
            raise UsageError(f"{self.spec} is not a file")
        return self.path


def parse_source(spec: str, base: Path | None = None) -> Source:
    """Reads the user's words for a model.

    Args:
        spec: as `_EXPECTED` says.
        base: directory that relative paths start from; the current one by default.

    Raises:
        UsageError: it is none of these, or is missing.
    """
    head, colon, tail = spec.rpartition(":")
    if colon and tail.isidentifier() and len(head) > 1:
        return _factory(spec, head, tail, base)
    path = Path(spec) if base is None else base / spec
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return Source(spec, "saved-model", path)
        raise UsageError(f"{path} is a directory without a saved_model.pb", hint=_EXPECTED)
    kind = _SUFFIXES.get(path.suffix.lower())
    if path.suffix.lower() in (".pt", ".pth", ".ckpt", ".safetensors"):
        raise UsageError(
            f"{path} holds weights (or pickled Python), not a model that can be converted",
            hint="write a FILE.py with a factory that builds the module, loads these weights and "
            "returns (module.eval(), example_inputs); pass FILE.py:FACTORY",
        )
    if path.suffix.lower() == ".py":
        raise UsageError(f"{spec} names no factory function", hint=f"write {spec}:FACTORY")
    if kind is None:
        raise UsageError(f"{spec}: don't know what kind of model this is", hint=_EXPECTED)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return Source(spec, kind, path)


def _factory(spec: str, head: str, factory: str, base: Path | None) -> Source:
    if head.endswith(".py") or "/" in head:
        path = Path(head) if base is None else base / head
        if not path.is_file():
            raise UsageError(f"{path}: no such file (in source {spec})")
        return Source(spec, "torch", path, factory=factory)
    if head.startswith("."):
        raise UsageError(f"no module named {head} (in source {spec})", hint=_EXPECTED)
    with blaming_user(f"importing {head}"):
        try:
            found = importlib.util.find_spec(head)
        except ModuleNotFoundError:
            found = None
    if found is None:
        raise UsageError(f"no module named {head} (in source {spec})", hint=_EXPECTED)
    return Source(spec, "torch", None, module=head, factory=factory)
