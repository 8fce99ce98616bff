"""Tables on narrow and wide terminals: nothing is cropped, and no word of a reason is lost."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from graph_making import Making, model
from rich.console import Console, RenderableType
from small_models import fake_run

from edgewright.exporters.artifact import Artifact, OutputDifference
from edgewright.exporters.candidate import Candidate, Export
from edgewright.exporters.evaluate import Evaluation
from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.exporters.quantize.sensitivity import Screened, Sensitivity, WeightDistribution
from edgewright.profiler.device_states import DeviceState
from edgewright.profiler.devices_file import FoundDevice
from edgewright.profiler.gate import Judged, Verdict
from edgewright.profiler.quantization import Quantization
from edgewright.profiler.result import DeviceFacts, FailedRun, Run, Validity
from edgewright.profiler.stats import Comparison
from edgewright.profiler.tables import export_table, ship_table
from edgewright.profiler.tables_check import check_table
from edgewright.profiler.tables_device_list import devices_table
from edgewright.profiler.tables_quantize import quantize_table, sensitivity_table
from edgewright.profiler.tables_run import runs_table
from edgewright.profiler.units import time_text
from edgewright.targets.check import CheckOptions, check
from edgewright.targets.load import load_target

WIDTHS = (80, 160)
PI = "ssh://somebody@raspberrypi.workshop.example:2222"
PHONE = "adb://emulator-5554"
TOO_SLOW = f"p90 on {PI} may be 129.4 ms, and 12.5 ms are allowed"
EMULATED = "the CPU is emulated: its latencies say nothing about a device"
DRIFT = "the last quarter is 12.3% slower than the first, beyond 10% drift"
HOT = Validity(valid=False, reasons=(EMULATED, DRIFT))
FASTER = Comparison(ratio=0.3289, interval=(0.3115, 0.3300), method="paired", pairs=5)


def candidate(precision: str, recipe: str | None, reason: str = "float") -> Candidate:
    evaluation = Evaluation(
        metric="top1", samples=10000, data="evaluation.npz", score=0.9277, float_score=0.928,
        drop=0.0003, interval=(-0.001, 0.0016), max_drop=0.01,
        verdict="proven" if recipe else "reference", reason=reason, sqnr_db=41.6, cosine=0.99,
    )  # fmt: skip
    artifact = Artifact(
        path=Path("out/model.onnx"), format="onnx", precision=precision, inputs=(), outputs=(),
        size_bytes=389_512, sha256="0" * 64, made_from="model.onnx",
        recipe=RECIPES[recipe].recipe if recipe else None,
        differences=(OutputDifference("y", 0.1, 41.6),),
    )  # type: ignore[arg-type]  # fmt: skip
    return Candidate(artifact, "kept", reason, evaluation, {}, 0)


FLOAT, INT8 = candidate("float32", None), candidate("int8", "int8-u8s8-7bit", "ranges by mse")
OTHER = candidate("int8", "int8-u8s8")
NAME = "onnx/int8-u8s8-7bit"


def emulated(scale: float = 1.0, **changes: object) -> Run:
    device = DeviceFacts(address=PHONE, emulated=True)
    samples = [[scale * (123.4 + i / 10) for i in range(20)]] * 5
    return fake_run(samples, device=device, validity=HOT, peak_rss_bytes=123_456_789, **changes)


def failed(name: str) -> FailedRun:
    return FailedRun(
        measurement="one", model_name=name, model_sha256="0" * 64, mode="quick",
        device=DeviceFacts(address=PI), runtime="onnxruntime", error="DeviceOutOfMemory",
        message=f"{name} needs more memory than {PI} has", phase="load",
    )  # fmt: skip


def judged(*devices: str) -> tuple[Judged, ...]:
    good = fake_run([[0.255, 0.307]])
    slow = {device: emulated() if device == PHONE else good for device in devices}
    ratios = dict.fromkeys(devices, FASTER)
    return (
        Judged(FLOAT, slow, {}, (TOO_SLOW,), ()),
        Judged(INT8, slow, ratios, (), ()),
        Judged(OTHER, {device: failed("m") for device in devices}, {}, (DRIFT,), ()),
    )


def printed(shown: RenderableType, width: int) -> str:
    """As `show` prints it; no line is wider than the terminal, but for commands to be copied."""
    console = Console(width=width, file=StringIO(), highlight=False, markup=False)
    console.print(shown, crop=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line for line in text.splitlines() if ": edgewright " not in line]
    assert max(map(len, lines)) <= width, text
    return text


def rendered(shown: RenderableType, width: int) -> str:
    """As `printed`; each row of the table has its border."""
    text = printed(shown, width)
    lines = text.splitlines()
    rows = [line for line in lines if line[:1] in set("┏┃┡│├└")]
    assert rows and all(line[-1] in "┓┃┩│┤┘" for line in rows), text
    for start, end in ("┏┓", "┃┃", "┡┩", "││", "└┘"):
        assert all(line[-1] == end for line in rows if line[0] == start), text
    assert "…" not in text
    return text


def cell(text: str, column: int) -> str:
    """All of a column without blanks, wherever its words were broken."""
    rows = [line for line in text.splitlines() if line[:1] in "│┃" and line]
    return "".join("".join(row.replace("┃", "│").split("│")[column].split()) for row in rows)


def squeezed(text: str) -> str:
    return "".join(text.split())


def below(text: str) -> str:
    """The lines under the (last) table, as one."""
    return " ".join(text.rpartition("┘")[2].split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("devices", [(), ("local",), ("local", PHONE), (PI, PHONE)])
def test_ship(devices: tuple[str, ...], width: int) -> None:
    verdict = Verdict(passed=True, chosen=NAME, reasons=(TOO_SLOW, DRIFT))
    text = rendered(ship_table(judged(*devices), verdict, (), ()), width)
    assert f"│ {NAME} " in text, "a name is not split"
    assert "390kB" in cell(text, 1)
    assert "[-0.0010, +0.0016]" in text
    assert squeezed(f"no: {TOO_SLOW}") in cell(text, -2)
    assert squeezed(f"no: {DRIFT}") in cell(text, -2)
    assert "chosen:thefastestthatkeepstothebudget" in cell(text, -2)
    assert squeezed(TOO_SLOW) in squeezed(below(text)) and DRIFT in below(text)
    if devices:
        assert "failed" in cell(text, 3) and "3.04x" in cell(text, 3)
    if len(devices) > 1:
        assert all(f"{device}:" in cell(text, 3) for device in devices)
        assert "124/125(emulated)3.04x" in cell(text, 3)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_long_name_of_the_users_own_recipe(width: int) -> None:
    recipe = RECIPES["int8-u8s8"].recipe.model_copy(update={"name": "mine-" + "x" * 60})
    mine = replace(INT8, artifact=replace(INT8.artifact, recipe=recipe))
    verdict = Verdict(passed=False, chosen=None, reasons=())
    text = rendered(ship_table([Judged(mine, {}, {}, (DRIFT,), ())], verdict, (), ()), width)
    assert mine.name in cell(text, 1) and squeezed(DRIFT) in cell(text, -2)


@pytest.mark.parametrize("width", WIDTHS)
def test_export(width: int) -> None:
    rolled_back = replace(INT8, status="rolled back", reason=DRIFT)
    export = Export((FLOAT, INT8, rolled_back), INT8, (), (), {}, {}, ())
    text = rendered(export_table(export), width)
    assert f"│ {NAME} " in text and "390kB" in cell(text, 1)
    assert squeezed(f"rolled back: {DRIFT}") in cell(text, -2)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("device", ["local", PI, PHONE])
def test_quantize(device: str, width: int) -> None:
    export = Export((FLOAT, INT8), INT8, (), (), {}, {}, ())
    found = Quantization(export, judged(device), NAME, (DRIFT,), device, False, ())
    text = rendered(quantize_table(found), width)
    assert f"│ {NAME} " in text and "390kB*" in cell(text, 1)
    assert "keptrangesbymse" in cell(text, -2).replace(":", "")
    assert DRIFT in below(text)
    if device == PHONE:
        assert "124†(emulated)3.04x" in cell(text, 3)


@pytest.mark.parametrize("width", WIDTHS)
def test_layers(width: int) -> None:
    weights = WeightDistribution(
        low=-12.3456, high=12.3456, kurtosis=123.4, outlier_channels=12, channels=1024
    )
    layers = [
        Sensitivity(name, "DepthwiseConv2D", weights, Screened(31.4, 27.2), 12.3, 1.12)
        for name in ("/encoder/block.11/attention/query/MatMul", "/encoder/head/Conv")
    ]
    text = rendered(sensitivity_table(layers), width)
    assert "MatMulDepthwiseConv2D" in cell(text, 1) and "-12..12123.4" in cell(text, 2)
    assert "31.427.2" in cell(text, 4) and "+12.3dB+12%" in cell(text, 5)


@pytest.mark.parametrize("width", WIDTHS)
def test_runs_in_turn(width: int) -> None:
    first = emulated(model_name="mobilenet.float32")
    second = emulated(0.33, model_name="mobilenet.int8-u8s8")
    runs = [first, second, failed("mobilenet.int4")]
    text = rendered(runs_table(runs, [None, FASTER, None]), width)
    assert cell(text, 5) == "validityINVALIDINVALID", "a word, and the reasons below"
    assert "3.04x[3.03,3.21](emulated)" in cell(text, 3)
    assert "│ mobilenet.int8-u8s8 " in text and "4ms,123MB" in cell(text, 1)
    for run in (first, second):
        for reason in HOT.reasons:
            assert f"INVALID {run.model_name}: {reason}" in below(text)
    assert squeezed(f"failed mobilenet.int4: {runs[2].message}") in squeezed(below(text))  # type: ignore[union-attr]


@pytest.mark.parametrize("width", WIDTHS)
def test_devices_that_do_not_answer(width: int) -> None:
    devices = [
        FoundDevice(name="bench", address="local", target="host", note="this very machine"),
        FoundDevice(name="pi", address=PI, target="raspberry-pi-5", note="under the desk"),
        FoundDevice(address="adb://R58M123ABC"),
    ]
    states = [
        DeviceState("reachable"),
        DeviceState("unreachable", f"{PI}: connection refused by port 2222", "is sshd running?"),
        DeviceState("unauthorized", "the phone has not accepted this host", "unlock it, accept"),
    ]
    text = rendered(devices_table(devices, states, "devices.toml"), width)
    assert cell(text, 5) == "statereachableunreachableunauthorized"
    for words in ("pi: ", "is sshd running?", "unlock it, accept"):
        assert words in below(text)
    assert squeezed(states[1].detail) in squeezed(below(text))
    assert f"adb://R58M123ABC: {states[2].detail}" in below(text)
    assert "edgewright devices add NAME adb://R58M123ABC" in below(text)
    assert "connection" not in text.rpartition("┘")[0]


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0.01234, "0.0123"), (0.29, "0.290"), (12.0, "12.0"), (99.96, "100"), (12345.6, "12346")],
)
def test_times(ms: float, text: str) -> None:
    assert time_text(ms) == text


@pytest.mark.parametrize("width", WIDTHS)
def test_checks_are_whole(width: int) -> None:
    """Reasons and remedies are wrapped, not cropped; what is named stays in one piece."""
    coral = load_target("coral-dev-board")
    making = Making()
    for name in ("in", "mid", "out"):
        making.tensor(name, dtype="int8")
    making.node("X", ["in"], ["mid"], macs=10)
    making.node("X", ["mid"], ["out"], macs=10)
    result = check(model(making.graph(("in",), ("out",))), coral, CheckOptions(ask=False))
    text = " ".join(printed(check_table(result, coral.title), width).split())
    for finding in result.findings:
        assert finding.reason in text
        assert f"-> {finding.remedy}" in text
        assert all(name in text for name in finding.nodes)
    assert "fit Google Coral Dev Board (1 GB): 1 error, 1 warning" in text
    assert all(need.told in text for need in result.needs) and len(result.needs) == 2
    for placement in result.placements:
        assert f"tabled: {placement.judged_for}" in text
    assert "runs none of 2 operators" in text
    assert "nobody says of: X 2x; all of the MACs" in text


def test_names_of_nodes_do_not_fill_the_screen() -> None:
    making = Making()
    making.node("X", ["in"], ["mid"], macs=10)
    making.node("X", ["mid"], ["out"], macs=10)
    graph = making.graph(("in",), ("out",))
    names = ("first/Relu6;second/FusedBatchNormV3;third/Conv2D", f"begin{'/inner' * 20}/end")
    nodes = tuple(replace(node, name=name) for node, name in zip(graph.nodes, names, strict=True))
    coral = load_target("coral-dev-board")
    result = check(model(replace(graph, nodes=nodes)), coral, CheckOptions(ask=False))
    text = " ".join(printed(check_table(result, coral.title), 160).split())
    assert "X 2x (first/Relu6;..., begin/inner" in text and "inner/end)" in text
    assert "Conv2D" not in text
    assert result.findings[0].nodes == names
