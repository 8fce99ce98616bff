"""Records a profile of the ONNX Runtime at hand: onnxruntime_profiles/VERSION.json.

    python tests/golden/make_profiles.py

The model has every kind of node that the parser tells apart: one that the runtime replaces, one
without a name, and a branch. Run it in an environment with the version wanted and onnx.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
INFERENCES = 5


def branch(name: str, kind: str) -> GraphProto:
    nodes = [
        helper.make_node("MatMul", ["a", "w"], [f"{name}_m"], name=f"{name}_matmul"),
        helper.make_node(kind, [f"{name}_m"], [f"{name}_y"], name=f"{name}_end"),
    ]
    output = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [16, 16])
    return helper.make_graph(nodes, name, [], [output])


def model() -> ModelProto:
    generator = np.random.default_rng(0)
    arrays = {
        "w": generator.normal(size=(16, 16)).astype(np.float32),
        "k": generator.normal(size=(1, 1, 3, 3)).astype(np.float32),
        "s": np.array([16, 16], np.int64),
        "z": np.array(-1e9, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c", "s"], ["a"]),
        helper.make_node("ReduceSum", ["a"], ["t"], name="sum", keepdims=0),
        helper.make_node("Greater", ["t", "z"], ["g"], name="greater"),
        helper.make_node(
            "If",
            ["g"],
            ["y"],
            name="choose",
            then_branch=branch("then", "Sigmoid"),
            else_branch=branch("else", "Tanh"),
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "branching",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [16, 16])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = f"{scratch}/profile"
        session = onnxruntime.InferenceSession(
            model().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for _ in range(INFERENCES):
            session.run(None, {"x": np.ones((1, 1, 16, 16), np.float32)})
        path = HERE / "onnxruntime_profiles" / f"{onnxruntime.__version__}.json"
        shutil.copyfile(session.end_profiling(), path)


if __name__ == "__main__":
    main()
