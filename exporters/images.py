"""A folder of pictures as samples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from ..errors import UsageError
from ..targets.profile import Model
from .artifact import Array

if TYPE_CHECKING:
    from PIL import Image

Side = Annotated[int, Field(gt=0)]

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


class ImagePreprocessing(Model):
    """How a picture becomes a tensor: resize, crop the centre, (x - mean) / scale.

    The pixels that `mean` and `scale` work on are 0...255.
    """

    resize: Side | tuple[Side, Side] | None = Field(
        default=None, description="length of the shorter side, or [height, width]"
    )
    crop: Side | tuple[Side, Side] | None = Field(
        default=None, description="side of the centre crop, or [height, width]"
    )
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    mean: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0
    layout: Literal["nchw", "nhwc"] = "nchw"
    labels: Literal["file", "folder"] | None = Field(
        default=None,
        description="'file': the number that the file name starts with; 'folder': the place of "
        "the picture's folder among the sorted folders (their number, where all are numbers)",
    )

    @field_validator("scale")
    @classmethod
    def _divides(cls, value: float | tuple[float, ...]) -> float | tuple[float, ...]:
        if 0 in (value if isinstance(value, tuple) else (value,)):
            raise ValueError("pixels are divided by scale, so that it can't be 0")
        return value


class ImageFolder:
    """Pictures below a folder, sorted by path.

    Raises:
        UsageError: no pictures, or labels that the names do not hold.
    """

    def __init__(self, folder: Path, preprocessing: ImagePreprocessing) -> None:
        self._folder = folder
        self._preprocessing = preprocessing
        self.paths = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in _SUFFIXES and path.is_file()
        )
        if not self.paths:
            raise UsageError(
                f"{folder} holds no pictures", hint=f"looked for {' '.join(sorted(_SUFFIXES))}"
            )
        self.labels = self._labels()

    def __len__(self) -> int:
        return len(self.paths)

    def arrays(self) -> Iterator[Array]:
        """float32 arrays of shape (1, channels, height, width) or (1, height, width, channels)."""
        for path in self.paths:
            yield load_image(path, self._preprocessing)

    def _labels(self) -> list[int] | None:
        where = self._preprocessing.labels
        if where is None:
            return None
        if where == "file":
            return [self._number_of(path) for path in self.paths]
        classes = _class_numbers(sorted({path.parent.name for path in self.paths}))
        return [classes[path.parent.name] for path in self.paths]

    def _number_of(self, path: Path) -> int:
        found = re.match(r"\d+", path.stem)
        if found is None:
            raise UsageError(
                f"{path}: the file name does not start with a class number",
                hint="labels = 'file' takes names such as 0123.jpg or 17_cat.png",
            )
        return int(found.group())


def load_image(path: Path, preprocessing: ImagePreprocessing) -> Array:
    """One picture as a float32 array with a leading batch dimension of 1.

    Raises:
        UsageError: it can't be read, is smaller than the crop, or mean and scale do not fit its
            channels.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            picture = opened.convert("L" if preprocessing.color == "gray" else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow calls a broken PNG a SyntaxError.
        raise UsageError(f"{path} can't be read as a picture: {error}") from error
    picture = _resized(picture, preprocessing)
    pixels = np.asarray(_cropped(picture, preprocessing, path), dtype=np.float32)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if preprocessing.color == "bgr":
        pixels = pixels[:, :, ::-1]
    mean, scale = (
        np.asarray(value, dtype=np.float32) for value in (preprocessing.mean, preprocessing.scale)
    )
    if {np.size(mean), np.size(scale)} - {1, pixels.shape[2]}:
        raise UsageError(f"mean and scale must be one number or {pixels.shape[2]} of them")
    pixels = (pixels - mean) / scale
    if preprocessing.layout == "nchw":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None], dtype=np.float32)


def _resized(picture: Image.Image, preprocessing: ImagePreprocessing) -> Image.Image:
    from PIL import Image

    if preprocessing.resize is None:
        return picture
    if isinstance(preprocessing.resize, int):
        factor = preprocessing.resize / min(picture.size)
        width, height = (max(1, round(side * factor)) for side in picture.size)
    else:
        height, width = preprocessing.resize
    method = {
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "nearest": Image.Resampling.NEAREST,
    }[preprocessing.interpolation]
    return picture.resize((width, height), method)


def _cropped(picture: Image.Image, preprocessing: ImagePreprocessing, path: Path) -> Image.Image:
    crop = preprocessing.crop
    if crop is None:
        return picture
    height, width = (crop, crop) if isinstance(crop, int) else crop
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    if left < 0 or top < 0:
        raise UsageError(
            f"{path} is {picture.width}x{picture.height}, smaller than the crop "
            f"of {width}x{height}",
            hint="set resize in the preprocessing",
        )
    return picture.crop((left, top, left + width, top + height))


def _class_numbers(folders: list[str]) -> Mapping[str, int]:
    if all(name.isdecimal() for name in folders):
        return {name: int(name) for name in folders}
    return {name: index for index, name in enumerate(folders)}
