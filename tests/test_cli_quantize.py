"""The commands of the quantization engine, with what people get wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clirunner import Cli, Outcome
from models import FASHION, TINY_TFLITE, conv_net, matmul_net, normal, save_onnx, sha256
from onnx import helper
from small_models import SHORT

from edgewright.cli_quantize import _request
from edgewright.exporters.quantize.recipe import Recipe
from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.profiler import bench
from edgewright.profiler.job import SAMPLING

MODEL = FASHION / "model.onnx"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    monkeypatch.setenv("COLUMNS", "400")
    # Rungs are really measured, but not for long, and not again.
    monkeypatch.setitem(SAMPLING, "quick", SHORT)
    monkeypatch.setitem(bench.ATTEMPTS, "quick", 1)
    yield Cli(monkeypatch, capsys)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """calibration.npz, 12 pictures, and evaluation.npz, 250 labelled ones, as the model's input."""
    folder = tmp_path_factory.mktemp("data")
    for name, count in (("calibration", 12), ("evaluation", 250)):
        with np.load(FASHION / f"{name}.npz") as whole:
            arrays = {key: whole[key][:count] for key in whole.files}
        arrays["image"] = arrays["image"].astype(np.float32) / 255
        np.savez(folder / f"{name}.npz", **arrays)
    return folder


