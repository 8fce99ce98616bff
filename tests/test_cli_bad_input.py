"""What is no model, or not one for this device: `inspect` and `check` say so and exit with 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from clirunner import Cli
from onnx import TensorProto, helper, numpy_helper
from targets_models import GOLDEN, convnet, value

TFLITE = GOLDEN / "targets_conv_int8.tflite"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
LARGE = (1 << 31) + (1 << 20)
COMMANDS = (("inspect",), ("check", "--target", "raspberry-pi-5", "--no-ask"))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def refused(cli: Cli, path: Path, *lines: str) -> None:
    """That both commands say just these lines, with exit code 2."""
    for command in COMMANDS:
        done = cli(*command, path)
        said = done.err.replace(str(path.parent), "DIR").splitlines()
        assert (done.code, done.out, said) == (2, "", list(lines))


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", ["error: DIR/m.{0} is empty"]),
        (
            b"<!doctype html>\n<html>Sign in</html>",
            [
                "error: DIR/m.{0} is not {1} model: it looks like a web page (HTML)",
                "hint: the download gave a page, not the file: use its raw or direct link",
            ],
        ),
        (
            LFS,
            [
                "error: DIR/m.{0} is not {1} model: it looks like a Git LFS pointer: the model was "
                "not fetched",
                "hint: run 'git lfs pull'",
            ],
        ),
    ],
    ids=["empty", "page", "pointer"],
)
def test_no_model(cli: Cli, tmp_path: Path, suffix: str, content: bytes, lines: list[str]) -> None:
    path = tmp_path / f"m.{suffix}"
    path.write_bytes(content)
    kind = {"onnx": "an ONNX", "tflite": "a TFLite"}[suffix]
    refused(cli, path, *(line.format(suffix, kind) for line in lines))


def test_a_zip_archive(cli: Cli, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.tflite", "w") as archive:
        archive.writestr("saved_model.pb", "x")
    refused(
        cli,
        tmp_path / "m.tflite",
        "error: DIR/m.tflite is not a TFLite model: it looks like a ZIP archive (PyTorch's .pt and "
        "Keras' .keras files are such)",
    )


def test_what_is_no_file(cli: Cli, tmp_path: Path) -> None:
    refused(cli, tmp_path / "none.onnx", "error: DIR/none.onnx: No such file or directory")
    (tmp_path / "folder.onnx").mkdir()
    refused(
        cli,
        tmp_path / "folder.onnx",
        "error: DIR/folder.onnx is a folder, not a model file",
        "hint: give a .onnx or .tflite file",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")
def test_what_may_never_end(cli: Cli, tmp_path: Path) -> None:
    hint = "hint: save the model in a file and give that"
    os.mkfifo(tmp_path / "pipe.onnx")
    refused(cli, tmp_path / "pipe.onnx", "error: DIR/pipe.onnx is no regular file", hint)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.tflite"))
        refused(cli, tmp_path / "s.tflite", "error: DIR/s.tflite is no regular file", hint)
    refused(cli, Path("/dev/zero"), "error: DIR/zero is no regular file", hint)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_unreadable(cli: Cli) -> None:
    """Whoever runs the tests, root too, can't read there."""
    refused(cli, Path("/proc/self/mem"), "error: DIR/mem: Input/output error")


def test_truncated_downloads(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(TFLITE.read_bytes()[:2000])
    for command in COMMANDS:
        done = cli.refuses(*command, path, saying=f"{path} is a damaged or truncated TFLite model")
        assert "unpack" not in done.err
        assert done.err.endswith("hint: copy or download it again\n")
    whole = convnet(tmp_path / "cut.onnx")
    whole.write_bytes(whole.read_bytes()[:-700])
    refused(
        cli,
        whole,
        "error: DIR/cut.onnx is a damaged or truncated ONNX model, or none at all",
        "hint: copy or download it again",
    )


def test_more_than_protobuf_holds(cli: Cli, tmp_path: Path) -> None:
    for name in ("m.onnx", "m.tflite"):
        path = tmp_path / name
        convnet(tmp_path / "m.onnx").rename(path)
        os.truncate(path, LARGE)
        refused(
            cli,
            path,
            f"error: DIR/{name} is larger than the 2 GB that a protobuf file such as ONNX can have",
            "hint: save it with external data: onnx.save(model, path, save_as_external_data=True)",
        )


def test_large_models_are_read(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(TFLITE.read_bytes())
    os.truncate(path, LARGE)
    assert cli("inspect", path, "--no-ask", "--json").json["size_bytes"] == LARGE
    path = external(tmp_path, "weights.bin")
    os.truncate(tmp_path / "weights.bin", 3 << 30)
    assert cli("inspect", path, "--json").json["size_bytes"] > 3 << 30


def external(folder: Path, location: str) -> Path:
    """A model with its weights in weights.bin, which it says to be elsewhere."""
    path = convnet(folder / "e.onnx")
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "C:\\w.bin", ""]
)
def test_weights_outside_of_the_folder(cli: Cli, tmp_path: Path, location: str) -> None:
    refused(
        cli,
        external(tmp_path, location),
        f"error: DIR/e.onnx keeps the weights 'w1' in '{location}', outside of its folder",
        "hint: save the model again with its weights beside it or inside it",
    )


