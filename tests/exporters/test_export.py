"""The first half of the way, on a real model and real pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import (
    FASHION,
    FASHION_SCALE,
    TINY_TFLITE,
    elementwise_net,
    fashion_part,
    matmul_net,
    normal,
    profile,
    sha256,
)

from edgewright.errors import UsageError
from edgewright.exporters.candidate import Candidate, Export
from edgewright.exporters.export import export, plan_export
from edgewright.exporters.request import DataOptions, ExportRequest
from edgewright.exporters.source import Source, parse_source
from edgewright.project import read_project
from edgewright.targets.check_options import CheckOptions
from edgewright.targets.load import load_target

PI4, PI5 = load_target("raspberry-pi-4"), load_target("raspberry-pi-5")
SOURCE = parse_source(str(FASHION / "model.onnx"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    fashion_part(folder, "calibration", 20)
    fashion_part(folder, "evaluation", 200)
    return folder


def options(pictures: Path, max_drop: float = 0.02, **changes: str | None) -> DataOptions:
    names = {"calibration": "calibration-20.npz", "evaluation": "evaluation-200.npz", **changes}
    return DataOptions(base=pictures, scale=FASHION_SCALE, max_drop=max_drop, **names)


def statuses(result: Export) -> dict[str, str]:
    return {candidate.name: candidate.status for candidate in result.candidates}


def named(result: Export, name: str) -> Candidate:
    return next(candidate for candidate in result.candidates if candidate.name == name)


def reasons(result: Export) -> dict[str, str]:
    return {skipped.precision: skipped.reason for skipped in result.skipped}


@pytest.fixture(scope="module")
def for_pi5(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    directory = tmp_path_factory.mktemp("pi5")
    progress: list[tuple[str, int, int]] = []
    result = export(
        ExportRequest(SOURCE, (PI5,), directory, data=options(pictures)),
        lambda *now: progress.append(now),
    )
    assert ("onnx: float32", 0, 0) in progress
    assert ("onnx: calibrating", 20, 20) in progress
    assert ("onnx: int8-s8s8", 0, 6) in progress  # ways to find ranges
    assert progress[-1] == ("onnx: evaluating", 200, 200)
    return result


def test_auto_keeps_what_is_proven_and_chooses_the_fastest(for_pi5: Export) -> None:
    assert statuses(for_pi5) == {
        "onnx/float32": "kept",
        "onnx/float16": "kept",
        "onnx/int8-s8s8": "kept",
    }
    assert for_pi5.chosen is not None and for_pi5.chosen.name == "onnx/int8-s8s8"
    assert set(reasons(for_pi5)) == {"int8-dynamic", "int4"}
    assert for_pi5.notes == ()
    assert set(for_pi5.float_artifacts) == {"onnx"}


def test_every_candidate_is_a_file_with_its_evidence(for_pi5: Export) -> None:
    float_score = named(for_pi5, "onnx/float32").evaluation
    assert float_score is not None and float_score.verdict == "reference"
    assert float_score.metric == "top1" and 0.85 < float_score.float_score <= 1
    for candidate in for_pi5.candidates:
        assert candidate.artifact.sha256 == sha256(candidate.artifact.path)
        assert set(candidate.checks) == {"raspberry-pi-5"} and candidate.compatible
        evaluation = candidate.evaluation
        assert evaluation is not None and evaluation.samples == 200
        assert evaluation.max_drop == 0.02
    int8 = named(for_pi5, "onnx/int8-s8s8")
    assert int8.artifact.path.name == "model.int8-s8s8.onnx"
    assert int8.evaluation is not None and int8.evaluation.interval is not None
    assert int8.evaluation.interval[1] <= 0.02
    assert int8.reason.startswith(f"{int8.evaluation.reason}; ranges by ")
    assert int8.artifact.size_bytes < 0.3 * named(for_pi5, "onnx/float32").artifact.size_bytes
    (difference,) = int8.artifact.differences
    assert difference.sqnr_db is not None and difference.sqnr_db > 15


def test_the_reference_samples_travel_along(for_pi5: Export, pictures: Path) -> None:
    (samples,) = for_pi5.comparison.values()
    with np.load(pictures / "calibration-20.npz") as archive:
        first = archive["image"][0]
    assert len(samples) == 4
    assert np.allclose(samples[0].inputs["image"][0], first * FASHION_SCALE)


def test_without_data_only_the_float_model_is_kept(tmp_path: Path) -> None:
    result = export(ExportRequest(SOURCE, (PI5,), tmp_path))
    assert statuses(result) == {"onnx/float32": "kept", "onnx/float16": "unproven"}
    assert reasons(result)["int8"] == "static INT8 needs calibration data"
    assert result.chosen is not None and result.chosen.name == "onnx/float32"
    assert named(result, "onnx/float16").evaluation is None
    assert "no evaluation data" in named(result, "onnx/float16").reason


def test_evaluation_data_alone_calibrate_nothing(tmp_path: Path, pictures: Path) -> None:
    data = options(pictures, calibration=None)
    result = export(ExportRequest(SOURCE, (PI4,), tmp_path, data=data))
    assert statuses(result) == {"onnx/float32": "kept"}
    assert reasons(result)["int8"] == "static INT8 needs calibration data"
    assert reasons(result)["float16"].startswith("Cortex-A72 has no FP16 arithmetic")


def test_static_int8_by_name_needs_calibration(tmp_path: Path) -> None:
    request = ExportRequest(SOURCE, (PI5,), tmp_path, precisions=("int8",))
    with pytest.raises(UsageError, match="int8-s8s8 needs calibration data") as caught:
        export(request)
    assert caught.value.hint is not None and "--calibration" in caught.value.hint


def test_a_precision_by_name_is_chosen_though_unproven(tmp_path: Path, pictures: Path) -> None:
    data = options(pictures, evaluation=None)
    result = export(ExportRequest(SOURCE, (PI5,), tmp_path, precisions=("int8",), data=data))
    assert statuses(result) == {"onnx/float32": "kept", "onnx/int8-s8s8": "unproven"}
    assert result.chosen is not None and result.chosen.name == "onnx/int8-s8s8"
    assert result.skipped == ()


def test_the_same_data_twice_are_noted(tmp_path: Path, pictures: Path) -> None:
    both = options(pictures, calibration="calibration-20.npz", evaluation="calibration-20.npz")
    result = export(ExportRequest(SOURCE, (PI4,), tmp_path, data=both))
    assert len(result.notes) == 1 and "are the same data" in result.notes[0]
    evaluation = named(result, "onnx/int8-s8s8").evaluation
    assert evaluation is not None and evaluation.metric == "cosine"  # there are no labels


@pytest.mark.parametrize(
    ("label", "message"),
    [(10, "sample 0: label 10 is outside"), (-1, "sample 0: label -1 is outside")],
)
def test_labels_are_looked_at_before_calibration(
    tmp_path: Path, pictures: Path, label: int, message: str
) -> None:
    with np.load(pictures / "evaluation-200.npz") as whole:
        arrays = {name: whole[name][:30] for name in whole.files}
    np.savez(tmp_path / "wrong.npz", **{**arrays, "labels": np.full(30, label)})
    progress: list[str] = []
    data = options(pictures, evaluation=str(tmp_path / "wrong.npz"))
    with pytest.raises(UsageError, match=message):
        export(
            ExportRequest(SOURCE, (PI4,), tmp_path / "out", data=data),
            lambda what, done, total: progress.append(what),
        )
    assert progress == ["onnx: float32"] and not (tmp_path / "out").exists()


def test_a_metric_is_tried_before_calibration(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "mine.py").write_text("def score(outputs, label):\n    raise ValueError('no')\n")
    progress: list[str] = []
    data = options(pictures, metric=f"{tmp_path / 'mine.py'}:score")
    with pytest.raises(UsageError, match=r"sample 0: the metric .*mine\.py:score.* no"):
        export(
            ExportRequest(SOURCE, (PI4,), tmp_path / "out", data=data),
            lambda what, done, total: progress.append(what),
        )
    assert progress == ["onnx: float32"]


def test_too_few_samples_prove_nothing(tmp_path: Path, pictures: Path) -> None:
    np.savez(pictures / "few.npz", **{
        name: array[:30] for name, array in np.load(pictures / "evaluation-200.npz").items()
    })  # fmt: skip
    data = options(pictures, evaluation="few.npz")
    result = export(ExportRequest(SOURCE, (PI4,), tmp_path, data=data))
    assert statuses(result)["onnx/int8-s8s8"] == "rolled back"
    assert "needs about" in named(result, "onnx/int8-s8s8").reason
    assert result.chosen is not None and result.chosen.name == "onnx/float32"


@pytest.fixture
def dense(tmp_path: Path) -> Source:
    np.savez(tmp_path / "rows.npz", x=np.stack(normal(5, 60, 64)))
    return parse_source(str(matmul_net(tmp_path / "dense.onnx")))


def test_destructive_recipes_are_rolled_back(dense: Source, tmp_path: Path) -> None:
    def run(max_drop: float) -> Export:
        data = DataOptions(
            calibration="rows.npz", evaluation="rows.npz", base=tmp_path, metric="sqnr",
            max_drop=max_drop,
        )  # fmt: skip
        precisions = ("float32", "float16", "int8-dynamic", "int4")
        return export(
            ExportRequest(dense, (PI5,), tmp_path / "out", precisions=precisions, data=data)
        )

    # Noise powers relative to the signal: INT4 about 1e-2, dynamic INT8 1e-4, FP16 1e-7.
    strict = run(1e-3)
    assert statuses(strict) == {
        "onnx/float32": "kept",
        "onnx/float16": "kept",
        "onnx/int8-dynamic": "kept",
        "onnx/int4-b32": "rolled back",
    }
    assert "is beyond 0.001" in named(strict, "onnx/int4-b32").reason
    assert strict.chosen is not None and strict.chosen.name == "onnx/int8-dynamic"
    stricter = run(1e-6)
    assert statuses(stricter)["onnx/int8-dynamic"] == "rolled back"
    assert stricter.chosen is not None and stricter.chosen.name == "onnx/float16"
    none = run(0.0)
    assert none.chosen is not None and none.chosen.name == "onnx/float32"


def test_each_target_gets_the_recipe_of_its_hardware(dense: Source, tmp_path: Path) -> None:
    data = DataOptions(calibration="rows.npz", evaluation="rows.npz", base=tmp_path, max_drop=0.01)
    targets = (profile("avx2"), PI4)
    result = export(ExportRequest(dense, targets, tmp_path / "out", data=data))
    assert set(statuses(result)) == {
        "onnx/float32",
        "onnx/int8-dynamic-7bit",
        "onnx/int8-u8s8-7bit-linear",
        "onnx/int8-dynamic",
        "onnx/int8-s8s8-linear",
    }
    for candidate in result.candidates:
        assert set(candidate.checks) == {"made-up", "raspberry-pi-4"}
    assert set(reasons(result)) == {"float16", "int4"}


def test_auto_goes_on_where_a_recipe_does_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.stack(normal(5, 30, 10)))
    source = parse_source(str(elementwise_net(tmp_path / "relu.onnx", "Relu")))
    data = DataOptions(calibration="rows.npz", base=tmp_path)
    result = export(ExportRequest(source, (PI4,), tmp_path / "out", data=data))
    assert statuses(result) == {"onnx/float32": "kept"}
    assert "quantizes nothing" in reasons(result)["int8-dynamic"]
    assert "matches no operator" in reasons(result)["int8"]
    named_int8 = ExportRequest(source, (PI4,), tmp_path / "out", precisions=("int8",), data=data)
    with pytest.raises(UsageError, match="matches no operator"):
        export(named_int8)


def test_tflite_goes_the_same_way(tmp_path: Path) -> None:
    source = parse_source(str(TINY_TFLITE))
    np.savez(tmp_path / "images.npz", keras_tensor=np.stack(normal(5, 40, 8, 8, 3)))
    data = DataOptions(
        calibration="images.npz", evaluation="images.npz", base=tmp_path, max_drop=0.01
    )
    coral = load_target("coral-dev-board")
    result = export(ExportRequest(source, (coral,), tmp_path / "out", data=data))
    assert statuses(result) == {"tflite/float32": "kept", "tflite/int8-s8s8": "kept"}
    assert result.chosen is not None and result.chosen.name == "tflite/int8-s8s8"
    int8 = named(result, "tflite/int8-s8s8").artifact
    assert int8.inputs[0].spec.dtype == "int8" and int8.path.suffix == ".tflite"


def test_a_microcontroller_takes_the_format_that_its_runtime_reads(tmp_path: Path) -> None:
    board = load_target("alif-ensemble-e7")
    source = parse_source(str(TINY_TFLITE))
    result = export(ExportRequest(source, (board,), tmp_path / "out"))
    assert statuses(result) == {"tflite/float32": "kept"}
    assert not named(result, "tflite/float32").compatible
    with pytest.raises(UsageError, match=r"runs tflite_micro, but .* can only become onnx"):
        export(ExportRequest(SOURCE, (board,), tmp_path))


def test_a_target_without_a_runtime_for_any_possible_format(tmp_path: Path) -> None:
    coral = load_target("coral-dev-board")
    with pytest.raises(UsageError, match=r"runs tflite_runtime, but .* can only become onnx"):
        export(ExportRequest(SOURCE, (coral,), tmp_path))


def test_an_output_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="can't write"):
        export(ExportRequest(SOURCE, (PI5,), tmp_path / "out"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "topp1"}, "no metric 'topp1'"),
        ({"calibration": "gone.npz"}, r"gone\.npz: no such file"),
        ({"evaluation": "gone.npz"}, r"gone\.npz: no such file"),
        ({"evaluation": "other.npz"}, "has no array for the model's input image"),
        (
            {"evaluation": "calibration-20.npz", "metric": "top1"},
            "metric top1 needs labels",
        ),
    ],
)
def test_data_that_do_not_fit(
    tmp_path: Path, pictures: Path, changes: dict[str, str], message: str
) -> None:
    np.savez(pictures / "other.npz", picture=np.zeros((3, 1, 28, 28), np.float32))
    with pytest.raises(UsageError, match=message):
        export(ExportRequest(SOURCE, (PI4,), tmp_path, data=options(pictures, **changes)))


def test_a_project_says_what_of_the_target_counts(tmp_path: Path) -> None:
    """Coral promises its Edge TPU, which takes integers; a project may choose the CPU."""
    (tmp_path / "edgewright.toml").write_text(
        'schema_version = 1\nsource = "m.tflite"\n[check]\naccelerator = "none"\n'
        "allow_fallback = 0.5\n"
    )
    cpu = read_project(tmp_path / "edgewright.toml").check_options
    assert cpu == CheckOptions(accelerator="none", allow_fallback=0.5)
    data = DataOptions(calibration="images.npz", base=tmp_path)
    request = ExportRequest(
        parse_source(str(TINY_TFLITE)), (load_target("coral-dev-board"),), tmp_path, data=data
    )

    def reasons(request: ExportRequest) -> set[str]:
        return {p.step.reason for p in plan_export(request) if p.step.precision == "float16"}

    assert reasons(request) == {"the Google Edge TPU (4 TOPS) computes in integers only"}
    (why,) = reasons(replace(request, checks=cpu))
    assert "no FP16 arithmetic" in why
    unknown = replace(request, checks=CheckOptions(accelerator="npu"))
    with pytest.raises(UsageError, match="coral-dev-board has no accelerator 'npu'"):
        plan_export(unknown)


NET = """
import torch


