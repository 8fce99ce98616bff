"""The user's words for a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import UsageError
from edgewright.exporters.source import parse_source


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("m.onnx", "M.TFLITE", "k.keras", "k.h5", "p.pt2", "my.net.onnx", "f.py"):
        (tmp_path / name).write_bytes(b"")
    for name in ("w.pt", "w.pth", "w.ckpt", "w.safetensors", "x.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "kind", "stem"),
    [
        ("m.onnx", "onnx", "m"),
        ("M.TFLITE", "tflite", "M"),
        ("k.keras", "keras", "k"),
        ("k.h5", "keras", "k"),
        ("p.pt2", "exported-program", "p"),
        ("my.net.onnx", "onnx", "my.net"),
        ("saved", "saved-model", "saved"),
        ("saved/", "saved-model", "saved"),
        ("f.py:make", "torch", "make"),
        ("./f.py:make", "torch", "make"),
    ],
)
def test_every_kind(spec: str, kind: str, stem: str, in_a_folder: Path) -> None:
    source = parse_source(spec)
    assert (source.spec, source.kind, source.stem) == (spec, kind, stem)
    assert source.module is None
    # A base is where relative paths start, wherever the process is.
    assert parse_source(spec, in_a_folder).file == in_a_folder / source.file


def test_the_current_directory_can_be_a_saved_model(
    in_a_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(in_a_folder / "saved")
    assert parse_source(".").stem == "saved"


def test_absolute_paths_win_over_the_base(in_a_folder: Path) -> None:
    path = in_a_folder / "m.onnx"
    assert parse_source(str(path), Path("/elsewhere")).file == path


def test_a_module_and_its_factory() -> None:
    source = parse_source("json.decoder:JSONDecoder")
    assert (source.kind, source.module, source.factory) == ("torch", "json.decoder", "JSONDecoder")
    assert source.path is None and source.stem == "JSONDecoder"
    with pytest.raises(UsageError, match="is not a file"):
        _ = source.file


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("gone.onnx", r"gone\.onnx: no such file", None),
        ("empty", r"empty is a directory without a saved_model\.pb", "SavedModel"),
        ("w.pt", r"holds weights", "factory"),
        ("w.pth", r"holds weights", "factory"),
        ("w.ckpt", r"holds weights", "factory"),
        ("w.safetensors", r"holds weights", "factory"),
        ("f.py", r"f\.py names no factory function", "write f.py:FACTORY"),
        ("x.txt", r"don't know what kind of model", ".tflite"),
        ("C:model", r"don't know what kind of model", ".tflite"),
        ("nothing", r"don't know what kind of model", ".tflite"),
        ("", r"is a directory without a saved_model\.pb", "SavedModel"),
        ("gone.py:make", r"gone\.py: no such file \(in source gone\.py:make\)", None),
        ("no/such:make", r"no/such: no such file", None),
        ("no_such_module:make", r"no module named no_such_module", "FACTORY"),
        ("json.nothing:make", r"no module named json\.nothing", "FACTORY"),
        ("no_such.sub:make", r"no module named no_such\.sub", "FACTORY"),
        (".relative:make", r"no module named \.relative", "FACTORY"),
    ],
)
def test_what_is_no_source(spec: str, message: str, hint: str | None) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_source(spec)
    assert hint is None or (caught.value.hint is not None and hint in caught.value.hint)


def test_a_file_named_onnx_that_is_a_folder(in_a_folder: Path) -> None:
    (in_a_folder / "odd.onnx").mkdir()
    with pytest.raises(UsageError, match=r"odd\.onnx is a directory"):
        parse_source("odd.onnx")
