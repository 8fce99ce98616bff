"""What a PyTorch source is called with, and what Edgewright asks of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError
from .extras import need

#: The types that NumPy and the formats have too.
DTYPES = ("bool", "float16", "float32", "float64", "int16", "int32", "int64", "int8", "uint8")


@dataclass(frozen=True)
class TorchCall:
    """A module and what to call it with.

    Attributes:
        module: a torch.nn.Module in evaluation mode, on the CPU.
        args, kwargs: their tensors, nested or not, are the model's inputs; other values are
            constants.
        input_names: for each tensor in (args, kwargs), in order.
    """

    module: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    input_names: tuple[str, ...]

    @property
    def leaves(self) -> list[Any]:
        """Every value in (args, kwargs), in order."""
        pytree = need("torch.utils._pytree", "torch")
        return list(pytree.tree_leaves((self.args, self.kwargs)))

    @property
    def tensors(self) -> list[Any]:
        """The example inputs."""
        return [leaf for leaf in self.leaves if is_tensor(leaf)]


def check_call(spec: str, call: TorchCall) -> None:
    """Refuses inputs of types that no format has, and models that are not on the CPU.

    Raises:
        UsageError: one or the other.
    """
    for name, tensor in zip(call.input_names, call.tensors, strict=True):
        if dtype_name(tensor) not in DTYPES:
            raise UsageError(
                f"{spec}: input {name} is {described(tensor)}",
                hint=f"inputs have one of the types {', '.join(DTYPES)}",
            )
    elsewhere = _devices([*call.tensors, *call.module.parameters(), *call.module.buffers()])
    if elsewhere:
        raise UsageError(
            f"{spec} is not on the CPU but on {', '.join(elsewhere)}",
            hint="load the weights with map_location='cpu' and give the example inputs on the CPU",
        )


def is_tensor(value: Any) -> bool:
    return bool(need("torch", "torch").is_tensor(value))


def dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def described(value: Any) -> str:
    """A value in words, for messages."""
    if is_tensor(value):
        return f"a {dtype_name(value)} tensor"
    if isinstance(value, tuple | list):
        inside = ", ".join(type(item).__name__ for item in value)
        return f"a {type(value).__name__} of ({inside})"
    if isinstance(value, dict):
        inside = ", ".join(f"{key}: {type(item).__name__}" for key, item in value.items())
        return f"a dict of ({inside})"
    return f"a {type(value).__name__}"


def _devices(tensors: Iterable[Any]) -> list[str]:
    return sorted({str(tensor.device) for tensor in tensors} - {"cpu"})
