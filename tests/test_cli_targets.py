"""`edgewright targets` and `explain`, as a user types them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from clirunner import Cli
from models import fashion_part
from sarif_pydantic import Sarif

from edgewright.cli import main

ROOT = Path(__file__).parent.parent
MODEL = str(ROOT / "examples" / "fashion-mnist" / "model.onnx")


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Cli]:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("EDGEWRIGHT_TARGETS", str(tmp_path / "targets"))
    yield Cli(monkeypatch, capsys)


def test_a_profile_of_ones_own_from_another_to_a_check(cli: Cli, tmp_path: Path) -> None:
    made = cli("targets", "new", "my-pi", "--from", "rpi4", "--json").json
    assert made["file"] == str(tmp_path / "targets" / "my-pi.toml")
    assert "is a valid profile of" in cli("targets", "validate", made["file"]).out
    assert cli("check", MODEL, "-t", "my-pi", "--no-ask").code == 0
    names = [t["name"] for t in cli("targets", "list", "--json").json["targets"]]
    assert "my-pi" in names
    assert made["file"] in cli("targets", "validate", "my-pi").out
    there = tmp_path / "a b" / "y.toml"
    told = cli("targets", "new", "y", "--from", "rpi4", "-o", str(there)).out
    assert f"validate '{there}'" in told
    cli.refuses("targets", "validate", "my-pie", saying="no target is called 'my-pie'")
    cli.refuses("targets", "new", "my-pi", "--from", "rpi4", saying="--replace")
    cli.refuses("targets", "new", "My Pi", "--from", "rpi4", saying="can't be a profile's name")
    cli.refuses("targets", "new", "x", "--from", "nothing-like", saying="no target is called")
    elsewhere = tmp_path / "x.toml"
    assert cli("targets", "new", "x", "--from", "host", "-o", str(elsewhere)).code == 0
    assert cli("check", MODEL, "-t", str(elsewhere), "--no-ask").code == 0


def test_a_profile_that_is_wrong_names_file_line_and_key(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    cli("targets", "new", "p", "--from", "rpi4", "-o", str(path))
    text = path.read_text()
    path.write_text(text.replace("ram_bytes", "ram_byte"))
    cli.refuses("targets", "validate", str(path), saying="unknown key 'memory.ram_byte'")
    path.write_text(text.replace("count = 4", 'count = "4"'))
    cli.refuses("targets", "validate", str(path), saying="'cpu.clusters[0].count'")
    path.write_text("")
    cli.refuses("targets", "validate", str(path), saying="'schema_version' is missing")
    cli.refuses("targets", "validate", str(tmp_path / "none.toml"), saying="No such file")
    cli.refuses("targets", "validate", str(tmp_path), saying="directory")
    cli.refuses("targets", "validate", MODEL, saying="not")


def test_a_broken_profile_of_ones_own_is_a_warning(cli: Cli, tmp_path: Path) -> None:
    path = Path(cli("targets", "new", "slow", "--from", "rpi4", "--json").json["file"])
    path.write_text(
        re.sub(r"max_frequency_hz = [\d_]+", "max_frequency_hz = 1800", path.read_text())
    )
    told = cli("targets", "list", "--json")
    names = {each["name"] for each in told.json["targets"]}
    assert told.code == 0 and "raspberry-pi-4" in names and "slow" not in names
    said = f"warning: {path}, line "
    assert said in told.err and "'cpu.clusters[0].max_frequency_hz': a clock in Hz" in told.err
    ranked = cli("targets", "rank", MODEL, "--no-ask", "--json")
    assert ranked.code == 0 and said in ranked.err
    assert {each["target"] for each in ranked.json["targets"]} == names
    cli.refuses("targets", "rank", MODEL, "-t", "slow", saying="a clock in Hz is wanted")


def test_rank(cli: Cli) -> None:
    done = cli("targets", "rank", MODEL, "--targets", "coral,pixel-9,rpi4", "--no-ask", "--json")
    assert done.code == 0
    rows = done.json["targets"]
    assert [row["target"] for row in rows] == ["pixel-9", "raspberry-pi-4", "coral-dev-board"]
    assert [row["fits"] for row in rows] == [True, True, False]
    told = cli("targets", "rank", MODEL, "-t", "coral,pixel-9,rpi4", "--no-ask").out
    assert "fits 2 of 3 devices" in told and "int8 (predicted)" in told
    assert "coral-dev-board: no runtime" in told
    assert cli("targets", "rank", MODEL, "-t", "coral", "--no-ask").code == 1
    cli.refuses("targets", "rank", MODEL, "-t", "corall", saying="did you mean coral-dev-board")
    cli.refuses("targets", "rank", "none.onnx", saying="No such file")
    cli.refuses("targets", "rank", MODEL, "-t", ",", saying="no target is named")


def test_explain(cli: Cli) -> None:
    assert "What helps:" in cli("explain", "float64").out
    assert cli("explain", "float64", "--json").json["code"] == "float64"
    assert "saturating-weights" in cli("explain").out
    assert "float64" in cli("explain", "--json").json["codes"]
    cli.refuses("explain", "float65", saying="did you mean float64")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with 8-bit weights, which saturates on x86 without VNNI."""
    path = tmp_path_factory.mktemp("wide") / "wide.onnx"
    with pytest.MonkeyPatch.context() as patch:
        example = ROOT / "examples" / "fashion-mnist"
        patch.setattr(
            sys,
            "argv",
            [
                "edgewright", "quantize", MODEL, "--recipe", "int8-u8s8", "-o", str(path),
                "--calibration", str(fashion_part(path.parent, "calibration", 32)),
                "--project", str(example / "edgewright.toml"),
            ],
        )  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0
    return str(path)


