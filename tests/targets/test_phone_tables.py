"""What the tables of phones' accelerators say of models that others made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from models import GOLDEN
from third_party import third_party

from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import load_target
from edgewright.targets.place import place
from edgewright.targets.placement import Place, Placement
from edgewright.targets.support_files import support_table

PLACES = get_args(Place)


def placed(model: str, support: str, version: str | None = None) -> Placement:
    own = GOLDEN / f"{model}.tflite"
    path: Path = own if own.exists() else third_party(model)
    table = support_table(support)
    assert table is not None
    return place(inspect_model(path), table, version)


def left(placement: Placement) -> Counter[str]:
    return Counter(node.operator for node in placement.nodes if node.place != "accelerator")


@pytest.mark.parametrize("model", ["lite0-int8", "lite3-int8", "deeplab", "face-back", "emotion"])
def test_the_gpu_delegate_takes_models_whole(model: str) -> None:
    placement = placed(model, "litert-gpu")
    assert not left(placement)
    assert placement.partitions == 1


def test_the_gpu_delegate_leaves_integer_arithmetic_and_what_lies_apart() -> None:
    placement = placed("movenet", "litert-gpu")
    reasons = {n.operator: n.reason or "" for n in placement.nodes if n.place != "accelerator"}
    assert "there is no such operator" in reasons["ARG_MAX"]
    assert "there is no such operator" in reasons["GATHER_ND"]
    assert "type int32" in reasons["FLOOR_DIV"]
    assert any("largest piece" in reason for reason in reasons.values())
    assert placement.partitions == 1, "its default: max_delegated_partitions = 1"
    assert placement.macs("accelerator") > 0.99 * sum(placement.macs(p) for p in PLACES)


def test_the_gpu_delegate_refuses_16_bit_activations_open_dimensions_and_branches() -> None:
    sixteen = placed("targets_conv_int16", "litert-gpu")
    assert left(sixteen).keys() >= {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert left(placed("targets_conv_open", "litert-gpu")) == {"CONV_2D": 1}
    assert "IF" in left(placed("targets_branch", "litert-gpu"))


def test_versions_count() -> None:
    newer = placed("targets_dense_dynamic", "litert-gpu")
    assert "knows up to 9" in (newer.nodes[0].reason or "")
    first = load_target("pixel-8").runtime_for("tflite")
    assert first is not None
    assert not left(placed("lite0-int8", "litert-gpu", first.min_version))


def test_nnapi_has_no_hybrid_depthwise_convolution() -> None:
    assert left(placed("emotion", "litert-nnapi"))["DEPTHWISE_CONV_2D"] == 8
    assert not left(placed("lite0-int8", "litert-nnapi"))


def test_nobody_says_what_google_tensor_takes_but_what_it_does_not() -> None:
    placement = placed("face-sparse", "litert-google-tensor")
    assert placement.count("accelerator") == 0
    places = {node.operator: node.place for node in placement.nodes}
    assert places["DENSIFY"] == "cpu"
    assert places["CONV_2D"] == "unknown"
    assert "last word on the device: Google's Tensor compiler" in placement.notes


def test_npu_compilers_take_whole_models_as_far_as_their_lists_say() -> None:
    for support in ("litert-qualcomm", "litert-neuropilot"):
        assert not left(placed("lite0-int8", support))
        assert "SDK" in placed("lite0-int8", support).notes[0]
    assert placed("emotion", "litert-qualcomm").count("unknown") == 9, "hybrid convolutions"


def test_execution_providers_of_phones_take_no_open_dimensions() -> None:
    for support in ("onnxruntime-nnapi", "onnxruntime-qnn"):
        placement = placed("pitch-onnx", support)
        assert placement.count("accelerator") < 10
        reasons = {n.operator: n.reason or "" for n in placement.nodes if n.place == "cpu"}
        assert "a dimension is known only at run time" in reasons["Conv"]
