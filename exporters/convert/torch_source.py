"""Any PyTorch source, as the converters need it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UsageError
from ..artifact import Array
from ..source import Source
from ..user_code import blaming_user
from .extras import need
from .names import distinct
from .torch_factory import call_from_factory
from .torch_program import call_from_program
from .torch_values import DTYPES, TorchCall, check_call, described, dtype_name, is_tensor


@dataclass(frozen=True)
class TorchSource:
    """A PyTorch model that takes and gives flat lists.

    Attributes:
        call: the module and its example arguments.
        output_names: for each tensor that the module returns, nested or not, in order; no input
            has any of these names.
        example_inputs: one array for each input, in order.
        example_outputs: the module's outputs for them.
    """

    call: TorchCall
    output_names: tuple[str, ...]
    example_inputs: tuple[Array, ...]
    example_outputs: tuple[Array, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        return self.call.input_names

    def forward(self, tensors: Sequence[Any]) -> list[Any]:
        """The module's output tensors for input tensors in the order of `input_names`."""
        pytree = need("torch.utils._pytree", "torch")
        leaves, structure = pytree.tree_flatten((self.call.args, self.call.kwargs))
        given = iter(tensors)
        filled = [next(given) if is_tensor(leaf) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(filled, structure)
        outputs = pytree.tree_leaves(self.call.module(*args, **kwargs))
        return [output for output in outputs if output is not None]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Runs the module itself; arrays are cast to the types of the example inputs."""
        torch = need("torch", "torch")
        tensors = [
            torch.tensor(np.asarray(array, example.dtype))
            for array, example in zip(arrays, self.example_inputs, strict=True)
        ]
        with torch.no_grad():
            return [_array(output) for output in self.forward(tensors)]


def load_torch(source: Source) -> TorchSource:
    """Loads a source of kind 'torch' or 'exported-program' and runs it on its example inputs.

    Outputs are named by the keys of a returned dict or the fields of a named tuple, 'output' for
    a bare tensor and 'output_0' and on for a tuple; nested ones join these with '_'.

    Raises:
        UsageError: PyTorch is missing; the source can't be loaded (see `call_from_factory` and
            `call_from_program`) or is not on the CPU; the module raises on its example inputs,
            answers differently when asked twice, or gives something else than tensors.
    """
    need("torch", "torch")
    # What the user's code prints is for people, and standard output may be read by a program.
    with redirect_stdout(sys.stderr):
        if source.kind == "exported-program":
            call = call_from_program(source.file)
        else:
            call = call_from_factory(source)
        check_call(source.spec, call)
        names, outputs = _outputs(source.spec, call)
    return TorchSource(
        call,
        distinct(names, taken=call.input_names),
        tuple(_array(tensor) for tensor in call.tensors),
        tuple(outputs),
    )


def _outputs(spec: str, call: TorchCall) -> tuple[list[str], list[Array]]:
    """Names and values of what the module returns, from two runs that agree."""
    torch = need("torch", "torch")
    pytree = need("torch.utils._pytree", "torch")
    with blaming_user(f"{spec}: running the module on its example inputs"), torch.no_grad():
        first, second = (call.module(*call.args, **call.kwargs) for _ in range(2))
    names: list[str] = []
    outputs: list[Array] = []
    for (path, output), again in zip(
        pytree.tree_flatten_with_path(first)[0], pytree.tree_leaves(second), strict=True
    ):
        if output is None:
            continue
        name = _output_name(path)
        if not is_tensor(output) or dtype_name(output) not in DTYPES:
            raise UsageError(
                f"{spec}: {name} is {described(output)}",
                hint="forward returns a tensor, or a tuple, list or dict of tensors, "
                f"of the types {', '.join(DTYPES)}",
            )
        names.append(name)
        outputs.append(_array(output))
        if not _agree(outputs[-1], _array(again)):
            raise UsageError(
                f"{spec}: {name} differs between two runs on the same inputs",
                hint="take sampling and dropout out of the model, and make its state an input",
            )
    if not names:
        raise UsageError(f"{spec}: forward returned no tensor")
    return names, outputs


def _output_name(path: Sequence[Any]) -> str:
    parts = [
        str(next(getattr(key, field) for field in ("key", "name", "idx") if hasattr(key, field)))
        for key in path
    ]
    if not parts or parts[0].isdigit():
        parts.insert(0, "output")
    return "_".join(parts)


def _agree(first: Array, second: Array) -> bool:
    # Sums in a different order differ in the last bits; anything more is not the same answer.
    return first.shape == second.shape and np.allclose(
        first.astype(np.float64), second.astype(np.float64), rtol=1e-3, atol=1e-5, equal_nan=True
    )


def _array(tensor: Any) -> Array:
    # A copy: the module may return a buffer of its own, which the next run overwrites.
    return np.array(tensor.detach().numpy())
