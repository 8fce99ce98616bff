"""One recipe applied to one model, into one file."""

from __future__ import annotations

from pathlib import Path

import pytest
from models import FASHION, FASHION_SCALE, conv_net, fashion_part, matmul_net, sha256

from edgewright.errors import UsageError
from edgewright.exporters.candidate import Export
from edgewright.exporters.quantize.recipes import find_recipe
from edgewright.exporters.quantize.statistics_file import load
from edgewright.exporters.request import DataOptions, ExportRequest
from edgewright.exporters.single import apply_recipe
from edgewright.exporters.source import parse_source


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataOptions:
    folder = tmp_path_factory.mktemp("data")
    fashion_part(folder, "calibration", 12)
    fashion_part(folder, "evaluation", 60)
    return DataOptions(base=folder, calibration="calibration-12.npz", scale=FASHION_SCALE)


def apply(name: str, output: Path, data: DataOptions, source: Path | None = None) -> Export:
    told: list[str] = []
    made = apply_recipe(
        ExportRequest(
            parse_source(str(source or FASHION / "model.onnx")), (), output, formats=("onnx",),
            recipes=(find_recipe(name),), data=data,
        ),
        output,
        lambda what, done, total: told.append(what),
    )  # fmt: skip
    assert ("onnx: calibrating" in told) == (
        data.calibration is not None and find_recipe(name).needs_calibration
    )
    return made


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_into_a_file(tmp_path: Path, data: DataOptions) -> None:
    made = apply("int8-u8s8", tmp_path / "a" / "small.onnx", data)
    assert files(tmp_path) == ["a", "a/small.onnx", "a/small.statistics.npz"]
    (candidate,) = made.candidates
    assert candidate.artifact.path == tmp_path / "a" / "small.onnx"
    assert candidate.artifact.sha256 == sha256(candidate.artifact.path)
    assert candidate.status == "unproven" and made.chosen == candidate
    assert made.statistics == (tmp_path / "a" / "small.statistics.npz",)
    kept = load(made.statistics[0])
    assert kept.samples == 12 and kept.complete
    assert kept.origin.model_sha256 == candidate.artifact.made_from


def test_into_a_directory(tmp_path: Path, data: DataOptions) -> None:
    made = apply("int8-dynamic", tmp_path / "out", data)
    assert files(tmp_path / "out") == ["model.int8-dynamic.onnx"]
    assert made.statistics == ()


def test_statistics_give_the_same_file_without_the_data(tmp_path: Path, data: DataOptions) -> None:
    first = apply("int8-u8s8", tmp_path / "first.onnx", data)
    again = apply(
        "int8-u8s8", tmp_path / "again.onnx", DataOptions(statistics=str(first.statistics[0]))
    )
    assert sha256(tmp_path / "again.onnx") == sha256(tmp_path / "first.onnx")
    assert again.statistics == ()  # none were made
    # Other ranges and another signedness from the same file.
    other = apply(
        "int8-s8s8", tmp_path / "other.onnx", DataOptions(statistics=str(first.statistics[0]))
    )
    assert other.candidates[0].artifact.precision == "int8"


def test_a_candidate_that_drops_too_much_is_written_and_told(
    tmp_path: Path, data: DataOptions
) -> None:
    strict = DataOptions(
        base=data.base, calibration=data.calibration, evaluation="evaluation-60.npz",
        scale=FASHION_SCALE, metric="sqnr", max_drop=1e-9,
    )  # fmt: skip
    made = apply("int8-u8s8", tmp_path / "x.onnx", strict)
    assert [c.status for c in made.candidates] == ["rolled back"] and made.chosen is None
    assert (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [("x.tflite", "is not a name for onnx"), ("model.onnx", "is the source itself")],
)
def test_names_that_are_refused(
    output: str, message: str, tmp_path: Path, data: DataOptions
) -> None:
    source = conv_net(tmp_path / "model.onnx")
    before = sha256(source)
    with pytest.raises(UsageError, match=message) as caught:
        apply("int8-dynamic", tmp_path / output, DataOptions(), source)
    assert caught.value.hint and sha256(source) == before
    assert files(tmp_path) == ["model.onnx"]


def test_the_source_by_another_name(tmp_path: Path) -> None:
    source = conv_net(tmp_path / "model.onnx")
    (tmp_path / "link.onnx").symlink_to(source)
    with pytest.raises(UsageError, match="is the source itself"):
        apply("int8-dynamic", tmp_path / "link.onnx", DataOptions(), source)


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    source = matmul_net(tmp_path / "model.onnx")
    for output in (tmp_path / "new", tmp_path / "new" / "x.onnx"):
        with pytest.raises(UsageError, match="needs calibration data"):
            apply("int8-u8s8", output, DataOptions(), source)
        assert files(tmp_path) == ["model.onnx"]


def test_what_was_there_stays_when_it_fails(tmp_path: Path) -> None:
    source = matmul_net(tmp_path / "model.onnx")
    (tmp_path / "x.onnx").write_text("earlier")
    with pytest.raises(UsageError, match="needs calibration data"):
        apply("int8-u8s8", tmp_path / "x.onnx", DataOptions(), source)
    assert (tmp_path / "x.onnx").read_text() == "earlier"
