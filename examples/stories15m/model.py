"""stories15M as one graph from 64 token ids to the logits of each next token."""

from __future__ import annotations

import torch
from llama import load
from llama2c import package_path, read_checkpoint

#: Tokens of every input: devices want fixed shapes.
LENGTH = 64


def stories15m() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The decoder in evaluation mode, and an example of its input.

    It takes `ids`, int64 (1, 64), and gives float32 (1, 64, 32000): at each place the logits of the
    token that follows it.
    """
    checkpoint = read_checkpoint(package_path())
    words = checkpoint.tokenizer.encode("Once upon a time, there was a little boat. " * 10)
    return load(checkpoint, LENGTH), {"ids": torch.tensor([words[:LENGTH]])}