@pytest.fixture
def avx2(cli: Cli, tmp_path: Path) -> str:
    """A machine like this one, without VNNI."""
    path = tmp_path / "avx2.toml"
    cli("targets", "new", "avx2", "--from", "host", "-o", str(path))
    text = path.read_text()
    features = re.sub(r"features = \[.*?\]", 'features = ["avx", "avx2", "fma"]', text)
    path.write_text(re.sub(r'architecture = ".*"', 'architecture = "x86_64"', features))
    return str(path)


def test_check_emulates_saturation_on_the_users_data(
    cli: Cli, wide: str, avx2: str, tmp_path: Path
) -> None:
    few = fashion_part(tmp_path, "calibration", 8)
    project = ROOT / "examples" / "fashion-mnist" / "edgewright.toml"
    data = ("--calibration", few, "--project", project)
    done = cli("check", wide, "-t", avx2, "--no-ask", *data, "--json")
    told = [f for f in done.json["findings"] if f["code"] == "saturating-weights"]
    assert told and "emulated on" in told[0]["reason"] and "SQNR" in told[0]["reason"]
    nothing = cli("check", MODEL, "-t", avx2, "--no-ask", *data)
    assert nothing.code == 0 and "nothing to emulate" in nothing.err
    (tmp_path / "torn.npz").write_bytes(Path(data[1]).read_bytes()[:2000])
    for model in (wide, MODEL):
        for name, why in (("none.npz", "no such file"), (tmp_path / "torn.npz", "torn.npz")):
            cli.refuses("check", model, "-t", avx2, "--no-ask", "--calibration", name, saying=why)


def test_a_fallback_needs_an_accelerator_to_fall_back_from(cli: Cli) -> None:
    share = ("--no-ask", "--allow-fallback", "0.1")
    told = cli.refuses("check", MODEL, "-t", "imx-8m-plus", *share, saying="promises no accel")
    assert "--accelerator npu" in told.err
    told = cli.refuses("check", MODEL, "-t", "raspberry-pi-5", *share, saying="promises no accel")
    assert "leave --allow-fallback out" in told.err
    cli.refuses("targets", "rank", MODEL, "-t", "raspberry-pi-5", *share, saying="none of these")
    assert cli("targets", "rank", MODEL, "-t", "raspberry-pi-5,coral", *share).code == 0
    assert cli("check", MODEL, "-t", "imx-8m-plus", "--accelerator", "npu", *share).code == 1


def test_check_as_sarif_and_junit(cli: Cli) -> None:
    done = cli("check", MODEL, "-t", "coral", "--no-ask", "--sarif")
    assert done.code == 1
    [run] = done.json["runs"]
    assert run["results"][0]["ruleId"] == "no-runtime"
    done = cli("check", MODEL, "-t", "coral", "--no-ask", "--junit")
    assert done.code == 1 and 'type="no-runtime"' in done.out
    cli.refuses("check", MODEL, "-t", "coral", "--sarif", "--json", saying="exclude each other")


@pytest.mark.parametrize(
    ("arguments", "kind", "why"),
    [
        (("none.onnx", "-t", "coral"), "UsageError", "none.onnx"),
        ((MODEL, "-t", "coral", "--no-such"), "NoSuchOption", "--no-such"),
    ],
)
def test_a_check_that_fails_is_one_document(
    cli: Cli, arguments: tuple[str, ...], kind: str, why: str
) -> None:
    for form in ("--json", "--sarif", "--junit"):
        done = cli.refuses("check", *arguments, form, saying=why)
        if form == "--junit":
            (case,) = ElementTree.fromstring(done.out.encode()).iter("testcase")
            error = case.find("error")
            assert error is not None and error.get("type") == kind
            assert why in error.get("message", "")
        elif form == "--json":
            assert done.json["error"]["type"] == kind and why in done.json["error"]["message"]
        else:
            Sarif.model_validate(done.json)
            [run] = done.json["runs"]
            [invocation] = run["invocations"]
            assert not invocation["executionSuccessful"] and invocation["exitCode"] == 2
            assert why in invocation["toolExecutionNotifications"][0]["message"]["text"]
            assert run["results"] == []


def test_a_command_in_a_remedy_stays_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    told = cli("check", MODEL, "-t", "imx-8m-plus", "--no-ask").out.splitlines()
    (remedy,) = [line for line in told if "python -c" in line]
    assert "IR9.onnx" in remedy
    assert all(len(line) <= 60 for line in told if line != remedy)


def test_the_list_fits_80_columns_and_knows_what_is_yours(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("targets", "new", "my-pi", "--from", "rpi4")
    monkeypatch.setenv("COLUMNS", "80")
    told = cli("targets", "list").out
    assert max(map(len, told.splitlines())) <= 80
    assert "raspberry-pi-zero-2-w" in told and "edge-tpu *" in told
    assert "yours" in told[told.index("my-pi") :].split("├")[0]


CORAL = ("check", "m.tflite", "--target", "coral")
RANK = ("targets", "rank", "m.tflite", "--targets")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ((*CORAL, "--runtime", ""), "tflite_runtime"),
        ((*CORAL, "--accelerator", ""), "edge-tpu none"),
        ((*RANK, "al"), "all alif-ensemble-e7"),
        ((*RANK, "coral-dev-board,al"), "coral-dev-board,alif-ensemble-e7"),
        ((*RANK, "pixel-8,pixel-9,pixel-"), "pixel-8,pixel-9,pixel-6"),
    ],
)
def test_completion_knows_the_device(typed: tuple[str, ...], found: str) -> None:
    words = ["edgewright", *typed]
    environment = {
        **os.environ,
        "_EDGEWRIGHT_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    program = "import sys; sys.argv[0] = 'edgewright'; from edgewright.cli import app; app()"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.split() == found.split(), told
