"""From a source to a float artifact that gives the source's answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import DENSE_TFLITE, GOLDEN, TINY_TFLITE, matmul_net, normal, sha256

from edgewright.errors import ConversionError, UsageError
from edgewright.exporters.data import open_dataset
from edgewright.exporters.export import export
from edgewright.exporters.float_model import describe_file, make_float_artifact
from edgewright.exporters.quantize import onnx as quantize_onnx
from edgewright.exporters.quantize import tflite as quantize_tflite
from edgewright.exporters.quantize.recipe import Recipe, Rule, Scheme
from edgewright.exporters.request import ExportRequest
from edgewright.exporters.runtime import LoadedArtifact
from edgewright.exporters.source import parse_source
from edgewright.targets.load import load_target
from edgewright.targets.profile import Format


def recipe(model_format: Format, scheme: Scheme) -> Recipe:
    return Recipe(name="r", format=model_format, rules=(Rule(scheme=scheme),))


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_a_file_of_the_format_is_copied_byte_by_byte(tmp_path: Path, model_format: Format) -> None:
    source = matmul_net(tmp_path / "net.onnx") if model_format == "onnx" else TINY_TFLITE
    out = tmp_path / "out"
    made, (samples, words) = make_float_artifact(parse_source(str(source)), model_format, out)
    assert made.path == out / f"{source.stem}.float32.{model_format}"
    assert made.path.read_bytes() == source.read_bytes()
    assert made.sha256 == sha256(source) and made.size_bytes == source.stat().st_size
    assert (made.precision, made.recipe, made.differences) == ("float32", None, ())
    assert made.made_from == str(source) and made.name == f"{model_format}/float32"
    assert words == "seeded inputs" and len(samples) == 4
    assert LoadedArtifact(made).run(samples[0].inputs)[0].shape[0] == 1
    assert [path.name for path in out.iterdir()] == [made.path.name]


def test_real_data_are_preferred_to_seeded(tmp_path: Path) -> None:
    source = matmul_net(tmp_path / "net.onnx")
    rows = np.stack(normal(3, 6, 64))
    np.savez(tmp_path / "rows.npz", x=rows)
    _, (samples, words) = make_float_artifact(
        parse_source(str(source)),
        "onnx",
        tmp_path / "out",
        open_data=lambda ports: open_dataset("rows.npz", ports, base=tmp_path),
    )
    assert words == "rows.npz" and len(samples) == 4
    assert np.array_equal(samples[3].inputs["x"], rows[3][None])


def test_weights_beside_the_model_are_taken_into_it(tmp_path: Path) -> None:
    plain = matmul_net(tmp_path / "plain.onnx")
    onnx.save(
        onnx.load(str(plain)),
        str(tmp_path / "split.onnx"),
        save_as_external_data=True,
        location="split.bin",
        size_threshold=0,
    )
    made, (samples, _) = make_float_artifact(
        parse_source(str(tmp_path / "split.onnx")), "onnx", tmp_path / "out"
    )
    (tmp_path / "split.bin").unlink()
    expected = LoadedArtifact(describe_file(plain)).run(samples[0].inputs)
    assert np.array_equal(LoadedArtifact(made).run(samples[0].inputs), expected)


def quantized_sources(directory: Path) -> list[Path]:
    dynamic = Scheme(weights="int8", activations="dynamic")
    made = [GOLDEN / "tiny_int8.tflite", directory / "d.onnx", directory / "w.tflite"]
    quantize_onnx.apply(matmul_net(directory / "net.onnx"), recipe("onnx", dynamic), None, made[1])
    only_weights = recipe("tflite", Scheme(weights="int8"))
    quantize_tflite.apply(DENSE_TFLITE, only_weights, None, made[2])
    return made


def test_quantized_sources_are_refused(tmp_path: Path) -> None:
    for source in quantized_sources(tmp_path):
        model_format: Format = "onnx" if source.suffix == ".onnx" else "tflite"
        with pytest.raises(UsageError, match="is quantized already") as caught:
            make_float_artifact(parse_source(str(source)), model_format, tmp_path / "out")
        assert caught.value.hint is not None and "edgewright profile" in caught.value.hint
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_the_source_is_never_written_over(tmp_path: Path) -> None:
    source = matmul_net(tmp_path / "net.onnx")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "net.float32.onnx").symlink_to(source)
    before = sha256(source)
    request = ExportRequest(
        parse_source(str(source)), (load_target("raspberry-pi-4"),), tmp_path / "out"
    )
    progress: list[str] = []
    with pytest.raises(UsageError, match="is the source itself") as caught:
        export(request, lambda what, done, total: progress.append(what))
    assert progress == []  # before any work
    assert caught.value.hint == "choose another -o DIR"
    assert sha256(source) == before
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["net.float32.onnx"]


def test_the_sources_own_directory_will_do(tmp_path: Path) -> None:
    source = matmul_net(tmp_path / "net.onnx")
    made, _ = make_float_artifact(parse_source(str(source)), "onnx", tmp_path)
    assert made.path == tmp_path / "net.float32.onnx" and source.is_file()


def test_a_layout_can_not_be_put_on_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is tflite already; its layout can't be changed"):
        make_float_artifact(
            parse_source(str(TINY_TFLITE)), "tflite", tmp_path / "out", layout="nhwc"
        )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.onnx", b"this is no model"),
        ("empty.onnx", b""),
        ("text.tflite", b"this is no model"),
        ("empty.tflite", b""),
    ],
)
def test_what_is_no_model_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    model_format: Format = "onnx" if name.endswith("onnx") else "tflite"
    for refuse in (
        lambda: make_float_artifact(
            parse_source(str(tmp_path / name)), model_format, tmp_path / "out"
        ),
        lambda: describe_file(tmp_path / name),
    ):
        with pytest.raises(UsageError, match=name):
            refuse()
    assert not list((tmp_path / "out").glob("*"))


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    whole = matmul_net(tmp_path / "net.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"half\.onnx"):
        make_float_artifact(parse_source(str(tmp_path / "half.onnx")), "onnx", tmp_path / "out")


def test_there_is_no_way_from_onnx_to_tflite(tmp_path: Path) -> None:
    source = parse_source(str(matmul_net(tmp_path / "net.onnx")))
    with pytest.raises(UsageError, match="ONNX -> TFLite is not possible yet"):
        make_float_artifact(source, "tflite", tmp_path / "out")


def test_describing_a_file_copies_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    shutil.copy(TINY_TFLITE, path)
    made = describe_file(path)
    assert made.path == path and made.sha256 == sha256(path) and made.format == "tflite"
    assert list(tmp_path.iterdir()) == [path]


FACTORY = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = torch.nn.Linear(4, 3)

    def forward(self, x):
        steady = self.dense(x)
        return steady, {second}

def make():
    torch.manual_seed(0)
    return Net().eval(), (torch.ones(1, 4),)
"""


