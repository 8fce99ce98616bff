"""Files that are no models, or broken ones: always one UsageError that says what they are."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets_models import GOLDEN, convnet, quantized

from edgewright.errors import EdgewrightError, UsageError
from edgewright.targets.inspect import inspect_model

TFLITE = GOLDEN / "targets_conv_int8.tflite"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def message(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        inspect_model(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".bin"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (LFS, "a Git LFS pointer"),
        (b"\n <!DOCTYPE html><html>404</html>", "a web page (HTML)"),
        (b"<html><head>", "a web page (HTML)"),
        (json.dumps({"error": "not found"}).encode(), "a JSON file"),
        (b"hello, I am no model\n", "a text file"),
        (b"name,value\nreads,like,text\n", "a text file"),
        (gzip.compress(b"x" * 100, mtime=0), "a gzip archive"),
        (pickle.dumps({"state": [1, 2]}), "a Python pickle"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
        (b"GGUF" + bytes(100), "a GGUF file"),
        (b"\x18\x00\x00\x00ORTM" + bytes(100), "ONNX Runtime's own format"),
        ((64).to_bytes(8, "little") + b'{"w":{}}' + bytes(100), "a safetensors file"),
        (bytes(100), "nothing but zeros"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG picture"),
    ],
)
def test_what_it_really_is(tmp_path: Path, suffix: str, content: bytes, words: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    assert words in message(path)


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_zip_archives(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "x")
    assert "a ZIP archive" in message(path)


@pytest.mark.parametrize(
    "content", [b"\x00\xff\x80\x03\x9c\x00\x7f", b"\x08\xff\xff\xff\xff", b"\x08"]
)
def test_garbage(tmp_path: Path, content: bytes) -> None:
    for suffix in (".onnx", ".tflite", ""):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(content)
        assert "damaged or truncated" in message(path) or "unknown kind" in message(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "No such file" in message(tmp_path / "none.onnx")
    assert "is a folder" in message(tmp_path)


def test_the_other_formats_name(tmp_path: Path) -> None:
    swapped = tmp_path / "really.tflite"
    convnet(tmp_path / "m.onnx").rename(swapped)
    assert "holds an ONNX model, but is named .tflite" in message(swapped)
    swapped = tmp_path / "really.onnx"
    swapped.write_bytes(TFLITE.read_bytes())
    assert "holds a TFLite model, but is named .onnx" in message(swapped)


def test_without_a_name_the_content_decides(tmp_path: Path) -> None:
    plain = tmp_path / "model"
    plain.write_bytes(TFLITE.read_bytes())
    assert inspect_model(plain).format == "tflite"
    convnet(tmp_path / "m.onnx").rename(plain)
    assert inspect_model(str(plain)).format == "onnx"


def test_an_onnx_model_without_its_end(tmp_path: Path) -> None:
    """Cut between two fields it still parses: what is left is seen to be too little."""
    path = convnet(tmp_path / "m.onnx")
    model = onnx.load(path)
    del model.graph.node[-1]
    onnx.save(model, path)
    assert "nothing computes the output 'scores'" in message(path)
    model.ClearField("graph")
    path.write_bytes(model.SerializeToString())
    assert "damaged or truncated ONNX model" in message(path)


def test_a_constant_without_its_values(tmp_path: Path) -> None:
    path = convnet(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    onnx.save(model, path)
    assert "the constant 'w1' has 860 of its 864 bytes" in message(path)
    model.graph.initializer[0].dims[0] = -8
    onnx.save(model, path)
    assert "negative size" in message(path)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("originals")
    return {
        "float.onnx": convnet(folder / "m.onnx").read_bytes(),
        "int8.onnx": quantized(folder).read_bytes(),
        "int8.tflite": TFLITE.read_bytes(),
        "branch.tflite": (GOLDEN / "targets_branch.tflite").read_bytes(),
        "batch.tflite": (GOLDEN / "targets_conv_batch.tflite").read_bytes(),
    }


edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(
        ["float.onnx", "int8.onnx", "int8.tflite", "branch.tflite", "batch.tflite"]
    ),
    changes=edits,
    length=st.floats(0.02, 3),
)
def test_damage_never_gets_past_us(
    originals: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    changes: list[tuple[float, int]],
    length: float,
) -> None:
    data = bytearray(originals[name])
    for place, byte in changes:
        data[int(place * len(data))] = byte
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data[: max(1, int(length * len(data)))])
    try:
        facts = inspect_model(path)
    except EdgewrightError as error:
        assert str(path) in error.message or path.name in error.message
    else:
        assert facts.macs is None or facts.macs >= 0
        assert facts.weight_bytes >= 0


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Found by tests/targets/test_fuzz.py: protobuf gives such names as bytes."""
    path = convnet(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(b"scores", b"sc\xffres"))
    assert "a name in it is no Unicode text" in message(path)


@pytest.mark.parametrize("digits", ["9" * 5000, "²", "-1", "1e3"])
def test_places_of_weights_that_are_no_numbers(tmp_path: Path, digits: str) -> None:
    path = convnet(tmp_path / "m.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "offset":
            entry.value = digits
    onnx.save(model, path)
    assert "'w1' has a range of bytes that is no number" in message(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are any bytes on Linux")
def test_paths_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"m\xff.tflite")
    path.write_bytes(TFLITE.read_bytes())
    assert inspect_model(path).path == path
