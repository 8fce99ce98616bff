"""PyTorch modules and exported programs, converted for real and compared with the source."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from converting import convert, need_extra, operators

from edgewright.errors import ConversionError, UsageError
from edgewright.exporters.convert import torch_to_onnx
from edgewright.exporters.convert.torch_source import load_torch
from edgewright.exporters.source import parse_source
from edgewright.targets.profile import Format

pytestmark = pytest.mark.torch

GOOD = '''
import torch
from torch import nn


class Segmenter(nn.Module):
    """Two inputs; a dict of a feature map, a nested tuple, nothing, and an input as it came."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.Sequential(nn.AvgPool2d((8, 6)), nn.Flatten())
        self.to_gain = nn.Linear(5, 1)

    def forward(self, image, condition, scale=None):
        features = self.layers(image)
        return {
            "mask": features,
            "pooled": (self.pool(features), self.to_gain(condition)),
            "absent": None,
            "condition": condition,
        }


def segmenter():
    print("a word from the factory")
    torch.manual_seed(0)
    inputs = {"condition": torch.randn(1, 5), "image": torch.randn(1, 3, 8, 6)}
    return Segmenter().eval(), inputs


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, input_ids, attention_mask):
        hidden = self.layer(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)
        return hidden, hidden[:, 0].argmax(-1)


def encoder():
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0]])
    return Encoder().eval(), (torch.randint(0, 50, (1, 6)), mask)


class Clashing(nn.Module):
    """Inputs, outputs and weights of the same names and shapes, and an input without effect."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.full((3,), 0.5))
        self.weight = nn.Parameter(torch.full((3,), 2.0))

    def forward(self, weight, add, unused):
        return {"logits": weight * self.weight - add + self.logits, "add": add, "linear": add + 1}


def clashing():
    return Clashing().eval(), [torch.full((3,), 3.0), torch.ones(3), torch.zeros(3)]


class Many(nn.Module):
    def forward(self, *xs):
        return tuple(x * index for index, x in enumerate(xs, start=1))


def many():
    return Many().eval(), tuple(torch.ones(2) for _ in range(12))
'''

BAD = """
import torch
from torch import nn


