"""A PyTorch model from an exported program (.pt2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import UsageError
from ..runtime import first_line
from .extras import need
from .quiet import quiet
from .torch_values import TorchCall, is_tensor


def call_from_program(path: Path) -> TorchCall:
    """Loads an exported program with its example inputs.

    The file is read with torch.export.load, the only loader there is. It unpickles parts of the
    file, and unpickling can run any code: a .pt2 file is to be trusted as code is.

    Dimensions that the program leaves open get the sizes of the example inputs.

    Raises:
        UsageError: it can't be loaded, holds no example inputs, takes no tensor, or was exported
            in training mode.
    """
    torch = need("torch", "torch")
    pytree = need("torch.utils._pytree", "torch")
    try:
        with quiet():
            program = torch.export.load(str(path))
    except Exception as error:
        cause = first_line(error)
        if "when deserializing" in cause:
            cause = "torch.export.save did not write it, or another version of PyTorch did"
        raise UsageError(
            f"{path} can't be loaded as an exported program: {cause}",
            hint="write it with torch.export.save(torch.export.export(module, inputs), FILE)",
        ) from error
    if program.example_inputs is None:
        raise UsageError(
            f"{path} holds no example inputs",
            hint="save the program as torch.export.export returns it, with its example inputs",
        )
    _check_evaluation_mode(path, program)
    args, kwargs = program.example_inputs
    names = [
        str(name)
        for name, leaf in zip(
            program.graph_signature.user_inputs, pytree.tree_leaves((args, kwargs)), strict=True
        )
        if is_tensor(leaf)
    ]
    if not names:
        raise UsageError(f"{path} takes no tensor")
    return TorchCall(program.module(), tuple(args), dict(kwargs), tuple(names))


def _check_evaluation_mode(path: Path, program: Any) -> None:
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            continue
        parameters = [argument.name for argument in schema.arguments]
        given = dict(zip(parameters, node.args, strict=False)) | node.kwargs
        if given.get("train") is True or given.get("training") is True:
            raise UsageError(
                f"{path} was exported in training mode: its {node.target} trains",
                hint="call .eval() on the module before torch.export.export",
            )