@pytest.fixture(scope="module")
def statistics(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a calibration of the example kept, made by the command line in a process of its own."""
    folder = tmp_path_factory.mktemp("statistics")
    done = subprocess.run(
        [
            sys.executable, "-m", "edgewright", "quantize", MODEL, "--recipe", "int8-u8s8",
            "--calibration", data / "calibration.npz", "-o", folder / "first.onnx",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "first.statistics.npz"


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def write_recipe(path: Path, *rules: dict[str, object], **more: object) -> Path:
    path.write_text(json.dumps({"schema_version": 2, "name": "mine", "rules": rules, **more}))
    return path


# One recipe


def test_one_recipe_into_a_file(cli: Cli, statistics: Path, data: Path, tmp_path: Path) -> None:
    outcome = cli(
        "quantize", MODEL, "--recipe", "int8-u8s8", "--calibration", data / "calibration.npz",
        "--evaluation", data / "evaluation.npz", "--max-drop", "0.02",
        "-o", tmp_path / "small.onnx", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    (made,) = outcome.json["artifacts"]
    assert made["path"] == str(tmp_path / "small.onnx") == outcome.json["chosen"]
    assert made["status"] == "kept" and made["evaluation"]["verdict"] == "proven"
    assert made["evaluation"]["metric"] == "top1" and made["evaluation"]["samples"] == 250
    assert made["sha256"] == sha256(tmp_path / "small.onnx")
    assert outcome.json["statistics"] == [str(tmp_path / "small.statistics.npz")]
    assert files(tmp_path) == ["small.onnx", "small.statistics.npz"]
    # Statistics in place of the data: no calibration, and the same integers.
    again = cli(
        "quantize", MODEL, "-r", "int8-u8s8", "--statistics", statistics, "-o", tmp_path / "two"
    )
    assert again.code == 0 and "calibrating" not in again.err and "calibrating" in outcome.err
    assert files(tmp_path / "two") == ["model.int8-u8s8.onnx"]
    assert sha256(tmp_path / "two" / "model.int8-u8s8.onnx") == made["sha256"]


def test_one_recipe_that_drops_too_much(
    cli: Cli, statistics: Path, data: Path, tmp_path: Path
) -> None:
    outcome = cli(
        "quantize", MODEL, "-r", "int8-u8s8", "--statistics", statistics, "--evaluation",
        data / "evaluation.npz", "--metric", "sqnr", "--max-drop", "1e-9", "-o",
        tmp_path / "x.onnx", "--json",
    )  # fmt: skip
    assert outcome.code == 1
    assert outcome.json["chosen"] is None
    assert outcome.json["artifacts"][0]["status"] == "rolled back"


def test_a_recipe_of_one_s_own(cli: Cli, statistics: Path, tmp_path: Path) -> None:
    shown = cli("recipes", "show", "int8-u8s8")
    told = shown.json | {"name": "mine"}
    told["rules"].append({"scope": "no_such_layer", "scheme": None})
    (tmp_path / "mine.json").write_text(json.dumps(told))
    outcome = cli(
        "quantize", MODEL, "-r", tmp_path / "mine.json", "--statistics", statistics, "-o",
        tmp_path / "out", "--json",
    )  # fmt: skip
    # A rule that matches nothing is a note with what is near, and no error.
    assert outcome.code == 0
    (note,) = outcome.json["notes"]
    assert note.startswith("rule 2 of recipe mine (scope 'no_such_layer'") and "node_" in note
    assert files(tmp_path / "out") == ["model.mine.onnx"]
    table = cli(
        "quantize", MODEL, "-r", tmp_path / "mine.json", "--statistics", statistics, "-o",
        tmp_path / "out",
    )  # fmt: skip
    assert "note: rule 2 of recipe mine" in table.out


def test_tflite(cli: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", keras_tensor=np.stack(normal(5, 12, 8, 8, 3)))
    outcome = cli(
        "quantize", TINY_TFLITE, "-r", "int8-s8s8", "--calibration", tmp_path / "x.npz", "-o",
        tmp_path / "out", "--json",
    )  # fmt: skip
    assert outcome.code == 0
    assert outcome.json["artifacts"][0]["format"] == "tflite"
    assert files(tmp_path / "out") == [
        "tiny_float.int8-s8s8.statistics.npz", "tiny_float.int8-s8s8.tflite",
    ]  # fmt: skip


def test_a_recipe_for_either_format_takes_the_one_that_the_source_can_become(
    tmp_path: Path,
) -> None:
    (tmp_path / "net.keras").write_bytes(b"")
    for source, wanted in ((tmp_path / "net.keras", "tflite"), (TINY_TFLITE, "tflite")):
        request = _request(
            str(source), tmp_path, "int8-dynamic", None, None, None, None, None, None, 0.01, None
        )
        assert request.formats == (wanted,)


# The ladder


def test_the_ladder_on_this_host(cli: Cli, statistics: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (
        "quantize", MODEL, "--target", "host", "--statistics", statistics, "--evaluation",
        data / "evaluation.npz", "--max-drop", "0.02", "-o", out,
    )  # fmt: skip
    outcome = cli(*arguments, "--json")
    assert outcome.code == 0, outcome
    document = outcome.json
    assert document == json.loads((out / "result.json").read_text())
    by_name = {c["name"]: c for c in document["candidates"]}
    assert document["chosen"] in by_name and document["why"]
    int8 = next(c for c in by_name.values() if c["precision"] == "int8")
    assert int8["status"] == "kept" and "the best of 6 ways" in int8["reason"]
    assert document["measured_on"] == {"device": "local", "is_target": True}
    for candidate in by_name.values():
        assert sha256(Path(candidate["path"])) == candidate["sha256"]
        (run,) = candidate["runs"]
        assert Path(run["file"]).is_file() and run["correctness"]["status"] == "passed"
    assert any(c["pareto"] for c in by_name.values())
    assert all(s["reason"] for s in document["skipped"])
    assert "calibrating" not in outcome.err and document["statistics"] == []


def test_the_ladder_for_another_device_says_so(
    cli: Cli, statistics: Path, data: Path, tmp_path: Path
) -> None:
    outcome = cli(
        "quantize", MODEL, "--target", "raspberry-pi-5", "--statistics", statistics,
        "--evaluation", data / "evaluation.npz", "--max-drop", "0.02", "-o", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome
    assert "(not the target)" in outcome.out
    assert "chosen: onnx/int8-s8s8" in outcome.out
    assert "expected to be the fastest on raspberry-pi-5" in outcome.out
    assert "onnx/float16" in outcome.out and "kept" in outcome.out


def test_too_few_samples_prove_nothing(
    cli: Cli, statistics: Path, data: Path, tmp_path: Path
) -> None:
    with np.load(data / "evaluation.npz") as whole:
        np.savez(tmp_path / "few.npz", image=whole["image"][:25], labels=whole["labels"][:25])
    outcome = cli(
        "quantize", MODEL, "-t", "raspberry-pi-4", "--statistics", statistics, "--evaluation",
        tmp_path / "few.npz", "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert outcome.json["chosen"] == "onnx/float32"
    assert any("25 samples can't prove a drop within 0.01" in n for n in outcome.json["notes"])
    assert any("no mixed precision is searched" in s["reason"] for s in outcome.json["skipped"])


@pytest.mark.parametrize("what", [("-t", "raspberry-pi-5"), ("-r", "int8-u8s8")])
def test_a_dry_run_makes_nothing(
    cli: Cli, data: Path, tmp_path: Path, what: tuple[str, str]
) -> None:
    outcome = cli(
        "quantize", MODEL, *what, "--calibration", data / "calibration.npz", "-o",
        tmp_path / "out", "--dry-run", "--json",
    )  # fmt: skip
    assert outcome.code == 0 and files(tmp_path) == [] and not (tmp_path / "out").exists()
    planned = outcome.json["planned"]
    assert all(step["reason"] for step in planned)
    if what[0] == "-t":
        assert [(p["precision"], p["step"]) for p in planned if p["recipe"]] == [
            ("float16", "apply"), ("int8", "apply"), ("int8", "correct"), ("int8", "search"),
        ]  # fmt: skip
    else:
        assert [p["recipe"]["name"] for p in planned] == ["int8-u8s8"]


# analyze, recipes


def test_analyze(cli: Cli, statistics: Path, data: Path, tmp_path: Path) -> None:
    outcome = cli(
        "analyze", MODEL, "--calibration", data / "calibration.npz", "-t", "raspberry-pi-5",
        "--worst", "1", "-o", tmp_path / "analysis.json", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    document = outcome.json
    assert document == json.loads((tmp_path / "analysis.json").read_text())
    assert document["recipe"]["name"] == "int8-s8s8" and document["model_sqnr_db"] > 20
    assert sum(layer["effect_db"] is not None for layer in document["layers"]) == 1
    Recipe.model_validate(document["suggested_recipe"])
    assert files(tmp_path) == ["analysis.json"]
    table = cli("analyze", MODEL, "--statistics", statistics, "-r", "int8-u8s8", "--worst", "0")
    assert table.code == 0 and "kurtosis" in table.out and "int8-u8s8 as a whole" in table.out


def test_recipes(cli: Cli) -> None:
    listed = cli("recipes", "list", "--json").json["recipes"]
    assert [each["name"] for each in listed] == list(RECIPES)
    table = cli("recipes", "list").out
    for name in RECIPES:
        assert name in table
        assert Recipe.model_validate(cli("recipes", "show", name).json) == RECIPES[name].recipe
    schema = cli("recipes", "schema").json
    assert {"name", "rules"} <= schema["properties"].keys()
    cli.refuses("recipes", "show", "int8-u8s9", saying="did you mean int8-u8s8")


def test_recipes_are_completed_without_anything_heavy() -> None:
    script = (
        "import sys\nfrom edgewright.cli_quantize import _complete_recipe\n"
        "assert _complete_recipe('int4-b') == [n for n in _complete_recipe('') if 'int4-b' in n]\n"
        "assert 'int4-b32' in _complete_recipe('int4-b') and not _complete_recipe('x')\n"
        "heavy = [m for m in ('numpy', 'onnx', 'onnxruntime', 'torch', 'scipy', 'tensorflow',"
        " 'ai_edge_litert', 'litert_quantizer') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_shell_completes_them() -> None:
    script = "from edgewright.cli import app; app(prog_name='edgewright')"
    told = {
        "_EDGEWRIGHT_COMPLETE": "complete_bash",
        "COMP_CWORD": "3",
        "COMP_WORDS": "edgewright recipes show int8-u",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={**os.environ, **told},
    )  # fmt: skip
    assert done.stdout.split() == [name for name in RECIPES if name.startswith("int8-u")]


# What people get wrong


def refused(
    cli: Cli, tmp_path: Path, *arguments: object, saying: str, hint: str = "", code: int = 2,
    source: Path = MODEL,
) -> Outcome:  # fmt: skip
    """A command that fails with one clear message, and leaves nothing behind."""
    out = tmp_path / "out"
    outcome = cli.refuses("quantize", source, "-o", out, *arguments, code=code, saying=saying)
    assert hint in outcome.err, outcome.err
    assert outcome.err.count("error: ") == 1 and outcome.out == ""
    assert not out.exists()
    return outcome


def test_what_to_quantize_for(cli: Cli, tmp_path: Path) -> None:
    refused(cli, tmp_path, saying="nothing says what to quantize for", hint="--recipe NAME")


def test_data_and_statistics(cli: Cli, tmp_path: Path, data: Path) -> None:
    refused(
        cli, tmp_path, "-r", "int8-u8s8", "--calibration", data / "calibration.npz",
        "--statistics", "x.npz", saying="--calibration and --statistics exclude each other",
    )  # fmt: skip


def test_recipes_that_are_none(cli: Cli, tmp_path: Path) -> None:
    refused(cli, tmp_path, "-r", "int8-u8s", saying="no recipe 'int8-u8s'", hint="int8-u8s8")
    refused(cli, tmp_path, "-r", tmp_path / "gone.json", saying="gone.json: No such file")
    (tmp_path / "text.json").write_text("rules:")
    refused(cli, tmp_path, "-r", tmp_path / "text.json", saying="text.json is not JSON")
    scheme = {"weights": "int8"}
    for wrong, words in (
        (
            {"rules": [{"scheme": scheme | {"granularty": "per-tensor"}}]},
            "rules.0.scheme.granularty",
        ),
        ({"rules": [{"scheme": {"weights": "int3"}}]}, "rules.0.scheme.weights"),
        ({"rules": [{"scope": "(", "scheme": scheme}]}, "rules.0.scope: not a regular expression"),
        ({"rules": [{"scheme": None}]}, "every rule keeps its operators float"),
        ({"rules": []}, "rules"),
        ({"schema_version": 7, "rules": [{"scheme": scheme}]}, "schema_version"),
        ({"rules": [{"scheme": scheme | {"granularity": "blockwise"}}]}, "block_size goes with"),
    ):
        path = tmp_path / "wrong.json"
        path.write_text(json.dumps({"schema_version": 2, "name": "wrong", **wrong}))
        refused(cli, tmp_path, "-r", path, saying=words, hint="recipes schema")


def test_recipes_that_do_not_fit_are_named_before_any_work(
    cli: Cli, tmp_path: Path, data: Path
) -> None:
    calibration = "--calibration", data / "calibration.npz"
    other = write_recipe(tmp_path / "o.json", {"scheme": {"weights": "int8"}}, format="tflite")
    odd = write_recipe(tmp_path / "u.json", {"scheme": {"weights": "uint8", "activations": "int8"}})
    for path, words in (
        (other, "recipe mine is for tflite, not onnx"),
        (odd, "recipe mine: ONNX Runtime multiplies int8 activations with int8 weights"),
    ):
        for more in ((), ("--dry-run",)):
            outcome = refused(cli, tmp_path, "-r", path, *calibration, *more, saying=words)
            assert "calibrating" not in outcome.err
    refused(
        cli, tmp_path, "-r", "int8-u8s8", saying="recipe int8-u8s8 is for onnx, not tflite",
        source=TINY_TFLITE,
    )  # fmt: skip
    cli.refuses("analyze", MODEL, "-r", odd, *calibration, saying="recipe mine: ONNX Runtime")


def test_statistics_that_do_not_fit(cli: Cli, tmp_path: Path, statistics: Path) -> None:
    other = conv_net(tmp_path / "other.onnx")
    refused(
        cli, tmp_path, "-r", "int8-u8s8", "--statistics", statistics, source=other,
        saying=f"{statistics} is of another model (SHA-256 {sha256(MODEL)[:12]}",
        hint="--calibration DATA",
    )  # fmt: skip
    refused(cli, tmp_path, "-r", "int8-u8s8", "--statistics", tmp_path / "no.npz", saying="no such")
    damaged = tmp_path / "damaged.npz"
    content = bytearray(statistics.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(content)
    outcome = cli(
        "quantize", MODEL, "-r", "int8-u8s8", "--statistics", damaged, "-o", tmp_path / "out"
    )
    assert outcome.code == 2 and "Traceback" not in outcome.err, outcome
    assert f"{damaged} is damaged" in outcome.err and not (tmp_path / "out").exists()
    damaged.write_bytes(content[:1000])
    refused(cli, tmp_path, "-r", "int8-u8s8", "--statistics", damaged, saying="damaged")
    damaged.write_text("nothing")
    refused(cli, tmp_path, "-r", "int8-u8s8", "--statistics", damaged, saying="no file of calibr")
    refused(
        cli, tmp_path, "-r", "int4-b32-gptq", "--statistics", statistics,
        saying="has no covariances, which GPTQ needs",
    )  # fmt: skip


def test_data_that_do_not_fit(cli: Cli, tmp_path: Path, data: Path) -> None:
    for arrays, words in (
        ({"picture": np.zeros((5, 1, 28, 28), "f4")}, "has no array for the model's input image"),
        ({"image": np.zeros((0, 1, 28, 28), "f4")}, "holds no samples"),
        ({"image": np.zeros((5, 0, 1, 28, 28), "f4")}, "input image has shape 0x1x28x28"),
        ({"image": np.zeros((5, 28, 28, 1), "f4")}, "input image has shape 1x28x28x1"),
        ({"image": np.full((5, 1, 28, 28), np.nan, "f4")}, "sample 0: input image holds NaN"),
    ):
        np.savez(tmp_path / "x.npz", **arrays)
        for what in (("-r", "int8-u8s8"), ("-t", "host")):
            refused(cli, tmp_path, *what, "--calibration", tmp_path / "x.npz", saying=words)
    refused(
        cli, tmp_path, "-r", "int8-u8s8", saying="int8-u8s8 needs calibration data",
        hint="--calibration DATA",
    )  # fmt: skip


def test_a_sample_in_the_middle_is_named(cli: Cli, tmp_path: Path, data: Path) -> None:
    with np.load(data / "calibration.npz") as whole:
        images = whole["image"].copy()
    images[7, 0, 3, 3] = np.inf
    np.savez(tmp_path / "x.npz", image=images)
    refused(
        cli, tmp_path, "-r", "int8-u8s8", "--calibration", tmp_path / "x.npz",
        saying="x.npz, sample 7: input image holds NaN or Inf",
    )  # fmt: skip


def test_an_activation_that_is_no_number_is_named(cli: Cli, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Log", ["x"], ["logarithm"], "log"),
        helper.make_node("MatMul", ["logarithm", "w"], ["y"], "product"),
    ]
    source = save_onnx(
        tmp_path / "log.onnx", nodes, {"x": [1, 4]}, {"y": [1, 4]}, w=np.eye(4, dtype="f4")
    )
    values = np.full((20, 1, 4), 2, np.float32)
    values[15] = -1
    np.savez(tmp_path / "x.npz", x=values)
    refused(
        cli, tmp_path, "-r", "int8-u8s8", "--calibration", tmp_path / "x.npz", source=source,
        saying="calibration sample 15 gives NaN or Inf in tensor",
    )  # fmt: skip


def test_evaluations_that_fail_name_the_sample(
    cli: Cli, tmp_path: Path, data: Path, statistics: Path
) -> None:
    with np.load(data / "evaluation.npz") as whole:
        images, labels = whole["image"][:40], whole["labels"][:40].copy()
    labels[17] = 10
    np.savez(tmp_path / "labels.npz", image=images, labels=labels)
    np.savez(tmp_path / "short.npz", image=images, labels=labels[:30])
    (tmp_path / "mine.py").write_text(
        "seen = 0\n\ndef score(outputs, label):\n    global seen\n    seen += 1\n"
        "    if seen > 23:\n        raise ValueError('boom')\n    return 1.0\n"
    )
    common = "-t", "host", "--statistics", statistics, "--evaluation"
    refused(
        cli, tmp_path, *common, tmp_path / "labels.npz",
        saying="sample 17: label 10 is outside the model's 10 classes",
    )  # fmt: skip
    refused(
        cli, tmp_path, *common, tmp_path / "short.npz", saying="differ in their first dimension"
    )
    refused(
        cli, tmp_path, *common, data / "evaluation.npz", "--metric", f"{tmp_path}/mine.py:score",
        saying="sample 22: the metric",  # the first of 23 calls tried it on sample 0
    )  # fmt: skip
    refused(
        cli, tmp_path, *common, data / "evaluation.npz", "--metric", "topp1", saying="no metric",
    )  # fmt: skip


@pytest.mark.parametrize("drop", ["-0.1", "nan", "inf", "1%", ""])
def test_drops_that_are_none(cli: Cli, tmp_path: Path, drop: str) -> None:
    refused(cli, tmp_path, "-t", "host", "--max-drop", drop, saying="--max-drop")


def test_models_that_are_small_already(cli: Cli, tmp_path: Path) -> None:
    source = matmul_net(tmp_path / "net.onnx")
    for name, words in (("int8-dynamic", "quantized already"), ("float16", "FP16 already")):
        made = tmp_path / name / "made.onnx"
        assert cli("quantize", source, "-r", name, "-o", made).code == 0
        for what in (("-r", "int8-dynamic"), ("-t", "host")):
            refused(
                cli, tmp_path, *what, source=made, saying=f"{made} is {words}",
                hint="edgewright profile",
            )  # fmt: skip
        cli.refuses("analyze", made, saying=words)


@pytest.mark.parametrize("command", [("quantize", "-r", "int8-u8s8"), ("export", "-t", "host")])
def test_a_batch_of_none(cli: Cli, tmp_path: Path, command: tuple[str, ...]) -> None:
    source = save_onnx(
        tmp_path / "net.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": ["batch", 8]},
        {"y": ["batch", 4]},
        w=normal(0, 1, 8, 4)[0],
    )
    np.savez(tmp_path / "none.npz", x=np.zeros((3, 0, 8), np.float32))
    cli.refuses(
        command[0], source, *command[1:], "--calibration", tmp_path / "none.npz",
        "-o", tmp_path / "out", saying="sample 0: input x has shape 0x8, which holds nothing",
    )  # fmt: skip
    assert files(tmp_path) == ["net.onnx", "none.npz"]


def test_outputs_that_cannot_be(cli: Cli, tmp_path: Path) -> None:
    source = matmul_net(tmp_path / "net.onnx")
    before = sha256(source)
    (tmp_path / "file").write_text("mine")
    for out, words in (
        (source, "is the source itself"),
        (tmp_path / "x.tflite", "is not a name for onnx"),
        (tmp_path / "file" / "x.onnx", "can't write"),
        (tmp_path / "file", "can't write"),
    ):
        cli.refuses("quantize", source, "-r", "int8-dynamic", "-o", out, saying=words)
    cli.refuses("quantize", source, "-t", "host", "-o", tmp_path / "file", saying="can't write")
    assert sha256(source) == before and files(tmp_path) == ["file", "net.onnx"]
    assert (tmp_path / "file").read_text() == "mine"


def test_devices(cli: Cli, tmp_path: Path, data: Path) -> None:
    outcome = cli(
        "quantize", MODEL, "-o", tmp_path / "out", "-t", "host", "--calibration",
        data / "calibration.npz", "--device", "ssh://nobody@127.0.0.1:1",
    )  # fmt: skip
    # Said before minutes of work.
    assert outcome.code == 3 and "nothing listens there" in outcome.err
    assert "float32" not in outcome.err and not (tmp_path / "out").exists()
    refused(cli, tmp_path, "-r", "int8-dynamic", "-d", "local", saying="--device goes with the l")
    refused(cli, tmp_path, "-t", "no-such-board", saying="no-such-board")


def test_an_error_as_json_is_one_document(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("quantize", MODEL, "-o", tmp_path / "out", "-r", "int8-u8s", "--json")
    assert outcome.code == 2 and outcome.json["error"]["type"] == "UsageError"
    assert "int8-u8s8" in outcome.json["error"]["hint"]


# Room on the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("what", [("-r", "int8-u8s8"), ("-t", "raspberry-pi-5")])
def test_a_disk_that_gets_full_half_way(
    cli: Cli, small_disk: Path, statistics: Path, data: Path, what: tuple[str, str]
) -> None:
    """The float model and some of the rest fit, but not all."""
    room = 2_000_000 - MODEL.stat().st_size - 150_000
    (small_disk / "ballast").write_bytes(bytes(room))
    outcome = cli.refuses(
        "quantize", MODEL, *what, "--statistics", statistics, "--evaluation",
        data / "evaluation.npz", "-o", small_disk / "out", saying="No space left on device",
    )  # fmt: skip
    assert "room on its disk" in outcome.err
    assert files(small_disk) == ["ballast"] and not (small_disk / "out").exists()
