"""Emulated saturation: against the definition, and against ONNX Runtime on a CPU that does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import fashion_part
from onnx import TensorProto, helper, numpy_helper

from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.exporters.request import DataOptions
from edgewright.exporters.saturation.drop import SaturationDrop, saturation_drop
from edgewright.exporters.saturation.emulator import SaturationEmulator
from edgewright.exporters.saturation.finding import has_saturation, with_drop
from edgewright.exporters.saturation.products import columns_of, lost, product
from edgewright.targets.check import check
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import load_target
from edgewright.targets.probe import probe_host
from edgewright.targets.profile import CoreCluster, Cpu

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion-mnist"
HOST = probe_host().cpu
AVX2 = Cpu(
    soc="x",
    architecture="x86_64",
    clusters=(CoreCluster(core="x", count=1, features=("avx", "avx2", "fma")),),
    source="test",
)
SATURATES = HOST.architecture == "x86_64" and not HOST.features & {"avx512_vnni", "avx_vnni"}
needs_avx2 = pytest.mark.skipif(
    not SATURATES or "avx2" not in HOST.features, reason="this CPU does not saturate: it has VNNI"
)


def session(model: onnx.ModelProto | Path, *, exact: bool = False) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1" if exact else "0")
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def slowly(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The instruction's definition, number by number."""
    sums = np.zeros((len(a), b.shape[1]), dtype=np.int64)
    for row in range(len(a)):
        for column in range(b.shape[1]):
            for k in range(0, a.shape[1], 2):
                two = sum(
                    int(a[row, i]) * int(b[i, column]) for i in range(k, min(k + 2, a.shape[1]))
                )
                sums[row, column] += max(-32768, min(32767, two))
    return sums


sizes = st.integers(1, 9)


