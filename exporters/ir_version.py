"""The oldest version of the ONNX file format in which a model can be written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import helper

from ..targets.onnx_file import dtype_name
from ..targets.versions import IR_VERSION_OF_TYPE

#: The oldest that is written: since then initializers need not be inputs.
_OLDEST = 4

#: Domains whose versions tell the format's; others have nothing to do with it.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training"})

#: What a version brought that the operator sets do not tell, as onnx.proto lists it. Metadata of
#: nodes (10) are left out: older readers skip them, as protobuf skips every field it does not know.
_FIELDS: dict[str, int] = {
    "onnx.GraphProto.quantization_annotation": 5,
    "onnx.GraphProto.sparse_initializer": 6,
    "onnx.AttributeProto.sparse_tensor": 6,
    "onnx.AttributeProto.sparse_tensors": 6,
    "onnx.ModelProto.training_info": 7,
    "onnx.ModelProto.functions": 8,
    "onnx.TypeProto.sparse_tensor_type": 8,
    "onnx.TypeProto.optional_type": 8,
    "onnx.FunctionProto.attribute_proto": 9,
    "onnx.FunctionProto.overload": 10,
    "onnx.NodeProto.overload": 10,
    "onnx.ModelProto.configuration": 11,
    "onnx.NodeProto.device_configurations": 11,
}

#: Where element types stand; ONNX Runtime's own operators take new ones in any opset.
_TYPE_FIELDS = frozenset({"onnx.TensorProto.data_type", "onnx.TypeProto.Tensor.elem_type"})


def oldest_ir_version(model: onnx.ModelProto) -> int:
    """The oldest IR version that has everything in a model.

    A runtime refuses files of a newer IR version than its own, whatever is in them. The versions
    are those of the releases of ONNX that brought the model's operator sets (onnx/docs/
    Versioning.md), and of the element types and fields that it uses (comments of onnx.proto).
    """
    known = [o for o in model.opset_import if o.domain in _DOMAINS]
    try:
        opsets = int(helper.find_min_ir_version_for(known))
    except ValueError:  # newer than the `onnx` package here, which can't say then
        return int(model.ir_version)
    return max(_OLDEST, opsets, *_versions(model))


def _versions(message: Any) -> Iterator[int]:
    for field, value in message.ListFields():
        if field.full_name in _FIELDS:
            yield _FIELDS[field.full_name]
        if field.full_name in _TYPE_FIELDS:
            yield IR_VERSION_OF_TYPE.get(dtype_name(value), 0)
        if field.message_type is not None:
            for part in (value,) if hasattr(value, "ListFields") else value:
                yield from _versions(part)