@pytest.mark.torch
def test_an_output_that_changes_in_conversion_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "shifty.py").write_text(
        FACTORY.format(second="steady + (1 if torch.compiler.is_exporting() else 0)")
    )
    source = parse_source("shifty.py:make", tmp_path)
    with pytest.raises(
        ConversionError, match="output output_1 changed in conversion: max"
    ) as caught:
        make_float_artifact(source, "onnx", tmp_path / "out")
    assert "dB expected" in caught.value.message
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.torch
def test_a_torch_module_becomes_an_artifact_that_was_compared(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "steady.py").write_text(FACTORY.format(second="steady * 2"))
    source = parse_source("steady.py:make", tmp_path)
    made, (samples, words) = make_float_artifact(source, "onnx", tmp_path / "out")
    assert words == made.compared_on == "the source's example inputs"
    assert made.path.name == "make.float32.onnx" and made.sha256 == sha256(made.path)
    assert len(made.differences) == 2
    assert all(difference.max_abs_error < 1e-5 for difference in made.differences)
    once, twice = LoadedArtifact(made).run(samples[0].inputs)
    assert np.allclose(2 * once, twice)


def test_an_onnx_file_is_copied_byte_for_byte(tmp_path: Path) -> None:
    model = onnx.load(matmul_net(tmp_path / "net.onnx"))
    model.ir_version = 12
    onnx.save(model, tmp_path / "new.onnx")
    made, _ = make_float_artifact(
        parse_source(str(tmp_path / "new.onnx")), "onnx", tmp_path / "out"
    )
    assert made.path.read_bytes() == (tmp_path / "new.onnx").read_bytes()