def make():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.GELU(), torch.nn.Flatten(), torch.nn.Linear(288, 4)
    return torch.nn.Sequential(*layers).eval(), (torch.randn(1, 3, 8, 8),)
"""


@pytest.mark.torch
@pytest.mark.parametrize(
    ("target", "checks", "opset"),
    [("imx-8m-plus", CheckOptions(), 20), ("rock-5b", CheckOptions(accelerator="npu"), 19)],
)
def test_what_comes_from_pytorch_fits_the_device_it_is_made_for(
    tmp_path: Path, target: str, checks: CheckOptions, opset: int
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "net.py").write_text(NET)
    np.savez(tmp_path / "inputs.npz", input=np.stack(normal(1, 3, 3, 8, 8)))
    request = ExportRequest(
        parse_source("net.py:make", tmp_path),
        (load_target(target),),
        tmp_path / "out",
        formats=("onnx",),
        precisions=("float32", "int8"),
        data=DataOptions(base=tmp_path, calibration="inputs.npz"),
        checks=checks,
    )
    result = export(request)
    for candidate in result.candidates:
        written = onnx.load(candidate.artifact.path)
        assert (written.opset_import[0].version, written.ir_version) == (opset, 9)
        codes = {f.code for check in candidate.checks.values() for f in check.findings}
        assert not {c for c in codes if "opset" in c or "ir-version" in c}
    assert [c.name for c in result.candidates if c.compatible][:1] == ["onnx/float32"]
