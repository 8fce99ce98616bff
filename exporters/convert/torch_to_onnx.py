"""PyTorch -> ONNX with PyTorch's own exporter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from ...errors import ConversionError
from ..ir_version import oldest_ir_version
from ..source import Source
from .base import Conversion, Converted
from .causes import naming_the_cause
from .extras import need
from .quiet import quiet
from .torch_source import TorchSource, load_torch

#: A protobuf message, and so an ONNX file without external data, can't be larger.
_LARGEST_BYTES = 2**31 - 1

#: What is written where the device takes it: PyTorch 2.13's default, whatever version is here.
_OPSET = 20

#: What the exporter notes of the machine it ran on; it has no place in a released file.
_PRIVATE_METADATA = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node")


def convert(source: Source, conversion: Conversion) -> Converted:
    """Converts a source of kind 'torch' or 'exported-program'.

    Shapes are those of the example inputs. Inputs are named as forward's parameters, outputs as
    `load_torch` says. `conversion.layout` is for TFLite and changes nothing here.

    The exporter has implementations from opset 18 on. To an older one it converts the model if it
    can; if not, the opset is 18, and it is for `check` to say that the device does not take it.

    Raises:
        UsageError: the source can't be loaded or run.
        ConversionError: it can't be expressed in ONNX, or is over 2 GB.
    """
    need("onnxscript", "torch")
    model = load_torch(source)
    module = model.call.module
    _check_size(source, [*module.parameters(), *module.buffers()])
    with naming_the_cause(source.spec, "ONNX"), quiet():
        program = _export(model, min(_OPSET, conversion.max_opset or _OPSET))
        _name_ports(program.model.graph, model)
    # Folded constants can be larger than the weights that they come from.
    _check_size(source, [v.const_value for v in program.model.graph.initializers.values()])
    for node in program.model.graph.all_nodes():
        for key in _PRIVATE_METADATA:
            node.metadata_props.pop(key, None)
    with quiet():
        model_proto = program.model_proto
    model_proto.ir_version = oldest_ir_version(model_proto)
    onnx.save(model_proto, str(conversion.destination))
    return Converted(
        model.input_names,
        model.output_names,
        model.example_inputs,
        model.run,
        (None,) * len(model.input_names),
        (None,) * len(model.output_names),
    )


def _export(model: TorchSource, opset: int) -> Any:
    torch = need("torch", "torch")
    call = model.call
    # The exporter takes a dict at the end for the keyword arguments: give it one always, so that
    # it leaves a dict alone that is a positional argument.
    return torch.onnx.export(
        call.module, (*call.args, call.kwargs), dynamo=True, opset_version=opset, verbose=False
    )


def _name_ports(graph: Any, model: TorchSource) -> None:
    """Gives inputs and outputs the source's names, and takes these from anything else.

    The exporter's own `output_names` writes an invalid file where a weight or an inner value has
    one of the names (PyTorch 2.13).
    """
    written = (len(graph.inputs), len(graph.outputs))
    if written != (len(model.input_names), len(model.output_names)):
        raise ConversionError(
            f"the exporter wrote {written[0]} inputs and {written[1]} outputs where the source has "
            f"{len(model.input_names)} and {len(model.output_names)}",
            hint="let the model use all its inputs, and compute all its outputs from them",
        )
    names = (*model.input_names, *model.output_names)
    ports = (*graph.inputs, *graph.outputs)
    for value in _values(graph):
        if value.name in names and not any(value is port for port in ports):
            value.name = f"inner_{value.name}"
    for port, name in zip(ports, names, strict=True):
        port.name = name


def _values(graph: Any) -> list[Any]:
    inner = [value for node in graph.all_nodes() for value in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *inner]


def _check_size(source: Source, tensors: Sequence[Any]) -> None:
    size = sum(tensor.nbytes for tensor in tensors)
    if size > _LARGEST_BYTES:
        raise ConversionError(
            f"can't convert {source.spec} to ONNX: its weights take {size / 1e9:.1f} GB, and a "
            "single ONNX file holds at most 2 GB",
            hint="convert to TFLite, or make the model smaller",
        )
