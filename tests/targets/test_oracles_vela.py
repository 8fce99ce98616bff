"""What Vela says of models, against what its command line prints."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from converting import need_extra
from models import FASHION, GOLDEN
from third_party import third_party

from edgewright.targets.check import CheckOptions, check
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import load_target
from edgewright.targets.oracles import ORACLES, CannotSay
from edgewright.targets.placement import Placement
from edgewright.targets.profile import Accelerator

INT8 = GOLDEN / "targets_conv_int8.tflite"


@pytest.fixture(autouse=True)
def _vela() -> None:
    need_extra("ethos-u", ["ethosu"])


def ethos(**options: str) -> Accelerator:
    return Accelerator(
        id="npu",
        name="Ethos-U",
        kind="npu",
        precisions=("int8",),
        compiler_options=options,
        source="test",
    )


def asked(path: Path, config: str = "ethos-u55-128", **options: str) -> Placement:
    accelerator = ethos(accelerator_config=config, **options)
    return ORACLES["vela"](path, inspect_model(path), accelerator)


def test_an_int8_model_is_on_the_npu_as_a_whole() -> None:
    placement = asked(INT8, "ethos-u65-256")
    assert {node.place for node in placement.nodes} == {"accelerator"}
    assert (placement.support, placement.partitions) == ("ethos-u65", 1)
    assert placement.said_by.endswith("for ethos-u65-256")
    (note,) = placement.notes
    assert re.match(r"Vela estimates \d+ cycles, .* KiB of SRAM, .*: not measured$", note)


def test_one_operator_that_it_does_not_support(tmp_path: Path) -> None:
    """The output, dequantized to float32."""
    model: Any = flatbuffer_utils.read_model(str(INT8))
    graph = model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 2
    model.operatorCodes.append(code)
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = b"reals", graph.tensors[graph.outputs[0]].shape, 0
    graph.tensors.append(tensor)
    node = schema.OperatorT()
    node.opcodeIndex = len(model.operatorCodes) - 1
    node.inputs, node.outputs = [graph.outputs[0]], [len(graph.tensors) - 1]
    graph.operators.append(node)
    graph.outputs = node.outputs
    model.signatureDefs = []
    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))

    placement = asked(path)

    *others, last = placement.nodes
    assert {node.place for node in others} == {"accelerator"}
    assert (last.operator, last.name, last.place) == ("DEQUANTIZE", "reals", "cpu")
    assert last.reason == "Unsupported opType"
    assert placement.partitions == 1


@pytest.mark.parametrize("name", ["wakeword", "targets_conv_int16", "targets_branch"])
def test_the_cpu_has_what_the_compiled_file_still_holds(name: str, tmp_path: Path) -> None:
    golden = GOLDEN / f"{name}.tflite"
    path = golden if golden.exists() else third_party(name)
    program = "from ethosu.vela.vela import main; main()"
    options = ["--accelerator-config", "ethos-u55-128", "--show-cpu-operations"]
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), *options, "--output-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    compiled = inspect_model(tmp_path / f"{path.stem}_vela.tflite")
    held = {operator.name: operator.count for operator in compiled.operators}
    pieces = held.pop("custom::ethos-u", 0)

    placement = asked(path)

    assert Counter(n.operator for n in placement.nodes if n.place == "cpu") == held
    assert placement.count("unknown") == 0
    assert placement.partitions == pieces == (name != "targets_branch")
    assert all(node.reason for node in placement.nodes if node.place == "cpu")
    if name == "targets_conv_int16":
        # Of a model with one graph, the command line lists them too.
        said = re.findall(r"^   CPU: \w+ = (.*) \(outputs", done.stdout, re.MULTILINE)
        assert said == [node.name for node in placement.nodes if node.place == "cpu"]


def test_what_it_has_to_be_told() -> None:
    facts = inspect_model(INT8)
    with pytest.raises(CannotSay, match="which Ethos-U") as told:
        ORACLES["vela"](INT8, facts, None)
    assert "compiler_options.accelerator_config" in str(told.value.hint)
    with pytest.raises(CannotSay, match="not told 'output_dir'"):
        asked(INT8, output_dir="/elsewhere")
    with pytest.raises(CannotSay, match=r"invalid choice: .ethos-u99-1"):
        asked(INT8, "ethos-u99-1")
    with pytest.raises(CannotSay, match="None_Such"):
        asked(INT8, memory_mode="None_Such")


def test_files_that_it_can_not_read(tmp_path: Path) -> None:
    onnx = FASHION / "model.onnx"
    with pytest.raises(CannotSay, match="reads TFLite"):
        asked(onnx)
    damaged = tmp_path / "model.tflite"
    damaged.write_bytes(INT8.read_bytes()[:900])
    with pytest.raises(CannotSay, match="Vela"):
        ORACLES["vela"](damaged, inspect_model(INT8), ethos(accelerator_config="ethos-u55-128"))


def test_a_compiled_model_needs_its_scratch_memory(tmp_path: Path) -> None:
    program = "from ethosu.vela.vela import main; main()"
    options = ["--accelerator-config", "ethos-u55-128", "--output-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-c", program, str(INT8), *options], check=True)
    facts = inspect_model(tmp_path / f"{INT8.stem}_vela.tflite")
    (scratch,) = [t for t in facts.graphs[0].tensors if t.name == "scratch"]
    assert scratch.shape is not None and facts.peak_activation_bytes == scratch.shape[0] > 192 + 5
    (finding,) = check(facts, load_target("raspberry-pi-5"), CheckOptions(ask=False)).findings
    assert finding.remedy == "use the model that vela compiled this one from"
