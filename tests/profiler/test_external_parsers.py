"""What the tools print is read: recorded output of real ones, and any text at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import UsageError
from edgewright.profiler.external import TOOLS, find_tool
from edgewright.profiler.external.base import (
    Figures,
    NotInThisBuild,
    Order,
    Purpose,
    Said,
    UnreadableOutput,
)
from edgewright.profiler.external.figures import Acceleration
from edgewright.profiler.external.machine import built_for, fits
from edgewright.profiler.job import SAMPLING

TFLITE_TOOLS = ("benchmark_model-2.14.1", "benchmark_model-litert-f674577")
ONNX_TOOLS = ("onnxruntime_perf_test-1.21.0", "onnxruntime_perf_test-1.30.0")
GOLDEN = Path(__file__).parent.parent / "golden" / "runners"


def recorded(tool: str, case: str) -> Said:
    def read(kind: str) -> str:
        path = GOLDEN / tool / f"{case}.{kind}"
        return path.read_text() if path.exists() else ""

    names = {"result.csv": "result.csv", "operators_1.json": "profile.json"}
    files = {name: text for name, kind in names.items() if (text := read(kind))}
    said = Said(read("stdout"), read("stderr"), files)
    assert said.stdout or said.stderr, case
    return said


def order(purpose: Purpose = "measure", accelerator: str | None = None) -> Order:
    return Order(
        purpose=purpose,
        model="/m/model",
        directory="/d",
        threads=2,
        sampling=SAMPLING["quick"],
        accelerator=accelerator,
        inputs=True,
    )


def parse(tool: str, said: Said, **words: str) -> Figures:
    return TOOLS[tool].parse(order(**words), said)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", TFLITE_TOOLS)
def test_benchmark_model_tells_a_summary_and_no_samples(version: str) -> None:
    figures = parse("benchmark_model", recorded(version, "measure"))
    text = recorded(version, "measure").stdout
    average = float(text.partition("Inference (avg): ")[2].split()[0])
    assert figures.latency.mean_ms == pytest.approx(average / 1000)
    assert figures.latency.count >= 128
    assert figures.latency.min_ms is not None and figures.latency.max_ms is not None
    assert figures.latency.min_ms <= figures.latency.mean_ms <= figures.latency.max_ms
    assert figures.latency.std_ms is not None
    assert figures.warm_up is not None and figures.warm_up.count >= 5
    assert figures.first_inference_ms is not None and figures.load_ms is not None
    assert figures.first_inference_ms > figures.latency.mean_ms
    new = version == TFLITE_TOOLS[1]
    assert set(figures.latency.percentiles_ms) == ({"p5", "p50", "p95"} if new else set())
    assert figures.memory_growth_bytes is not None and figures.memory_growth_bytes > 1 << 20
    assert figures.samples_ms is None and "samples_ms" in figures.missing
    assert figures.peak_rss_bytes is None and "peak_rss_bytes" in figures.missing
    assert figures.acceleration is None and figures.operators is None


@pytest.mark.parametrize("version", TFLITE_TOOLS)
def test_benchmark_model_tells_each_operator_of_the_regular_runs(version: str) -> None:
    said = recorded(version, "operators")
    figures = parse("benchmark_model", said, purpose="operators")
    profile = figures.operators
    assert profile is not None
    # Neither AllocateTensors of the initialization nor the second table, which is sorted by time.
    assert [o.type for o in profile.operators] == [
        "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "MEAN", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert profile.operators[0].name == "[Relu;Conv2D]:0"
    assert [(p.provider, p.nodes) for p in profile.providers] == [("built-in kernels", 5)]
    assert sum(o.share or 0 for o in profile.operators) == pytest.approx(1)
    # The profiler's buffer does not always hold all of them.
    assert 128 <= profile.inferences <= figures.latency.count
    assert figures.peak_rss_bytes is not None and figures.peak_rss_bytes > 1 << 20


@pytest.mark.parametrize("version", TFLITE_TOOLS)
def test_a_single_inference_without_warm_up_has_no_first_and_no_spread(version: str) -> None:
    figures = parse("benchmark_model", recorded(version, "one-run"))
    assert figures.latency.count == 1
    assert figures.latency.min_ms == figures.latency.mean_ms == figures.latency.max_ms
    # The tool prints "First inference: 0": there was none.
    assert figures.warm_up is None and figures.first_inference_ms is None


@pytest.mark.parametrize("version", TFLITE_TOOLS)
def test_an_accelerator_that_the_build_has_not_is_no_result(version: str) -> None:
    said = recorded(version, "gpu")
    with pytest.raises(NotInThisBuild, match="--use_gpu=true"):
        parse("benchmark_model", said, accelerator="gpu")
    # The same run is one without: its user asked for nothing, and a note tells what was ignored.
    assert parse("benchmark_model", said).notes == ("benchmark_model did not know --use_gpu=true",)


@pytest.mark.parametrize("version", TFLITE_TOOLS)
def test_what_benchmark_model_complains_of_is_told(version: str) -> None:
    told = TOOLS["benchmark_model"].complaint(recorded(version, "no-model"))
    assert told == "The model is not a valid Flatbuffer buffer"


@pytest.mark.parametrize("version", ONNX_TOOLS)
def test_onnxruntime_perf_test_tells_every_inference(version: str) -> None:
    said = recorded(version, "measure")
    figures = parse("onnxruntime_perf_test", said)
    rows = said.files["result.csv"].splitlines()
    assert figures.samples_ms == pytest.approx([1000 * float(row.split(",")[1]) for row in rows])
    assert figures.latency.count == len(rows) == 30
    average = said.stdout.partition("Average inference time cost")[2]
    told = float(average.partition(": ")[2].split()[0])
    assert figures.latency.mean_ms == pytest.approx(told, rel=1e-4)
    assert figures.load_ms is not None and figures.load_ms > 1
    assert figures.peak_rss_bytes is not None and figures.peak_rss_bytes > 1 << 20
    # Recorded: "First inference time cost: 0 ms". No inference takes no time.
    assert figures.first_inference_ms is None and list(figures.missing) == ["first_inference_ms"]


@pytest.mark.parametrize("version", ONNX_TOOLS)
def test_times_that_are_not_those_of_the_whole_are_no_samples(version: str) -> None:
    said = recorded(version, "measure")
    rows = [row.split(",") for row in said.files["result.csv"].splitlines()]
    handed = "\n".join(",".join((r[0], str(float(r[1]) / 2), *r[2:])) for r in rows)
    figures = parse("onnxruntime_perf_test", Said(said.stdout, "", {"result.csv": handed}))
    assert figures.samples_ms is None and "handing the work over" in figures.missing["samples_ms"]
    assert figures.latency.count == 30 and figures.latency.min_ms is None


@pytest.mark.parametrize("version", ONNX_TOOLS)
def test_without_its_result_file_percentiles_are_as_reported(version: str) -> None:
    figures = parse("onnxruntime_perf_test", recorded(version, "statistics"))
    assert (
        figures.samples_ms is None
        and figures.missing["samples_ms"] == "it wrote no result file that can be read"
    )
    assert figures.latency.count == 30
    assert set(figures.latency.percentiles_ms) == {"p50", "p90", "p95", "p99"}
    assert figures.latency.min_ms is not None
    assert figures.latency.min_ms <= figures.latency.percentiles_ms["p50"]


@pytest.mark.parametrize("version", ONNX_TOOLS)
def test_a_cut_result_file_is_no_samples(version: str) -> None:
    said = recorded(version, "measure")
    cut = said.files["result.csv"][:-40]
    figures = parse("onnxruntime_perf_test", Said(said.stdout, "", {"result.csv": cut}))
    assert figures.samples_ms is None and figures.latency.count == 30
    assert "samples_ms" in figures.missing


@pytest.mark.parametrize("version", ONNX_TOOLS)
def test_onnxruntimes_profile_tells_operators_and_proves_the_provider(version: str) -> None:
    said = recorded(version, "operators")
    figures = parse("onnxruntime_perf_test", said, purpose="operators", accelerator="cpu")
    profile = figures.operators
    assert profile is not None and profile.inferences == 3
    assert {"Conv", "Gemm", "Flatten", "GlobalAveragePool"} <= {o.type for o in profile.operators}
    assert all(operator.count == 1 for operator in profile.operators)
    assert figures.acceleration is not None
    assert figures.acceleration.status == "whole"
    assert figures.acceleration.delegate == "CPUExecutionProvider"
    events = json.loads(said.files["operators_1.json"])
    kernels = [e for e in events if e["name"].endswith("_kernel_time")]
    assert len(kernels) == 4 * len(profile.operators)  # the first inference is left out


@pytest.mark.parametrize("version", ONNX_TOOLS)
def test_a_provider_that_took_nothing_is_told(version: str) -> None:
    said = recorded(version, "operators")
    found = parse("onnxruntime_perf_test", said, purpose="operators", accelerator="nnapi")
    assert found.acceleration is not None and found.acceleration.status == "none"
    assert "CPUExecutionProvider" in found.acceleration.evidence[-1]


@pytest.mark.parametrize(
    ("version", "case", "words"),
    [
        *((version, "nnapi", "NNAPI is not supported in this build") for version in ONNX_TOOLS),
        *((version, "no-data", "there is no test data for model plain") for version in ONNX_TOOLS),
        *((version, "no-model", "Failed to load model from") for version in ONNX_TOOLS),
        (ONNX_TOOLS[0], "usage", "invalid option -- 'Q'"),
        (ONNX_TOOLS[1], "usage", "Unknown command line flag 'frobnicate'"),
    ],
)
def test_what_onnxruntime_perf_test_complains_of_is_told(
    version: str, case: str, words: str
) -> None:
    said = recorded(version, case)
    told = TOOLS["onnxruntime_perf_test"].complaint(said)
    assert told is not None and words in told and ".cc:" not in told


# Lines that need a phone: their words are those of TensorFlow Lite's source (core/subgraph.cc,
# tools/benchmark/benchmark_tflite_model.cc), LiteRT's and ONNX Runtime's (providers/*/
# *_execution_provider.cc); the numbers are made up.
GPU = "Replacing {} out of {} node(s) with delegate (TfLiteGpuDelegateV2) node, yielding {} partitions for the whole graph."  # noqa: E501
LITERT = "INFO: [subgraph.cc:604] Replacing {} out of {} node(s) with delegate (LITERT_CL) node, yielding {} partitions for subgraph 0 (main)."  # noqa: E501
XNNPACK = "Replacing {} out of {} node(s) with delegate (TfLiteXNNPackDelegate) node, yielding {} partitions for subgraph 0."  # noqa: E501
APPLIED = "Explicitly applied {} delegate, and the model graph will be {} executed by the delegate"
NOT_APPLIED = "Though {} delegate is explicitly applied, the model graph will not be executed by the delegate."  # noqa: E501
LOGCAT = "05-30 15:16:44.857  3380  3380 I tflite  : "


@pytest.mark.parametrize(
    ("accelerator", "lines", "expected"),
    [
        ("gpu", [GPU.format(31, 31, 1), APPLIED.format("GPU", "completely") + "."],
         ("whole", "TfLiteGpuDelegateV2", 31, 31, 1)),
        ("gpu", [LOGCAT + APPLIED.format("GPU", "completely") + "."],
         ("whole", "GPU", None, None, None)),
        ("gpu", ["VERBOSE: " + GPU.format(20, 31, 3), APPLIED.format("GPU", "partially")
                 + " w/ 2 delegate kernels.", XNNPACK.format(11, 13, 4)],
         ("partial", "TfLiteGpuDelegateV2", 20, 31, 3)),
        ("nnapi", ["INFO: " + APPLIED.format("NNAPI", "partially") + " w/ 44 delegate kernels."],
         ("partial", "NNAPI", None, None, 44)),
        ("nnapi", [NOT_APPLIED.format("NNAPI"), XNNPACK.format(31, 31, 1)],
         ("none", None, None, None, None)),
        ("gpu", ["WARN: GPU acceleration is unsupported on this platform."],
         ("none", None, None, None, None)),
        ("gpu", [XNNPACK.format(31, 31, 1)], ("unproven", None, None, None, None)),
        ("gpu", [GPU.format(0, 31, 0)], ("none", "TfLiteGpuDelegateV2", 0, 31, 0)),
        ("gpu", [LITERT.format(366, 366, 1)], ("whole", "LITERT_CL", 366, 366, 1)),
        ("cpu", [XNNPACK.format(31, 31, 1)], ("none", None, None, None, None)),
        ("cpu", [], ("whole", None, None, None, None)),
        ("gpu", [GPU.format(32, 31, 1)], ("unproven", "TfLiteGpuDelegateV2", None, None, None)),
    ],
)  # fmt: skip
def test_delegates_prove_what_ran_on_them(
    accelerator: str, lines: list[str], expected: tuple[object, ...]
) -> None:
    summary = recorded("benchmark_model-2.14.1", "measure").stdout
    said = Said(summary, "\n".join(lines))
    found = parse("benchmark_model", said, accelerator=accelerator).acceleration
    assert found is not None
    assert (
        found.status, found.delegate, found.delegated_nodes, found.total_nodes, found.partitions,
    ) == expected  # fmt: skip


def test_a_delegate_is_an_operator_of_its_own_name() -> None:
    row = "\t{:>40}\t    0.008\t    {:.3f}\t 48.148%\t 48.148%\t     0.000\t        1\t{}"
    said = recorded("benchmark_model-2.14.1", "operators")
    name = "[Relu;Conv2D]:0"
    line = next(line for line in said.stdout.splitlines() if line.endswith(name))
    delegated = said.stdout.replace(line, row.format("TfLiteGpuDelegateV2", 3, name), 1)
    profile = parse("benchmark_model", Said(delegated, ""), purpose="operators").operators
    assert profile is not None
    assert profile.providers[0].provider == "TfLiteGpuDelegateV2"
    assert profile.providers[0].nodes == 1 and (profile.providers[0].share or 0) > 0.9


NNAPI = (
    "NnapiExecutionProvider::GetCapability, number of partitions supported by NNAPI: 2 "
    "number of nodes in the graph: 66 number of nodes supported by NNAPI: 60"
)


def test_a_providers_capability_is_told_beside_what_ran() -> None:
    said = recorded("onnxruntime_perf_test-1.21.0", "operators")
    events = json.loads(said.files["operators_1.json"])
    for event in events:
        if event["args"].get("op_name") == "Conv":
            event["args"]["provider"] = "NnapiExecutionProvider"
    changed = Said(said.stdout, NNAPI, {**said.files, "operators_1.json": json.dumps(events)})
    found = parse("onnxruntime_perf_test", changed, purpose="operators", accelerator="nnapi")
    assert found.acceleration == Acceleration(
        requested="nnapi",
        status="partial",
        delegate="NnapiExecutionProvider",
        delegated_nodes=60,
        total_nodes=66,
        partitions=2,
        evidence=found.acceleration.evidence if found.acceleration else (),
    )


# LiteRT's benchmark_model: the words of litert/tools/benchmark_litert_model.h, made-up numbers.
LITERT_TABLE = """
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:94] Model initialization: 23.50 ms
INFO: [benchmark_litert_model.h:96] Warmup (first):       8.25 ms
INFO: [benchmark_litert_model.h:98] Warmup (avg):         7.50 ms (4 runs)
INFO: [benchmark_litert_model.h:100] Inference (avg):      7.00 ms (150 runs)
INFO: [benchmark_litert_model.h:104] Inference (min):      6.50 ms
INFO: [benchmark_litert_model.h:106] Inference (max):      9.00 ms
INFO: [benchmark_litert_model.h:108] Inference (std):      0.25
INFO: [benchmark_litert_model.h:115] Throughput:           20.00 MB/s
INFO: [benchmark_litert_model.h:124]\x20
Memory Usage:
INFO: [benchmark_litert_model.h:126] Init footprint:       4.00 MB
INFO: [benchmark_litert_model.h:128] Overall footprint:    6.00 MB
INFO: [benchmark_litert_model.h:133] Peak memory:          64.00 MB
"""


def test_litert_has_a_table() -> None:
    figures = parse("benchmark_model", Said(LITERT_TABLE, ""))
    assert (figures.latency.count, figures.latency.mean_ms) == (150, 7.0)
    assert (figures.latency.min_ms, figures.latency.max_ms) == (6.5, 9.0)
    assert figures.latency.std_ms == 0.25
    assert figures.warm_up is not None and figures.warm_up.count == 4
    assert (figures.load_ms, figures.first_inference_ms) == (23.5, 8.25)
    assert (figures.memory_growth_bytes, figures.peak_rss_bytes) == (6 << 20, 64 << 20)


def test_litert_has_the_same_table_in_python_with_percentiles() -> None:
    figures = parse("benchmark_model", recorded("litert-2.3.0-python", "measure"))
    assert (figures.latency.count, figures.latency.mean_ms) == (128, 0.01)
    # It rounds to hundredths of a millisecond: what is nothing then is no figure.
    assert figures.latency.min_ms is None and figures.latency.max_ms == 0.41
    assert figures.latency.percentiles_ms == {}
    assert figures.warm_up is not None and figures.warm_up.count == 5
    assert (figures.load_ms, figures.first_inference_ms) == (2.83, 1.27)


def test_a_model_too_fast_for_the_table_is_refused() -> None:
    with pytest.raises(UnreadableOutput, match="too fast"):
        parse("benchmark_model", Said(LITERT_TABLE.replace("  7.00 ms (150", "  0.00 ms (150"), ""))


def test_large_numbers_are_read() -> None:
    line = "count=50 first=9 curr=9 min=8 max=2.5e+06 avg=1.25e+06 std=4 p5=8 median=9 p95=12"
    text = f"INFO: {line}\nInference timings in us: Init: 1, Inference (avg): 1.25e+06\n"
    latency = parse("benchmark_model", Said(text, "")).latency
    assert (latency.count, latency.mean_ms, latency.max_ms) == (50, 1250.0, 2500.0)
    assert latency.percentiles_ms == {"p5": 0.008, "p50": 0.009, "p95": 0.012}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("text", ["", "hello\n", "count=0\n", "\x7fELF\x02\x00\n"])
def test_what_is_no_output_is_refused(tool: str, text: str) -> None:
    with pytest.raises(UnreadableOutput):
        parse(tool, Said(text, text))


def test_output_that_ends_early_is_refused() -> None:
    whole = recorded("benchmark_model-2.14.1", "measure").stdout
    for end in ("Inference timings", "Running benchmark for at least 128"):
        with pytest.raises(UnreadableOutput):
            parse("benchmark_model", Said(whole[: whole.index(end)], ""))


PIECES = [
    *recorded("benchmark_model-2.14.1", "operators").stdout.splitlines(),
    *recorded("benchmark_model-litert-f674577", "one-run").stdout.splitlines(),
    *recorded("onnxruntime_perf_test-1.21.0", "operators").stdout.splitlines(),
    *recorded("onnxruntime_perf_test-1.30.0", "measure").stdout.splitlines(),
    *LITERT_TABLE.splitlines(), GPU.format(1, 2, 3), APPLIED.format("GPU", "partially"), NNAPI,
    "count=9999999999999999999 avg=1e999", "count=1 curr=-5", "P50 Latency: nan s",
    "==== Run Order ====",
]  # fmt: skip
ANY_LINE = st.sampled_from(PIECES) | st.text(max_size=60)
ANY_TEXT = st.lists(
    ANY_LINE.flatmap(
        lambda line: (
            st.just(line) | st.integers(0, len(line)).map(lambda n: line[:n] + line[n:][1:])
        )
    ),
    max_size=12,
).map("\n".join)


@pytest.mark.parametrize("tool", TOOLS)
@settings(max_examples=60, deadline=None)
@given(text=ANY_TEXT, result=ANY_TEXT, profile=ANY_TEXT, data=st.data())
def test_any_text_is_read_or_refused(
    tool: str, text: str, result: str, profile: str, data: st.DataObject
) -> None:
    accelerator = data.draw(st.sampled_from([None, *TOOLS[tool].accelerators]))
    purpose = data.draw(st.sampled_from(["measure", "operators"]))
    said = Said(text, text[::-1], {"result.csv": result, "operators_1.json": profile})
    TOOLS[tool].complaint(said)
    try:
        figures = parse(tool, said, purpose=purpose, accelerator=accelerator)
    except (UnreadableOutput, NotInThisBuild):
        return
    assert figures.latency.count >= 1


EVENT = st.fixed_dictionaries(
    {},
    optional={
        "cat": st.sampled_from(["Node", "Session", 3]),
        "name": st.sampled_from(["model_run", "a_kernel_time", "_kernel_time", None]),
        "ts": st.integers() | st.floats() | st.none(),
        "dur": st.integers() | st.floats() | st.text(max_size=2),
        "args": st.none()
        | st.fixed_dictionaries({"provider": st.sampled_from(["A", "", 7]), "op_name": st.none()}),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, max_size=8) | st.recursive(st.none() | EVENT, st.lists, max_leaves=5))
def test_any_profile_is_read_or_left_out(events: object) -> None:
    said = recorded("onnxruntime_perf_test-1.21.0", "measure")
    files = {**said.files, "operators_1.json": json.dumps(events)}
    figures = parse("onnxruntime_perf_test", Said(said.stdout, "", files), purpose="operators")
    assert figures.operators is None or figures.operators.operators


@pytest.mark.parametrize(
    ("name", "model_format", "accelerator", "words"),
    [
        ("trtexec", "onnx", None, "no runner"),
        ("benchmark_model", "onnx", None, "can't run onnx"),
        ("onnxruntime_perf_test", "tflite", None, "can't run tflite"),
        ("benchmark_model", "tflite", "qnn", "no accelerator 'qnn'"),
        ("onnxruntime_perf_test", "onnx", "gpu", "no accelerator 'gpu'"),
    ],
)
def test_what_a_tool_cannot_do_is_refused(
    name: str, model_format: str, accelerator: str | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        find_tool(name, model_format, accelerator)
    assert refused.value.hint is not None


def test_the_clockless_tool_is_asked_for_as_many_as_the_time_takes() -> None:
    quick = order()
    assert quick.times == 128

    def with_estimate(ms: float) -> int:
        return Order(**{**vars(quick), "estimate_ms": ms}).times

    assert with_estimate(1) == 1000  # a second at least
    assert with_estimate(20) == 128
    assert with_estimate(200) == 50  # ten seconds are enough
    assert with_estimate(5000) == 20  # and so few in no case
    assert with_estimate(1e-6) == SAMPLING["quick"].max_queries
    release = Order(**{**vars(quick), "sampling": SAMPLING["release"], "estimate_ms": 10})
    assert release.times == 6000
    assert Order(**{**vars(release), "estimate_ms": 1e-3}).times == 100_000, "no more are asked for"


def test_commands_are_those_of_the_tools() -> None:
    gpu = TOOLS["benchmark_model"].command(order(accelerator="gpu"))
    assert {"--graph=/m/model", "--num_threads=2", "--use_gpu=true", "--num_runs=128"} <= set(gpu)
    assert not any("profiling" in word for word in gpu)
    profiled = TOOLS["benchmark_model"].command(order("operators"))
    assert "--enable_op_profiling=true" in profiled and "--num_runs=20" in profiled
    nnapi = TOOLS["onnxruntime_perf_test"].command(order(accelerator="nnapi"))
    assert nnapi[nnapi.index("-e") + 1] == "nnapi" and nnapi[nnapi.index("-x") + 1] == "2"
    assert nnapi[-2:] == ["/m/model", "/d/result.csv"] and "-p" not in nnapi and "-I" not in nnapi


def test_headers_of_programs_tell_their_machine() -> None:
    def header(path: str) -> str:
        return " ".join(f"{byte:02x}" for byte in Path(path).read_bytes()[:20])

    assert built_for(header("/proc/self/exe")) is not None
    assert built_for("23 21 2f 62 69 6e 2f 73 68") is None and built_for("od: no such file") is None
    arm = bytearray(Path("/proc/self/exe").read_bytes()[:20])
    arm[4:6], arm[18:20] = b"\x02\x01", (183).to_bytes(2, "little")
    assert built_for(arm.hex(" ")) == "aarch64"
    assert fits("aarch64", "aarch64") and not fits("aarch64", "x86_64")
    assert fits("armv7l", "aarch64") and fits("armv7l", "armv8l") and not fits("aarch64", "armv7l")
