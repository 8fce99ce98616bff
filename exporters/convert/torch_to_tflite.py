"""PyTorch -> TFLite with litert-torch, without TensorFlow."""

from __future__ import annotations

from typing import Any

from ..source import Source
from .base import Conversion, Converted
from .causes import naming_the_cause
from .extras import need
from .quiet import quiet
from .tflite_ports import Permutation, converted
from .torch_source import TorchSource, load_torch

_TO_CHANNELS_LAST = (0, 2, 3, 1)
_TO_CHANNELS_FIRST = (0, 3, 1, 2)


def convert(source: Source, conversion: Conversion) -> Converted:
    """Converts a source of kind 'torch' or 'exported-program'.

    Shapes are those of the example inputs; 64-bit integers and floats become 32-bit ones, which
    is what devices compute with. Inputs are named as forward's parameters, outputs as `load_torch`
    says. With `conversion.layout` 'nhwc', every input and output with four dimensions is
    channels-last in the file.

    Raises:
        UsageError: the source can't be loaded or run.
        ConversionError: it can't be expressed in TFLite.
    """
    litert_torch = need("litert_torch", "torch")
    model = load_torch(source)
    channels_last = _four_dimensional(model) if conversion.layout == "nhwc" else frozenset()
    with naming_the_cause(source.spec, "TFLite"), quiet():
        inputs = {
            name: tensor.permute(_TO_CHANNELS_LAST) if name in channels_last else tensor
            for name, tensor in zip(model.input_names, model.call.tensors, strict=True)
        }
        module = _by_name(model, channels_last)
        content = litert_torch.convert(module, sample_kwargs=inputs).model_content()
    conversion.destination.write_bytes(content)
    permutations: dict[str, Permutation] = dict.fromkeys(channels_last, _TO_CHANNELS_LAST)
    return converted(content, model, permutations)


def _four_dimensional(model: TorchSource) -> frozenset[str]:
    names = (*model.input_names, *model.output_names)
    arrays = (*model.example_inputs, *model.example_outputs)
    return frozenset(name for name, array in zip(names, arrays, strict=True) if array.ndim == 4)


def _by_name(model: TorchSource, channels_last: frozenset[str]) -> Any:
    """The model as a module from keywords to a dict, so that the file's signature has the names.

    litert-torch calls positional inputs args_0 and on, and has its own layout wrapper only for
    these (`to_channel_last_io`, which permutes as this does).
    """
    torch = need("torch", "torch")

    class ByName(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model.call.module
            # Not .eval(): the module of an exported program refuses it, being in its mode for good.
            self.training = False

        def forward(self, **inputs: Any) -> dict[str, Any]:
            tensors = [
                inputs[name].permute(_TO_CHANNELS_FIRST) if name in channels_last else inputs[name]
                for name in model.input_names
            ]
            outputs = zip(model.output_names, model.forward(tensors), strict=True)
            return {
                name: output.permute(_TO_CHANNELS_LAST) if name in channels_last else output
                for name, output in outputs
            }

    return ByName()
