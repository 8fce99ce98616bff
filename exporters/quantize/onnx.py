"""Applies a recipe to an ONNX artifact, for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from ...errors import UsageError
from . import onnx_layers, onnx_model, onnx_operators
from .onnx_dynamic import quantize_dynamic
from .onnx_float16 import to_float16
from .onnx_graph import Graph
from .onnx_lstm import is_quantizable, quantize_lstms
from .onnx_static import quantize_static
from .onnx_units import Unit, find_units
from .onnx_weights import WeightStore
from .onnx_weights_only import fits, quantize_weights_only
from .recipe import Recipe, Scheme
from .statistics import Statistics

layers = onnx_layers.layers
operators = onnx_operators.operators
output_names = onnx_operators.output_names
with_weights = onnx_layers.with_weights

Arrays = Mapping[str, npt.NDArray[np.generic]]


def apply(
    model_path: Path, recipe: Recipe, statistics: Statistics | None, destination: Path
) -> None:
    """Writes the quantized model.

    Rules see the operators of the graph that `tap` runs. The scheme of a convolution or matrix
    product is also that of the bias and the activation behind it.

    Args:
        statistics: of the activations that `tap` gives; for recipes that need calibration.

    Raises:
        UsageError: the recipe names no operator of the model, or asks for what ONNX has not; or the
            statistics lack a tensor.
    """
    for scheme in recipe.schemes:
        reason = unsupported(scheme)
        if reason is not None:
            raise UsageError(f"recipe {recipe.name}: {reason}")
    graph = Graph(onnx_model.prepare(model_path))
    chosen = _chosen(graph, recipe)
    split = {name for name, s in chosen.items() if s.activations in ("dynamic", "float32")}
    onnx_model.split_gemm(graph, {u.node.name for u in find_units(graph)} & split)
    units = {unit.node.name: unit for unit in find_units(graph)}
    store = WeightStore(graph, statistics)

    weights_only = [
        (unit, chosen[name])
        for name, unit in units.items()
        if name in chosen and _keeps_float_activations(unit, chosen[name], graph)
    ]
    dynamic = {
        name: s for name, s in chosen.items() if s.activations == "dynamic" and not s.block_size
    }
    lstms = {n.name for n in graph.nodes if n.name in dynamic and is_quantizable(graph, n)}
    static = {name: s for name, s in chosen.items() if s.is_static}
    half = {name for name, s in chosen.items() if s.weights == "float16"}

    quantize_lstms(graph, {name: dynamic[name] for name in lstms})
    quantize_dynamic(
        graph,
        [(u, dynamic[n]) for n, u in units.items() if n in dynamic and not u.is_embedding],
        store,
    )
    quantize_weights_only(graph, weights_only, store)
    if static:
        assert statistics is not None
        layered = {name: unit for name, unit in units.items() if not unit.is_embedding}
        # Embeddings have become look-ups of integers already.
        static = {name: s for name, s in static.items() if name in layered or name not in units}
        quantize_static(graph, static, layered, statistics, store)
    to_float16(graph, half)
    model = graph.finish()
    onnx_model.tie_transposed(model)
    onnx.save(model, str(destination))


def tap(model_path: Path) -> Callable[[Arrays], dict[str, npt.NDArray[np.generic]]]:
    """A function that runs the float model and gives inputs and float activations by name.

    What lies inside of a layer, between a convolution and its activation say, is not among them.
    """
    import onnxruntime as ort

    model = onnx_model.prepare(model_path)
    units = find_units(Graph(model))
    inside = {
        str(node.output[0])
        for unit in units
        for node in (unit.node, *unit.followers)
        if node.output[0] != unit.output
    }
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Optimizations may stay on: what is an output of the graph is never fused away.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(
        onnx_model.with_outputs(model, inside).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    kinds = {output.name: output.type for output in session.get_outputs()}
    # In the order of the graph, so that of tensors that go wrong the first is met first.
    computed = [name for node in model.graph.node for name in node.output]
    names = [name for name in computed if kinds.get(name) == "tensor(float)"]

    def run(sample: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        seen: dict[str, npt.NDArray[np.generic]] = {
            n: a for n, a in sample.items() if a.dtype == np.float32
        }
        seen.update(zip(names, session.run(names, dict(sample)), strict=True))
        return seen

    return run


def unsupported(scheme: Scheme) -> str | None:
    """Why ONNX Runtime can't hold a scheme, to go after 'recipe X: '; None if it can."""
    weights, activations = scheme.weights, scheme.activations
    if activations in ("float16", "float32"):
        return None
    if scheme.granularity == "blockwise" and activations == "dynamic":
        return None
    if weights == "int4" or scheme.granularity == "blockwise":
        kind = "INT4" if weights == "int4" else "blockwise"
        return f"ONNX Runtime has no {kind} weights for {scheme.granularity} {activations} products"
    if scheme.granularity == "per-channel" and not scheme.symmetric_weights:
        return "ONNX Runtime multiplies weights per channel only where they are symmetric"
    if activations == "int8" and weights == "uint8":
        return "ONNX Runtime multiplies int8 activations with int8 weights, not with uint8"
    if activations == "dynamic" and scheme.symmetric_activations:
        return "ONNX Runtime's dynamic activations are asymmetric"
    return None


def _chosen(graph: Graph, recipe: Recipe) -> dict[str, Scheme]:
    """Schemes by node; a unit has one, that of its first node."""
    chosen = {}
    for node in graph.nodes:
        scheme = recipe.scheme_for(node.name, node.op_type)
        if scheme is not None:
            chosen[node.name] = scheme
    if not chosen:
        raise UsageError(
            f"recipe {recipe.name} matches no operator of the model",
            hint="the model has " + ", ".join(sorted({n.op_type for n in graph.nodes})),
        )
    for unit in find_units(graph):
        for node in unit.followers:
            chosen.pop(node.name, None)
            if unit.node.name in chosen:
                chosen[node.name] = chosen[unit.node.name]
    return chosen


def _keeps_float_activations(unit: Unit, scheme: Scheme, graph: Graph) -> bool:
    """Whether only a unit's weights are to be quantized, and can be."""
    if scheme.weights == "float16" or not fits(unit, scheme, graph):
        return False
    # An embedding looks activations up; it computes none.
    in_blocks = scheme.block_size is not None and scheme.activations == "dynamic"
    return unit.is_embedding or in_blocks or scheme.activations == "float32"