class Module(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def _of(function, example=torch.ones(4)):
    return Module(function).eval(), example


def raising():
    raise OSError("no weights here")

def alone(): return nn.ReLU().eval()
def pair_of_tensors(): return torch.ones(1), torch.ones(1)
def training(): return nn.Sequential(nn.Dropout()), torch.ones(1)
def partly_training():
    module = nn.Sequential(nn.ReLU(), nn.Dropout()).eval()
    module[1].train()
    return module, torch.ones(1)
def no_inputs(): return nn.ReLU().eval(), ()
def number_as_input(): return nn.ReLU().eval(), (torch.ones(1), 3)
def unfitting(): return nn.ReLU().eval(), {"y": torch.ones(1)}
def bfloat16(): return nn.ReLU().eval(), torch.ones(1, dtype=torch.bfloat16)
def bfloat16_out(): return _of(lambda x: x.bfloat16())
def elsewhere(): return nn.Linear(4, 4, device="meta").eval(), torch.ones(4)
def forward_raises(): return nn.Linear(3, 3).eval(), torch.ones(4)
def chance(): return _of(lambda x: x + torch.rand(4))
def number_out(): return _of(lambda x: (x, 3))
def nothing_out(): return _of(lambda x: None)

def branching():
    def function(x):
        if x.sum() > 0:
            return x * 2
        return x
    return _of(function)

def unsupported(): return _of(lambda x: torch.special.bessel_j0(x))
def unsupported_variant(): return _of(lambda x: x.amax())
def boolean_index(): return _of(lambda x: x[x > 0])
def complex_numbers(): return _of(lambda x: torch.fft.fft(x).real)
"""


def _line(text: str) -> int:
    """The line of the bad models' file that holds `text`."""
    return next(n for n, line in enumerate(BAD.splitlines(), start=1) if text in line)


@pytest.fixture(autouse=True, scope="module")
def extra() -> None:
    need_extra("torch", ("torch", "onnxscript", "litert_torch"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    (directory / "good.py").write_text(GOOD)
    (directory / "bad.py").write_text(BAD)
    return directory


def test_onnx_is_named_as_the_source_and_agrees(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = convert(f"{home}/good.py:segmenter", "onnx", tmp_path)
    result.assert_agrees()
    assert result.converted.input_names == ("image", "condition")
    assert result.converted.output_names == ("mask", "pooled_0", "pooled_1", "condition_output")
    assert result.converted.input_permutations == (None, None)
    graph = onnx.load(result.path).graph
    assert tuple(value.name for value in graph.input) == result.converted.input_names
    assert tuple(value.name for value in graph.output) == result.converted.output_names
    assert str(home).encode() not in result.path.read_bytes()
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == "a word from the factory\n"


def test_tflite_channels_last(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = convert(f"{home}/good.py:segmenter", "tflite", tmp_path, layout="nhwc")
    result.assert_agrees()
    converted = result.converted
    permutations = dict(zip(converted.input_names, converted.input_permutations, strict=True))
    assert permutations == {"image": (0, 2, 3, 1), "condition": None}
    permutations = dict(zip(converted.output_names, converted.output_permutations, strict=True))
    assert permutations["mask"] == (0, 2, 3, 1)
    assert permutations["pooled_0"] is None
    assert result.outputs["mask"].shape == (1, 8, 6, 8)
    assert converted.run_source(converted.example_inputs)[0].shape == (1, 8, 8, 6)
    assert "TRANSPOSE" not in operators(result.path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_a_transformer_with_integer_inputs(
    home: Path, tmp_path: Path, model_format: Format
) -> None:
    result = convert(f"{home}/good.py:encoder", model_format, tmp_path)
    result.assert_agrees()
    assert result.converted.input_names == ("input_ids", "attention_mask")
    assert result.converted.output_names == ("output_0", "output_1")
    assert [array.dtype for array in result.converted.example_inputs] == [np.int64, np.int64]
    narrow = [array.astype(np.int32) for array in result.converted.example_inputs]
    from_narrow = result.converted.run_source(narrow)
    wanted: Any = result.converted.run_source(result.converted.example_inputs)
    np.testing.assert_array_equal(from_narrow[0], wanted[0])


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_names_that_clash(home: Path, tmp_path: Path, model_format: Format) -> None:
    result = convert(f"{home}/good.py:clashing", model_format, tmp_path)
    result.assert_agrees()
    assert result.converted.input_names == ("weight", "add", "unused")
    assert set(result.outputs) == {"logits", "add_output", "linear"}
    assert result.outputs["logits"].tolist() == [5.5, 5.5, 5.5]


def test_tflite_outputs_past_nine_keep_their_order(home: Path, tmp_path: Path) -> None:
    result = convert(f"{home}/good.py:many", "tflite", tmp_path)
    result.assert_agrees()
    assert result.converted.input_names == tuple(f"xs_{index}" for index in range(12))
    for index in range(12):
        assert result.outputs[f"output_{index}"].tolist() == [index + 1, index + 1]


@pytest.mark.parametrize(
    ("most", "opset", "ir_version"), [(None, 20, 9), (28, 20, 9), (19, 19, 9), (18, 18, 8)]
)
def test_the_opset_is_one_that_the_device_takes(
    home: Path, tmp_path: Path, most: int | None, opset: int, ir_version: int
) -> None:
    result = convert(f"{home}/good.py:segmenter", "onnx", tmp_path, max_opset=most)
    result.assert_agrees()
    written = onnx.load(result.path)
    assert [(entry.domain, entry.version) for entry in written.opset_import] == [("", opset)]
    assert written.ir_version == ir_version


def test_what_the_exporter_can_not_express_in_an_old_opset_stays_as_it_is(
    home: Path, tmp_path: Path
) -> None:
    result = convert(f"{home}/good.py:segmenter", "onnx", tmp_path, max_opset=7)
    result.assert_agrees()
    assert onnx.load(result.path).opset_import[0].version == 18


def test_onnx_over_two_gigabytes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_to_onnx, "_LARGEST_BYTES", 10)
    with pytest.raises(ConversionError, match="at most 2 GB"):
        convert(f"{home}/good.py:clashing", "onnx", tmp_path)


def test_a_factory_in_an_importable_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models_of_mine.py").write_text(GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = load_torch(parse_source("models_of_mine:clashing"))
    assert loaded.input_names == ("weight", "add", "unused")
    assert loaded.output_names == ("logits", "add_output", "linear")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported program with an open batch, a nested input and a constant argument."""
    import torch

    class Nested(torch.nn.Module):  # type: ignore[misc]
        def forward(self, parts: Any, *, shift: Any, double: bool) -> Any:
            first, (second,) = parts["a"], parts["b"]
            return (first - second) * (2 if double else 1), {"shifted": first - shift}

    batch = torch.export.Dim("batch")
    exported = torch.export.export(
        Nested().eval(),
        ({"a": torch.full((2, 3), 5.0), "b": [torch.ones(2, 3)]},),
        {"shift": torch.full((3,), 2.0), "double": True},
        dynamic_shapes={
            "parts": {"a": {0: batch}, "b": [{0: batch}]},
            "shift": None,
            "double": None,
        },
    )
    path = tmp_path_factory.mktemp("program") / "nested.pt2"
    torch.export.save(exported, path)
    exported._example_inputs = None
    torch.export.save(exported, path.with_name("no_examples.pt2"))
    return path


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_an_exported_program(program: Path, tmp_path: Path, model_format: Format) -> None:
    result = convert(str(program), model_format, tmp_path)
    result.assert_agrees()
    assert result.converted.input_names == ("parts_a", "parts_b_0", "shift")
    assert result.converted.output_names == ("output_0", "output_1_shifted")
    assert result.outputs["output_0"].tolist() == [[8.0] * 3] * 2
    assert result.outputs["output_1_shifted"].tolist() == [[3.0] * 3] * 2
    if model_format == "onnx":
        sizes = onnx.load(result.path).graph.input[0].type.tensor_type.shape.dim
        assert [size.dim_value for size in sizes] == [2, 3]


def test_a_program_exported_in_training_mode(tmp_path: Path) -> None:
    import torch

    module = torch.nn.BatchNorm1d(3).train()
    exported = torch.export.export(module, (torch.ones(2, 3),))
    torch.export.save(exported, tmp_path / "training.pt2")
    with pytest.raises(UsageError, match="exported in training mode"):
        convert(f"{tmp_path}/training.pt2", "onnx", tmp_path)


def test_a_program_without_example_inputs(program: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no example inputs"):
        convert(str(program.with_name("no_examples.pt2")), "tflite", tmp_path)


def _other_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello", "there")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"garbage" * 100, id="garbage"),
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
        pytest.param(lambda content: _other_zip(), id="other zip"),
    ],
)
def test_a_broken_program(
    program: Path,
    tmp_path: Path,
    broken: Callable[[bytes], bytes],
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "broken.pt2"
    path.write_bytes(broken(program.read_bytes()))
    with pytest.raises(UsageError, match=r"broken\.pt2 can't be loaded as an exported program"):
        convert(str(path), "onnx", tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("raising", rf"OSError: no weights here \(.*bad\.py, line {_line('raise OSError')}\)"),
        ("alone", "returned a ReLU"),
        ("pair_of_tensors", r"returned a tuple of \(Tensor, Tensor\)"),
        ("training", "training mode"),
        ("partly_training", r"training mode \(its part 1\)"),
        ("no_inputs", "example inputs are a tuple of"),
        ("number_as_input", r"example inputs are a tuple of \(Tensor, int\)"),
        ("unfitting", r"do not fit forward\(input: .*missing a required argument"),
        ("bfloat16", "input input is a bfloat16 tensor"),
        ("bfloat16_out", "output is a bfloat16 tensor"),
        ("elsewhere", "not on the CPU but on meta"),
        ("forward_raises", "on its example inputs raised RuntimeError: .*shapes"),
        ("chance", "output differs between two runs"),
        ("number_out", "output_1 is a int"),
        ("nothing_out", "forward returned no tensor"),
    ],
)
def test_a_bad_factory(home: Path, tmp_path: Path, factory: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convert(f"{home}/bad.py:{factory}", "onnx", tmp_path)


def test_a_factory_that_is_not_there(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no function segmentr") as raised:
        convert(f"{home}/good.py:segmentr", "onnx", tmp_path)
    assert raised.value.hint is not None
    assert "segmenter" in raised.value.hint


def test_a_file_that_can_not_be_imported(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import torch\nimport no_such_module_anywhere\n")
    with pytest.raises(UsageError, match=r"no_such_module_anywhere.*broken\.py, line 2"):
        convert(f"{tmp_path}/broken.py:model", "onnx", tmp_path)


@pytest.mark.parametrize(
    ("factory", "model_format", "message"),
    [
        (
            "branching",
            "onnx",
            rf"depends on the values of its inputs \(.*, line {_line('if x.sum')}\)",
        ),
        (
            "branching",
            "tflite",
            rf"depends on the values of its inputs \(.*, line {_line('if x.sum')}\)",
        ),
        ("unsupported", "onnx", r"ONNX has no operator for prims\.bessel_j0"),
        (
            "unsupported",
            "tflite",
            r"TFLite has no operator for aten\.special_bessel_j0.*bad\.py, line",
        ),
        ("unsupported_variant", "onnx", r"fails on aten\.amax.*Required parameter 'dim'"),
        ("boolean_index", "tflite", "depends on the values of its inputs"),
        ("complex_numbers", "tflite", "no complex numbers"),
    ],
)
def test_a_model_that_can_not_be_converted(
    home: Path,
    tmp_path: Path,
    factory: str,
    model_format: Format,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConversionError, match=message) as raised:
        convert(f"{home}/bad.py:{factory}", model_format, tmp_path)
    assert "\n" not in raised.value.message
    assert raised.value.hint
    assert raised.value.__cause__ is not None
    assert not hasattr(raised.value, "__notes__")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("missing", "model_format"),
    [("torch", "onnx"), ("onnxscript", "onnx"), ("litert_torch", "tflite")],
)
def test_a_missing_library(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    model_format: Format,
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=f"needs {missing}, which is not installed") as raised:
        convert(f"{home}/good.py:many", model_format, tmp_path)
    assert raised.value.hint == "pip install 'edgewright[torch]'"
