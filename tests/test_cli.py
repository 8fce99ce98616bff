"""Every command, with what it is for and with what people get wrong."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from clirunner import Cli
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parent.parent
FASHION = ROOT / "examples" / "fashion-mnist"
MODEL = FASHION / "model.onnx"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    # Without a width, rich folds tables and messages at 80 columns, and words can't be looked for.
    monkeypatch.setenv("COLUMNS", "400")
    yield Cli(monkeypatch, capsys)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 labelled pictures of the example, as the model takes them."""
    with np.load(FASHION / "evaluation.npz") as whole:
        images, labels = whole["image"][:400], whole["labels"][:400]
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(path, image=images.astype(np.float32) / 255, labels=labels)
    return path


def _files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def _nan_model(path: Path) -> Path:
    """log(x) of inputs that are negative half of the time."""
    graph = helper.make_graph(
        [helper.make_node("Log", ["x"], ["y"])],
        "nan",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    return path


# What each command is for


def test_inspect(cli: Cli) -> None:
    document = cli("inspect", MODEL, "--json").json
    assert document["format"] == "onnx"
    assert {o["name"] for o in document["operators"]} >= {"Conv", "Gemm"}
    assert "Conv" in cli("inspect", MODEL).out


def test_check_says_yes_and_no(cli: Cli) -> None:
    yes = cli("check", MODEL, "--target", "raspberry-pi-5", "--json")
    assert yes.code == 0 and yes.json["compatible"] is True
    no = cli("check", MODEL, "--target", "coral-dev-board", "--json")
    assert no.code == 1 and no.json["compatible"] is False
    keys = {"severity", "code", "operator", "count", "reason", "remedy"}
    assert all(keys <= set(finding) for finding in no.json["findings"])


def test_check_takes_a_runtime_and_an_accelerator(cli: Cli) -> None:
    tiny = Path(__file__).parent / "golden" / "targets_conv_int8.tflite"
    unknown = cli("check", str(tiny), "-t", "pixel-9", "--accelerator", "tpu", "--no-ask")
    assert unknown.code == 0
    assert "may fit Google Pixel 9" in unknown.out, "what nobody knows is no yes"
    promised = cli("check", tiny, "-t", "coral", "--no-ask")
    assert "accelerator-not-compiled" in promised.out
    alone = cli(
        "check", tiny, "-t", "coral", "--accelerator", "none", "--runtime", "tflite_runtime"
    )
    assert alone.code == 0 and "accelerator" not in alone.out
    cli.refuses("check", tiny, "-t", "coral", "--accelerator", "edgetpu", saying="edge-tpu")
    cli.refuses(
        "check", tiny, "-t", "coral", "--runtime", "tflite-runtime", saying="tflite_runtime"
    )
    cli.refuses("check", tiny, "-t", "coral", "--allow-fallback", "2", saying="--allow-fallback")


def test_export_auto_proves_what_it_chooses(cli: Cli, few: Path, tmp_path: Path) -> None:
    outcome = cli(
        "export", MODEL, "--target", "raspberry-pi-5", "--calibration", few, "--evaluation", few,
        "--metric", "top1", "--max-drop", "0.02", "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    document = outcome.json
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == document
    by_path = {a["path"]: a for a in document["artifacts"]}
    chosen = by_path[document["chosen"]]
    assert chosen["precision"] == "int8" and chosen["status"] == "kept"
    assert chosen["evaluation"]["interval"][1] <= 0.02
    assert chosen["recipe"]["rules"][0]["scheme"]["activations"] == "int8"
    assert all(Path(a["path"]).stat().st_size == a["size_bytes"] for a in document["artifacts"])
    assert any("same data" in note for note in document["notes"])


def test_export_without_data_keeps_float(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("export", MODEL, "-t", "host", "-o", tmp_path / "out", "--json")
    assert outcome.code == 0
    assert outcome.json["chosen"].endswith("float32.onnx")
    assert any("calibration" in s["reason"] for s in outcome.json["skipped"])


def test_export_rolls_back_what_is_not_proven(cli: Cli, few: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.npz"
    with np.load(few) as data:
        np.savez(small, **{name: data[name][:30] for name in data.files})
    outcome = cli(
        "export", MODEL, "-t", "host", "--precision", "int8", "--calibration", few,
        "--evaluation", small, "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    quantized = next(a for a in outcome.json["artifacts"] if a["precision"] == "int8")
    assert quantized["status"] == "rolled back"
    assert "samples" in quantized["reason"]


def test_a_deadline_cuts_a_measurement_short(cli: Cli) -> None:
    outcome = cli("profile", MODEL, "--mode", "release", "--deadline", "12", "--json")
    assert outcome.code == 0, outcome
    assert outcome.json["notes"] == ["stopped at the deadline of 12 s"]
    reasons = outcome.json["validity"]["reasons"]
    assert any("too few samples" in reason and "--deadline" in reason for reason in reasons)


def test_profile_and_compare(cli: Cli, tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    outcome = cli("profile", MODEL, "--device", "local", "-o", first, "--json")
    assert outcome.code == 0, outcome
    document = outcome.json
    assert len(document["samples_ms"]) >= 20
    assert document["latency_ms"]["p50"] <= document["latency_ms"]["p90"]
    assert document["latency_ms"]["p90"] <= document["latency_ms"]["p99"]
    assert document["cold_start"]["load_ms"] > 0
    assert document["cold_start"]["first_inference_ms"] > 0
    assert document["peak_rss_bytes"] > 10_000_000
    assert isinstance(document["validity"]["valid"], bool)
    assert document["validity"]["valid"] or document["validity"]["reasons"]
    assert document["runtime"]["name"] == "onnxruntime" and document["runtime"]["version"]
    assert document["correctness"]["status"] == "passed"
    assert json.loads(first.read_text()) == document
    assert cli("profile", MODEL, "-o", second).code == 0
    compared = cli("compare", first, second, "--json")
    assert compared.code == 0 and 0.1 < compared.json["ratio"] < 10
    slow = json.loads(second.read_text())
    slow["samples_ms"] = [3 * sample for sample in slow["samples_ms"]]
    (tmp_path / "slow.json").write_text(json.dumps(slow))
    gate = cli("compare", first, tmp_path / "slow.json", "--max-slowdown", "0")
    assert gate.code == 1 and "FAILED" in gate.out
    spoilt = {**json.loads(second.read_text()), "validity": {"valid": False, "reasons": ["hot"]}}
    second.write_text(json.dumps(spoilt))
    verdict = cli("compare", first, second, "--max-slowdown", "1000", "--json")
    assert verdict.code == 1 and "hot" in " ".join(verdict.json["verdict"]["reasons"])
    assert verdict.json["method"] == "unpaired"


def test_targets(cli: Cli) -> None:
    listed = cli("targets", "list", "--json").json
    assert listed["schema_version"] == 1
    names = {t["name"] for t in listed["targets"]}
    assert {"host", "raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2-w"} <= names
    assert cli("targets", "show", "raspberry-pi-4", "--json").json["cpu"]["source"]
    assert "properties" in cli("targets", "schema").json
    assert "raspberry-pi-5" in cli("targets").out


def test_doctor(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_DEVICES", str(tmp_path / "none.toml"))
    outcome = cli("doctor", "--json")
    assert outcome.code == 0
    assert outcome.json["schema_version"] == 1
    found = {f["name"]: f for f in outcome.json["findings"]}
    assert {"onnxruntime", "torch", "tensorflow", "adb", "device runtimes"} <= set(found)
    assert "devices add" in found["devices"]["remedy"]


def test_doctor_names_a_broken_devices_file(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "devices.toml"
    path.write_text("schema_version = 1\n[devices.pi]\nadress = 'local'\n")
    monkeypatch.setenv("EDGEWRIGHT_DEVICES", str(path))
    outcome = cli("doctor", "--json")
    assert outcome.code == 1
    broken = next(f for f in outcome.json["findings"] if f["status"] == "broken")
    assert broken["name"] == "devices" and "adress" in broken["detail"]


# What people get wrong


@pytest.mark.parametrize("command", [["inspect"], ["check", "-t", "host"], ["profile"]])
@pytest.mark.parametrize(
    ("name", "content", "saying"),
    [
        ("missing.onnx", None, "missing.onnx"),
        ("empty.onnx", b"", "empty"),
        ("garbage.onnx", b"\x93garbage" * 50, "garbage.onnx"),
        ("page.tflite", b"<!DOCTYPE html><html>", "HTML"),
        ("wrong.tflite", MODEL.read_bytes(), "ONNX"),
        ("cut.onnx", MODEL.read_bytes()[:1000], "cut.onnx"),
        ("notes.txt", b"not a model, but words", "a text file"),
    ],
)
def test_bad_model_files(
    cli: Cli, tmp_path: Path, command: list[str], name: str, content: bytes | None, saying: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    cli.refuses(command[0], path, *command[1:], saying=saying)


@pytest.mark.parametrize(
    ("source", "saying"),
    [
        ("missing.onnx", "no such file"),
        ("weights.pth", "factory"),
        ("net.py", "factory"),
        ("net.py:missing", "missing"),
        ("net.py:raises", "ValueError: the weights are gone"),
        ("folder", "saved_model.pb"),
        ("no.such.module:factory", "no.such.module"),
    ],
)
def test_bad_sources(cli: Cli, tmp_path: Path, source: str, saying: str) -> None:
    if source.startswith("net.py:"):
        pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    (tmp_path / "net.py").write_text(
        "def raises():\n    raise ValueError('the weights are gone')\n"
    )
    (tmp_path / "weights.pth").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    spec = source if source.startswith("no.") else str(tmp_path / source)
    outcome = cli.refuses("export", spec, "-t", "host", "-o", tmp_path / "out", saying=saying)
    assert not (tmp_path / "out").exists() or not _files(tmp_path / "out"), outcome


def test_impossible_format(cli: Cli, tmp_path: Path) -> None:
    cli.refuses(
        "export", MODEL, "-t", "host", "-f", "tflite", "-o", tmp_path / "out", saying="not possible"
    )
    assert not _files(tmp_path)
    cli.refuses("export", MODEL, "-t", "coral-dev-board", "-o", tmp_path / "o", saying="onnx")


@pytest.mark.parametrize(
    ("arrays", "saying"),
    [
        ({"picture": np.zeros((2, 1, 28, 28), np.float32)}, "picture"),
        ({"image": np.zeros((2, 28, 28, 1), np.float32)}, "28x28x1"),
        ({"image": np.zeros((2, 3, 28, 28), np.float32)}, "3x28x28"),
        ({"image": np.full((2, 1, 28, 28), np.nan, np.float32)}, "NaN"),
        ({"image": np.zeros((0, 1, 28, 28), np.float32)}, "no samples"),
        ({"image": np.zeros((2, 1, 28, 28), np.float32), "labels": np.zeros(3)}, "differ"),
        ({"image": np.zeros((2, 1, 28, 28), np.float32)}, "needs labels"),
        ({"image": np.zeros((2, 1, 28, 28), np.float32), "labels": np.array([0, 99])}, "99"),
    ],
)
def test_bad_data(
    cli: Cli, few: Path, tmp_path: Path, arrays: dict[str, np.ndarray], saying: str
) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    out = tmp_path / "out"
    cli.refuses(
        "export", MODEL, "-t", "host", "--evaluation", path, "--metric", "top1", "-o", out,
        saying=saying,
    )  # fmt: skip
    assert not out.exists() or not [n for n in _files(out) if n.startswith(".")]


def test_data_that_is_none(cli: Cli, tmp_path: Path) -> None:
    base = ["export", MODEL, "-t", "host", "-o", tmp_path / "out"]
    cli.refuses(*base, "--calibration", tmp_path / "missing.npz", saying="missing.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    cli.refuses(*base, "--calibration", tmp_path / "bad.npz", saying="bad.npz")
    (tmp_path / "pictures").mkdir()
    cli.refuses(*base, "--calibration", tmp_path / "pictures", saying="preprocess")
    cli.refuses(*base, "--evaluation", FASHION / "evaluation.npz", "--metric", "f1", saying="f1")
    cli.refuses(*base, "--precision", "int8", saying="calibration")


def test_nan_outputs(cli: Cli, tmp_path: Path) -> None:
    model = _nan_model(tmp_path / "nan.onnx")
    data = tmp_path / "x.npz"
    np.savez(data, x=np.full((30, 1, 8), -1, np.float32))
    cli.refuses(
        "export", model, "-t", "host", "--evaluation", data, "--metric", "cosine",
        "-o", tmp_path / "out", saying="NaN",
    )  # fmt: skip


def test_unknown_target_suggests(cli: Cli) -> None:
    cli.refuses("check", MODEL, "-t", "rasberry-pi-4", saying="raspberry-pi-4")


def test_unknown_key_names_file_key_and_line(cli: Cli, tmp_path: Path) -> None:
    project = tmp_path / "edgewright.toml"
    project.write_text('schema_version = 1\nsource = "m.onnx"\n\n[budget]\nmax_dorp = 0.1\n')
    outcome = cli.refuses("ship", project, "-o", tmp_path / "out", saying="max_dorp")
    assert str(project) in outcome.err and "5" in outcome.err
    target = tmp_path / "board.toml"
    target.write_text('schema_version = 1\nname = "board"\ncolour = "red"\n')
    outcome = cli.refuses("check", MODEL, "-t", target, saying="colour")
    assert str(target) in outcome.err and "3" in outcome.err
    project.write_text("schema_version = \n")
    cli.refuses("ship", project, "-o", tmp_path / "out", saying="line 1")
    cli.refuses("ship", tmp_path / "none.toml", "-o", tmp_path / "out", saying="none.toml")


def test_output_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    cli.refuses("export", MODEL, "-t", "host", "-o", blocker, saying="can't write")
    project = FASHION / "edgewright.toml"
    cli.refuses("ship", project, "-o", blocker / "below", saying="can't write")
    cli.refuses("profile", MODEL, "-o", blocker / "run.json", saying="can't write")


def test_bad_devices(cli: Cli) -> None:
    cli.refuses("profile", MODEL, "-d", "ftp://board", saying="ssh://")
    cli.refuses("profile", MODEL, "-d", "ssh://me:secret@board", saying="password")
    outcome = cli.refuses("profile", MODEL, "-d", "ssh://me@127.0.0.1:1", code=3)
    assert "device error" in outcome.err
    cli.refuses("profile", MODEL, "--runtime", "tflite_runtime", saying="onnx")


def test_bad_runs(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    run.write_text("[1, 2")
    cli.refuses("compare", run, run, saying="not JSON")
    run.write_text('{"schema_version": 1}')
    cli.refuses("compare", run, run, saying="is not a run")
    cli.refuses("compare", tmp_path / "none.json", run, saying="none.json")


def test_errors_are_json_too(cli: Cli) -> None:
    outcome = cli("inspect", "none.onnx", "--json")
    assert outcome.code == 2
    assert outcome.json["schema_version"] == 1
    assert outcome.json["error"]["exit_code"] == 2


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "edgewright", "targets", "list", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    "arguments", [["export"], ["nonsense"], ["profile", "x", "--threads", "0"]]
)
def test_wrong_arguments(cli: Cli, arguments: list[str]) -> None:
    cli.refuses(*arguments)


def test_a_quantized_source_is_refused(cli: Cli, few: Path, tmp_path: Path) -> None:
    outcome = cli(
        "export", MODEL, "-t", "host", "--precision", "int8", "--calibration", few,
        "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    cli.refuses(
        "export", outcome.json["chosen"], "-t", "host", "-o", tmp_path / "again", saying="quantized"
    )


def test_an_initializer_is_no_input(cli: Cli, tmp_path: Path) -> None:
    """Old exporters list weights among the inputs."""
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "old",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [weights],
    )
    path = tmp_path / "old.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7),
        str(path),
    )
    assert [i["name"] for i in cli("inspect", path, "--json").json["inputs"]] == ["x"]
    assert cli("export", path, "-t", "host", "-o", tmp_path / "out").code == 0


def test_a_dry_run_makes_nothing(cli: Cli, few: Path, tmp_path: Path) -> None:
    outcome = cli(
        "export", MODEL, "-t", "raspberry-pi-5", "--calibration", few, "-o", tmp_path / "out",
        "--dry-run", "--json",
    )  # fmt: skip
    planned = {p["precision"]: p for p in outcome.json["planned"]}
    assert planned["int8"]["recipe"]["name"] == "int8-s8s8"
    assert planned["int8-dynamic"]["recipe"] is None and planned["int8-dynamic"]["reason"]
    ship = cli("ship", FASHION / "edgewright.toml", "-o", tmp_path / "out", "--dry-run")
    assert ship.code == 0 and "int8" in ship.out
    assert not (tmp_path / "out").exists()


def test_a_model_without_numbers_is_refused(cli: Cli, tmp_path: Path) -> None:
    """Without data too: every answer of this one is NaN."""
    weights = numpy_helper.from_array(np.array([[np.nan]], dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "nan",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [weights],
    )
    path = tmp_path / "nan.onnx"
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    out = tmp_path / "out"
    cli.refuses("export", path, "-t", "host", "-o", out, saying="NaN")
    assert not _files(out)


def test_a_model_that_random_inputs_break_asks_for_data(cli: Cli, tmp_path: Path) -> None:
    """Seeded ids are 0 and 1; this table has one row."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "gather",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 4])],
        [numpy_helper.from_array(np.ones((1, 4), np.float32), "table")],
    )
    path = tmp_path / "gather.onnx"
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    cli.refuses("profile", path, saying="input 0")
    cli.refuses("export", path, "-t", "host", "-o", tmp_path / "out", saying="input 0")


def test_what_users_print_does_not_reach_the_document(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def samples():\n"
        "    print('loading')\n"
        "    for i in range(40):\n"
        "        yield np.full((1, 1, 28, 28), i / 40, np.float32)\n"
    )
    outcome = cli(
        "export", MODEL, "-t", "host", "--evaluation", f"{tmp_path}/data.py:samples",
        "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert outcome.code == 0 and outcome.json["chosen"]
    assert "loading" in outcome.err


@pytest.mark.parametrize("source", ["ends.inner:net", "ends.py:net"])
def test_a_source_that_exits_does_not_end_in_success(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    (tmp_path / "ends").mkdir()
    for name in ("ends/__init__.py", "ends.py"):
        (tmp_path / name).write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    cli.refuses("export", source, "-t", "host", "-o", tmp_path / "out", saying="SystemExit")


def test_a_failed_export_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, image=np.zeros((30, 1, 28, 28), np.float32), labels=np.full(30, 99))
    out = tmp_path / "out"
    cli.refuses("export", MODEL, "-t", "host", "--evaluation", data, "-o", out, saying="99")
    assert not out.exists()


def test_labels_that_are_words(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, image=np.zeros((30, 1, 28, 28), np.float32), labels=np.full(30, "cat"))
    out = tmp_path / "out"
    for metric in ("mae", "top1"):
        cli.refuses(
            "export", MODEL, "-t", "host", "--evaluation", data, "--metric", metric, "-o", out
        )


def test_a_project_with_a_device_file_of_its_own(cli: Cli, tmp_path: Path) -> None:
    """Paths start from the project file; a model that does not fit is a no, and no mistake."""
    board = (ROOT / "device_configs" / "raspberry-pi-4.toml").read_text()
    (tmp_path / "tiny.toml").write_text(
        board.replace("max_memory_bytes = 2_147_483_648", "max_memory_bytes = 1_000_000")
    )
    project = tmp_path / "edgewright.toml"
    project.write_text(f'schema_version = 1\nsource = "{MODEL}"\ntargets = ["tiny.toml"]\n')
    elsewhere = cli.refuses("ship", project, "-o", tmp_path / "out", saying="aarch64")
    assert "--device" in elsewhere.err
    outcome = cli("ship", project, "-o", tmp_path / "out", "--accept-invalid", "a test", "--json")
    assert outcome.code == 1, outcome
    assert "does not fit" in outcome.json["verdict"]["reasons"][0]


@pytest.mark.parametrize(
    ("line", "saying"),
    [
        ('formats = ["onnx", "onnx"]', "twice"),
        ("[budget]\nmax_drop = inf", "max_drop"),
        ("[budget]\nmax_p90_ms = 0", "max_p90_ms"),
        ("[profile]\ncpus = '2-1'", "cpus"),
    ],
)
def test_senseless_projects(cli: Cli, tmp_path: Path, line: str, saying: str) -> None:
    project = tmp_path / "edgewright.toml"
    project.write_text(f'schema_version = 1\nsource = "{MODEL}"\n{line}\n')
    cli.refuses("ship", project, "-o", tmp_path / "out", saying=saying)
    cli.refuses("ship", project, "-o", tmp_path / "out", "--accept-invalid", " ", saying=saying)


def test_senseless_numbers(cli: Cli, tmp_path: Path) -> None:
    cli.refuses("export", MODEL, "-t", "host", "--max-drop", "inf", "-o", tmp_path / "out")
    cli.refuses("profile", MODEL, "-o", tmp_path, saying="directory")


def test_profile_of_several_models_in_turn(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    other = tmp_path / "model.onnx"
    other.write_bytes(MODEL.read_bytes())
    outcome = cli("profile", MODEL, other, "--cpus", "0", "-o", out, "--json")
    assert outcome.code == 0, outcome
    first, second = outcome.json["runs"]
    assert first["measurement"] == second["measurement"]
    assert first["relative_to_first"] is None
    low, high = second["relative_to_first"]["interval"]
    assert low < 1.2 and high > 0.8, "the same model"
    assert first["runtime"]["cpus"] == [0]
    for run in (first, second):
        assert Path(run["file"]).parent == out
        written = json.loads(Path(run["file"]).read_text())
        assert written["samples_ms"] == run["samples_ms"]


def test_profile_with_batches_and_heat(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    weights = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "open",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    outcome = cli("profile", path, "--batch", "3", "--sustained", "0.1", "--json")
    assert outcome.code == 0, outcome
    document = outcome.json
    assert (document["batch"], document["mode"]) == (3, "sustained")
    assert sum(document["samples_ms"]) + 1000 * document["unkept_s"] >= 6000
    assert len(document["over_time"]) == 10
    check = document["correctness"]["outputs"][0]
    assert check["top1_agreement"] == 1.0
    text = cli("profile", path, "--batch", "2", "--sustained", "0.1")
    assert "batches of 2" in text.out and "over time" in text.out


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--batch", "2"], "takes no batch of 2"),
        (["--cpus", "0,x"], "are not understood"),
        (["--cpus", "4000"], "core 4000 can't be used"),
        (["--sustained", "0"], "sustained"),
    ],
)
def test_profile_refuses_what_makes_no_sense(
    cli: Cli, tmp_path: Path, arguments: list[str], saying: str
) -> None:
    model = onnx.load(MODEL)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "fixed.onnx")
    cli.refuses("profile", tmp_path / "fixed.onnx", *arguments, code=2, saying=saying)


def test_an_output_that_must_not_be_written_is_refused_at_once(cli: Cli, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(MODEL.read_bytes())
    cli.refuses("profile", model, "-o", model, saying="the model")
    assert model.read_bytes() == MODEL.read_bytes()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cli.refuses("profile", model, "-o", fifo, saying="no ordinary file")
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    outcome = cli.refuses("profile", model, "-o", "/proc/x.json", saying="can't write")
    assert "measure" not in outcome.err


def test_profile_reads_data_as_a_project_does(cli: Cli) -> None:
    data = ROOT / "examples" / "fashion-mnist"
    outcome = cli(
        "profile", MODEL, "--reference", MODEL, "--inputs", data / "evaluation.npz",
        "--project", data / "edgewright.toml", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    assert not any("random" in note for note in outcome.json["notes"])
    checks = {check["against"]: check for check in outcome.json["correctness"]["outputs"]}
    assert checks["float"]["top1_agreement"] == 1


def test_random_inputs_are_called_so(cli: Cli) -> None:
    outcome = cli("profile", MODEL, "--reference", MODEL)
    assert "the inputs are random numbers" in " ".join(outcome.out.split())