def test_weights_of_a_function_outside_of_the_folder(cli: Cli, tmp_path: Path) -> None:
    scale = numpy_helper.from_array(np.float32([0.5]), "s")
    scale.ClearField("raw_data")
    scale.data_location = TensorProto.EXTERNAL
    scale.external_data.add(key="location", value="../secret")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    nodes = [
        helper.make_node("Constant", [], ["s"], value=scale),
        helper.make_node("DequantizeLinear", ["x", "s"], ["y"]),
    ]
    function = helper.make_function("own", "F", ["x"], ["y"], nodes, opsets[:1])
    graph = helper.make_graph(
        [helper.make_node("F", ["x"], ["y"], domain="own")],
        "g",
        [value("x", [4], TensorProto.INT8)],
        [value("y", [4])],
    )
    path = tmp_path / "f.onnx"
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets), path)
    refused(
        cli,
        path,
        "error: DIR/f.onnx keeps the weights 's' in '../secret', outside of its folder",
        "hint: save the model again with its weights beside it or inside it",
    )


def test_weights_behind_links(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = external(tmp_path / "model", "weights.bin")
    weights = path.with_name("weights.bin")
    weights.rename(tmp_path / "elsewhere")
    refused(
        cli,
        path,
        "error: DIR/e.onnx keeps its weights in DIR/weights.bin, which is missing",
        "hint: put weights.bin beside the model, or save the model as one file",
    )
    weights.symlink_to(tmp_path / "elsewhere")
    refused(
        cli,
        path,
        "error: DIR/e.onnx keeps the weights 'w1' in DIR/weights.bin, a link that leads outside of "
        "its folder",
        "hint: put the file itself there instead of a link",
    )
    weights.unlink()
    (tmp_path / "elsewhere").rename(path.with_name("inside"))
    weights.symlink_to("inside")
    assert cli("inspect", path).code == 0
    weights.unlink()
    os.mkfifo(weights)
    refused(
        cli,
        path,
        "error: DIR/e.onnx keeps the weights 'w1' in DIR/weights.bin, which is no regular file",
    )


def test_weights_that_are_cut(cli: Cli, tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin")
    os.truncate(tmp_path / "weights.bin", 100)
    refused(
        cli,
        path,
        "error: DIR/weights.bin, which holds weights of e.onnx, is truncated: 'w1' ends at byte "
        "864, the file has 100",
    )


def test_a_format_that_the_device_does_not_read(cli: Cli, tmp_path: Path) -> None:
    done = cli("check", convnet(tmp_path / "m.onnx"), "--target", "coral-dev-board", "--no-ask")
    assert (done.code, done.err) == (1, "")
    assert "no runtime of Google Coral Dev Board (1 GB) reads onnx" in done.out
    assert "export with --format tflite" in done.out


def test_names_move_nothing_on_the_terminal(cli: Cli, tmp_path: Path) -> None:
    red = "\x1b[31mred\x1b]0;title\x07"
    node = helper.make_node(f"Op{red}", ["x"], ["y"], name=red)
    graph = helper.make_graph([node], "g", [value("x", [1])], [value("y", [1])])
    path = tmp_path / "m.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path.write_bytes(model.SerializeToString())
    for told in (cli("check", path, "-t", "host", "--no-ask"), cli("inspect", path)):
        assert "Op[31mred" in told.out and "\x1b" not in told.out and "\x07" not in told.out
    assert (
        cli("check", path, "-t", "host", "--no-ask", "--json").json["findings"][0]["operator"]
        == f"Op{red}"
    )
    told = cli.refuses("check", tmp_path / red, "-t", "host")
    assert "[31mred" in told.err and "\x1b" not in told.err


@pytest.mark.parametrize("form", [(), ("--json",), ("--sarif",)])
def test_output_that_finds_no_room(form: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "edgewright", "check", str(TFLITE), "-t", "coral", "--no-ask"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*command, *form], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: can't write: No space left on device\n")
    assert "Traceback" not in done.stderr and "defect" not in done.stderr


def test_options_that_contradict_each_other(cli: Cli) -> None:
    options = ("--accelerator", "none", "--allow-fallback", "0.1")
    cli.refuses("check", TFLITE, "-t", "coral", *options, saying="leaves nothing to")
