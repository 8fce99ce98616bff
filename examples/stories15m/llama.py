"""A Llama decoder (Touvron et al. 2023, arXiv:2302.13971) in a form that runtimes quantize well.

Every weight is the constant of a matrix product, the embedding is one constant that the classifier
shares, and no constant is larger than the values around it.
"""

from __future__ import annotations

import torch
from llama2c import Checkpoint, Config
from torch.nn.functional import linear, silu

#: Added to the attention scores of later tokens. After the softmax that is as good as 0, but a
#: range that has to hold it stays fit for 8 bits, as with minus infinity it would not.
MASKED = -100.0

Memory = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of one layer, step by step, float32 (batch, key heads, tokens, head size)."""


class Llama(torch.nn.Module):
    """Token ids to the logits of each next token.

    Args:
        length: the most tokens that it takes.
    """

    def __init__(self, config: Config, length: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(config.vocabulary, config.size)
        self.blocks = torch.nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.size)
        self.register_buffer("cosines", torch.empty(length, config.head_size))
        self.register_buffer("sines", torch.empty(length, config.head_size))
        self.register_buffer("mask", torch.full((length, length), MASKED).triu(1))

    def forward(self, ids: torch.Tensor, memories: list[Memory] | None = None) -> torch.Tensor:
        """int64 (batch, tokens) -> float32 (batch, tokens, vocabulary).

        Args:
            memories: one for each layer, empty at first; with them, `ids` go on where the last
                call ended.
        """
        first = len(memories[0]) if memories else 0
        last = first + ids.shape[1]
        turns, mask = (
            (self.cosines[first:last], self.sines[first:last]),
            self.mask[first:last, :last],
        )
        x = self.embedding(ids)
        for index, block in enumerate(self.blocks):
            x = block(x, turns, mask, memories[index] if memories else None)
        return linear(self.norm(x), self.embedding.weight)


class RMSNorm(torch.nn.Module):
    """x / sqrt(mean(x^2) + 1e-5) * weight (Zhang and Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * self.weight


class Block(torch.nn.Module):
    """Attention and feed-forward, each behind a norm and around a residual."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.size)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.size)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        x: torch.Tensor,
        turns: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
        memory: Memory | None,
    ) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x), turns, mask, memory)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Attention(torch.nn.Module):
    """Causal, with rotary positions (Su et al. 2021, arXiv:2104.09864) and grouped heads."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        keys = config.key_heads * config.head_size
        self.head_size = config.head_size
        self.group = config.heads // config.key_heads
        self.query = torch.nn.Linear(config.size, config.size, bias=False)
        self.key = torch.nn.Linear(config.size, keys, bias=False)
        self.value = torch.nn.Linear(config.size, keys, bias=False)
        self.output = torch.nn.Linear(config.size, config.size, bias=False)

    def forward(
        self,
        x: torch.Tensor,
        turns: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
        memory: Memory | None,
    ) -> torch.Tensor:
        query = _turned(self._heads(self.query(x)), *turns)
        key, value = _turned(self._heads(self.key(x)), *turns), self._heads(self.value(x))
        if memory is not None:
            memory.append((key, value))
            key, value = (torch.cat(steps, 2) for steps in zip(*memory, strict=True))
        if self.group > 1:
            key, value = (part.repeat_interleave(self.group, 1) for part in (key, value))
        scores = query @ key.transpose(-2, -1) * self.head_size**-0.5 + mask
        return self.output((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, self.head_size)).transpose(1, 2)


class FeedForward(torch.nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate = torch.nn.Linear(config.size, config.hidden, bias=False)
        self.up = torch.nn.Linear(config.size, config.hidden, bias=False)
        self.down = torch.nn.Linear(config.hidden, config.size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(silu(self.gate(x)) * self.up(x))


def load(checkpoint: Checkpoint, length: int) -> Llama:
    """The trained decoder, in evaluation mode, for inputs of up to `length` tokens."""
    arrays = {name: torch.tensor(array) for name, array in checkpoint.arrays.items()}
    cosines, sines = arrays["cosines"][:length], arrays["sines"][:length]
    model = Llama(checkpoint.config, length)
    state = {
        "embedding.weight": arrays["embedding"],
        "norm.weight": arrays["norm"],
        "cosines": torch.cat((cosines, cosines), 1),
        "sines": torch.cat((-sines, sines), 1),
        "mask": model.mask,
    }
    for name in ("query", "key"):
        arrays[name] = _by_halves(arrays[name], checkpoint.config.head_size)
    for index in range(checkpoint.config.layers):
        for name, part in _PARTS.items():
            state[f"blocks.{index}.{part}.weight"] = arrays[name][index]
    model.load_state_dict(state)
    return model.eval()


#: Array of the checkpoint, with a layer's number as its first index -> that layer's module.
_PARTS = {
    "attention_norm": "attention_norm",
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "attention_output": "attention.output",
    "feed_forward_norm": "feed_forward_norm",
    "gate": "feed_forward.gate",
    "down": "feed_forward.down",
    "up": "feed_forward.up",
}


def _turned(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Turns the pair (i, i + half) of each head by its position's angle; `sines` has the signs."""
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat((second, first), -1) * sines


def _by_halves(matrices: torch.Tensor, head_size: int) -> torch.Tensor:
    """Rows in the order that `_turned` wants: llama2.c turns the pairs (2i, 2i + 1).

    Queries and keys are reordered alike, so that their products stay the same.
    """
    pairs = matrices.unflatten(1, (-1, head_size // 2, 2))
    return pairs.transpose(2, 3).flatten(1, 3)