@given(sizes, sizes, sizes, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_products_are_those_of_the_instruction(
    rows: int, inner: int, columns: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    a = random.choice(np.array([0, 1, 128, 254, 255], np.uint8), (rows, inner))
    b = random.choice(np.array([-128, -127, -64, 0, 63, 64, 127], np.int8), (inner, columns))
    assert (product(a, b) == a.astype(int) @ b.astype(int)).all()
    assert (product(a, b) - lost(a, b) == slowly(a, b)).all()


def test_narrow_weights_never_saturate() -> None:
    a = np.full((3, 8), 255, np.uint8)
    assert not lost(a, np.full((8, 2), 64, np.int8)).any()
    assert lost(a, np.full((8, 2), 65, np.int8)).any()


def test_patches_have_channels_innermost() -> None:
    x = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    patches = columns_of(x, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0), 9)
    assert patches.shape == (4, 8)
    assert patches[0].tolist() == [0, 9, 1, 10, 3, 12, 4, 13]
    padded = columns_of(x, (1, 1), (2, 2), (1, 1), (1, 1, 0, 0), 7)
    assert padded.tolist() == [[7, 7], [7, 7], [7, 7], [4, 13]]


def conv(
    path: Path, channels: int, outputs: int, kernel: int, group: int, padding: int, dilation: int
) -> Path:
    random = np.random.default_rng(kernel + channels)
    weights = random.integers(-127, 128, (outputs, channels // group, kernel, kernel))
    constants = {
        "xs": np.float32(0.02),
        "xz": np.uint8(100),
        "w": weights.astype(np.int8),
        "ws": (random.random(outputs) + 1).astype(np.float32) * np.float32(0.003),
        "wz": np.zeros(outputs, np.int8),
        "ys": np.float32(0.7),
        "yz": np.uint8(120),
        "b": random.integers(-5000, 5000, outputs).astype(np.int32),
    }
    node = helper.make_node(
        "QLinearConv",
        ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"],
        ["y"],
        group=group,
        pads=[padding] * 4,
        dilations=[dilation] * 2,
        strides=[1 + padding] * 2,
    )
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, channels, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@needs_avx2
@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "group", "padding", "dilation"),
    [
        (8, 16, 1, 1, 0, 1),
        (3, 16, 3, 1, 1, 1),
        (5, 7, 3, 1, 0, 1),
        (12, 20, 3, 1, 2, 2),
        (16, 16, 3, 16, 1, 1),
        (16, 32, 3, 16, 1, 1),
        (6, 6, 3, 2, 0, 1),
    ],
)
def test_convolutions_are_those_of_this_cpu(
    tmp_path: Path,
    channels: int,
    outputs: int,
    kernel: int,
    group: int,
    padding: int,
    dilation: int,
) -> None:
    path = conv(tmp_path / "c.onnx", channels, outputs, kernel, group, padding, dilation)
    x = np.random.default_rng(1).integers(0, 256, (1, channels, 9, 9)).astype(np.uint8)
    emulator = SaturationEmulator(path)
    assert emulator.products == 1
    [here] = session(path).run(None, {"x": x})
    [emulated] = emulator.run([x], saturating=True)
    assert (here == emulated).all()
    [without] = emulator.run([x], saturating=False)
    depthwise = group == channels == outputs
    assert (without == emulated).all() == depthwise


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from edgewright.exporters.request import ExportRequest
    from edgewright.exporters.single import apply_recipe
    from edgewright.exporters.source import parse_source

    folder = tmp_path_factory.mktemp("saturation")
    data = DataOptions(calibration=str(fashion_part(folder, "calibration", 32)), scale=1 / 255)
    made = {}
    for name in ("int8-u8s8", "int8-u8s8-7bit"):
        request = ExportRequest(
            source=parse_source(str(EXAMPLE / "model.onnx")),
            targets=(),
            directory=folder,
            formats=("onnx",),
            recipes=(RECIPES[name].recipe,),
            data=data,
        )
        made[name] = folder / f"{name}.onnx"
        apply_recipe(request, made[name], lambda *_: None)
    return made


def samples(count: int) -> list[np.ndarray]:
    with np.load(EXAMPLE / "evaluation.npz") as archive:
        images = archive["image"][:count]
    return [image.reshape(1, 1, 28, 28).astype(np.float32) / np.float32(255) for image in images]


def test_a_network_without_saturation_is_that_of_exact_kernels(quantized: dict[str, Path]) -> None:
    path = quantized["int8-u8s8"]
    emulator, exact = SaturationEmulator(path), session(path, exact=True)
    assert emulator.products == 7
    for x in samples(2):
        [given] = emulator.run([x], saturating=False)
        assert np.array_equal(given, exact.run(None, {exact.get_inputs()[0].name: x})[0])


@needs_avx2
def test_a_network_with_saturation_is_that_of_this_cpu(quantized: dict[str, Path]) -> None:
    path = quantized["int8-u8s8"]
    emulator, here = SaturationEmulator(path), session(path)
    for x in samples(2):
        [given] = emulator.run([x], saturating=True)
        assert np.array_equal(given, here.run(None, {here.get_inputs()[0].name: x})[0])


def test_the_drop_is_told_on_the_users_data(quantized: dict[str, Path], tmp_path: Path) -> None:
    data = DataOptions(calibration=str(fashion_part(tmp_path, "evaluation", 12)), scale=1 / 255)
    done: list[tuple[int, int]] = []
    wide = saturation_drop(quantized["int8-u8s8"], data, lambda _, n, of: done.append((n, of)))
    assert done[-1] == (12, 12)
    assert wide.samples == 12 and wide.products == 7
    assert wide.sqnr_db is not None and wide.sqnr_db < 60
    assert wide.top1 is not None and 0.5 < wide.top1[0] <= 1
    assert "emulated on 12 samples" in wide.describe()
    narrow = saturation_drop(quantized["int8-u8s8-7bit"], data, lambda *_: None)
    assert narrow.sqnr_db is None and narrow.agreement == 1
    assert "no sum saturates" in narrow.describe()


def test_a_float_model_has_nothing_to_saturate() -> None:
    data = DataOptions(calibration=str(EXAMPLE / "calibration.npz"), scale=1 / 255)
    found = saturation_drop(EXAMPLE / "model.onnx", data, lambda *_: None)
    assert found.products == 0 and "no product" in found.describe()


def test_a_check_tells_the_drop_of_the_users_own_data(quantized: dict[str, Path]) -> None:
    profile = load_target("host").model_copy(update={"cpu": AVX2})
    result = check(inspect_model(quantized["int8-u8s8"]), profile)
    assert has_saturation(result)
    drop = SaturationDrop(7, 40, "pictures", 0.9, 12.34, (0.9, 0.8))
    told = [f for f in with_drop(result, drop).findings if f.code == "saturating-weights"]
    assert told and all(finding.severity == "warning" for finding in told)
    assert "SQNR 12.3 dB, top-1 90.0% becomes 80.0%" in told[0].reason
    harmless = SaturationDrop(7, 40, "pictures", 1.0, None, None)
    [remark, *_] = [
        f for f in with_drop(result, harmless).findings if f.code == "saturating-weights"
    ]
    assert remark.severity == "info"
    assert not has_saturation(check(inspect_model(quantized["int8-u8s8-7bit"]), profile))
