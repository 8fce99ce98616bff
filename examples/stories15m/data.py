"""Pieces of stories to calibrate and to judge with, and the tokens that follow in them.

The model tells the stories to calibrate with by itself; those to judge with were written for this
example (evaluation.txt), and the model has never seen them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from llama import Memory, load
from llama2c import package_path, read_checkpoint

#: As in model.py.
LENGTH = 64

#: Tokens of each story that the model tells, behind the one that begins it: two pieces.
TOLD = 2 * LENGTH

Ids = npt.NDArray[np.int64]

#: How two of these each begin; the model goes on.
_OPENINGS = (
    "Once upon a time",
    "One day",
    "Lily",
    "Tom was",
    "There was a little",
    "In a small house",
    "The cat",
    "It was a sunny day",
    "Mom and",
    "Timmy loved",
    "A big bear",
    "Sara and Ben",
    "Every day",
    "Deep in the",
    "Max wanted to",
    "The old man",
)


def calibration() -> Iterator[tuple[dict[str, Ids], Ids]]:
    """64 pieces of 32 stories."""
    for story in _told(package_path()):
        yield from _pieces(story)


def evaluation() -> Iterator[tuple[dict[str, Ids], Ids]]:
    """Pieces of 48 other stories, one behind the other, as the model was trained on stories."""
    tokenizer = read_checkpoint(package_path()).tokenizer
    stories = Path(__file__).with_name("evaluation.txt").read_text(encoding="utf-8").split("\n\n")
    return _pieces([token for story in stories for token in tokenizer.encode(story)])


def _pieces(tokens: Sequence[int]) -> Iterator[tuple[dict[str, Ids], Ids]]:
    """Input, int64 (1, 64), and label, int64 (64,): the same a token later. A rest is left out."""
    for start in range(0, len(tokens) - LENGTH, LENGTH):
        piece = np.array(tokens[start : start + LENGTH + 1], dtype=np.int64)
        yield {"ids": piece[None, :-1]}, piece[1:]


@functools.cache
def _told(package: Path) -> list[list[int]]:
    """Stories drawn token by token from the model's own distribution (temperature 1).

    The seed is fixed; still, another processor's rounding may draw another token.
    """
    checkpoint = read_checkpoint(package)
    model, generator = load(checkpoint, TOLD), torch.Generator().manual_seed(0)
    stories = [checkpoint.tokenizer.encode(opening) for opening in _OPENINGS * 2]
    memories: list[Memory] = [[] for _ in range(checkpoint.config.layers)]
    with torch.no_grad(), _one_thread():
        for place in range(TOLD):
            last = torch.tensor([[story[place]] for story in stories])
            rising = model(last, memories)[:, -1].softmax(-1).cumsum(-1)
            drawn = torch.searchsorted(rising, torch.rand(len(stories), 1, generator=generator))
            for story, (token,) in zip(stories, drawn.tolist(), strict=True):
                if len(story) == place + 1:
                    story.append(min(token, checkpoint.config.vocabulary - 1))
    return stories


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """On a busy machine, threads wait for each other at every one of a token's small steps."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
