"""Folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import port
from PIL import Image
from pydantic import ValidationError

from edgewright.errors import UsageError
from edgewright.exporters.data import open_dataset
from edgewright.exporters.images import ImageFolder, ImagePreprocessing, load_image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
PLAIN = ImagePreprocessing()


def picture(path: Path, pixels: np.ndarray = PIXELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def png(tmp_path: Path) -> Path:
    return picture(tmp_path / "one.png")


def loaded(path: Path, **options: Any) -> np.ndarray:
    return load_image(path, ImagePreprocessing(**options))


def test_plain_pixels_channels_first_and_last(png: Path) -> None:
    first, last = loaded(png), loaded(png, layout="nhwc")
    assert first.shape == (1, 3, 6, 8) and last.shape == (1, 6, 8, 3)
    assert first.dtype == last.dtype == np.float32
    assert np.array_equal(last[0], PIXELS)
    assert np.array_equal(first[0], PIXELS.transpose(2, 0, 1))
    assert first.flags.c_contiguous


def test_colors(png: Path) -> None:
    assert np.array_equal(loaded(png, color="bgr", layout="nhwc")[0], PIXELS[:, :, ::-1])
    gray = loaded(png, color="gray")
    assert gray.shape == (1, 1, 6, 8)
    # ITU-R 601-2 luma, as Pillow documents its mode L.
    assert np.allclose(gray[0, 0], PIXELS @ [0.299, 0.587, 0.114], atol=1)


def test_mean_and_scale_work_on_pixels_per_channel(png: Path) -> None:
    one = loaded(png, layout="nhwc", mean=127.0, scale=128.0)
    assert np.allclose(one[0], (PIXELS.astype(np.float32) - 127) / 128)
    each = loaded(png, layout="nhwc", mean=(10.0, 20.0, 30.0), scale=(1.0, 2.0, 4.0))
    assert np.allclose(each[0], (PIXELS - np.float32([10, 20, 30])) / np.float32([1, 2, 4]))
    swapped = loaded(
        png, layout="nhwc", color="bgr", mean=(30.0, 20.0, 10.0), scale=(4.0, 2.0, 1.0)
    )
    assert np.array_equal(swapped, each[..., ::-1])  # in the order of the channels that result


@pytest.mark.parametrize(
    ("color", "options"),
    [
        ("rgb", {"mean": (1.0, 2.0)}),
        ("rgb", {"scale": (1.0, 2.0, 3.0, 4.0)}),
        ("gray", {"mean": (1.0, 2.0, 3.0)}),  # must not grow three channels
        ("gray", {"scale": (1.0, 2.0, 3.0)}),
    ],
)
def test_mean_and_scale_must_fit_the_channels(
    png: Path, color: str, options: dict[str, Any]
) -> None:
    count = 1 if color == "gray" else 3
    with pytest.raises(UsageError, match=f"must be one number or {count} of them"):
        loaded(png, color=color, **options)


@pytest.mark.parametrize(
    ("resize", "shape"),
    [(3, (3, 4)), (12, (12, 16)), ((5, 7), (5, 7)), (1, (1, 1))],
)
def test_resize_is_the_shorter_side_or_both(png: Path, resize: object, shape: object) -> None:
    assert loaded(png, resize=resize)[0, 0].shape == shape


def test_a_tall_picture_is_resized_by_its_width(tmp_path: Path) -> None:
    path = picture(tmp_path / "tall.png", np.zeros((30, 10, 3), np.uint8))
    assert loaded(path, resize=5).shape == (1, 3, 15, 5)


def test_interpolation_is_the_one_named(png: Path) -> None:
    nearest = loaded(png, resize=(12, 16), interpolation="nearest", layout="nhwc")[0]
    assert np.array_equal(nearest, PIXELS.repeat(2, axis=0).repeat(2, axis=1))
    others = [loaded(png, resize=3, interpolation=how) for how in ("bilinear", "bicubic")]
    assert not np.array_equal(*others)


def test_the_crop_is_the_centre(png: Path) -> None:
    square = loaded(png, crop=4, layout="nhwc")[0]
    assert np.array_equal(square, PIXELS[1:5, 2:6])
    wide = loaded(png, crop=(2, 8), layout="nhwc")[0]
    assert np.array_equal(wide, PIXELS[2:4])


@pytest.mark.parametrize("crop", [7, (7, 8), (6, 9)])
def test_a_crop_larger_than_the_picture_is_refused(png: Path, crop: object) -> None:
    with pytest.raises(UsageError, match=r"one\.png is 8x6, smaller than the crop") as caught:
        loaded(png, crop=crop)
    assert caught.value.hint == "set resize in the preprocessing"


@pytest.mark.parametrize("options", [{"crop": 0}, {"crop": (4, -1)}, {"resize": (0, 5)}])
def test_sides_are_positive(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        ImagePreprocessing(**options)


def test_transparency_and_palettes_become_colors(tmp_path: Path) -> None:
    alpha = picture(tmp_path / "a.png", np.dstack([PIXELS, np.full((6, 8), 255, np.uint8)]))
    assert np.array_equal(loaded(alpha, layout="nhwc")[0], PIXELS)
    palette = tmp_path / "p.png"
    Image.fromarray(PIXELS).convert("P").save(palette)
    assert loaded(palette).shape == (1, 3, 6, 8)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: b"not a picture at all",
        lambda raw: raw[: len(raw) // 2],
        # A chunk with a name that no PNG has: Pillow calls that a SyntaxError.
        lambda raw: raw[:33] + b"\x00\x00\x00\x00\xb2\xfe\x9d\x86" + raw[41:],
    ],
)
def test_unreadable_pictures_are_named(tmp_path: Path, damage: Any) -> None:
    path = picture(tmp_path / "broken.png")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match=r"broken\.png can't be read as a picture"):
        loaded(path)


def test_labels_from_file_names(tmp_path: Path) -> None:
    for name in ("0007.png", "12_cat.png", "3.jpg"):
        picture(tmp_path / name)
    folder = ImageFolder(tmp_path, ImagePreprocessing(labels="file"))
    assert [path.name for path in folder.paths] == ["0007.png", "12_cat.png", "3.jpg"]
    assert folder.labels == [7, 12, 3]
    picture(tmp_path / "cat_12.png")
    with pytest.raises(UsageError, match=r"cat_12\.png: the file name does not start with a class"):
        ImageFolder(tmp_path, ImagePreprocessing(labels="file"))


def test_labels_from_folders_by_place_or_by_number(tmp_path: Path) -> None:
    words, numbers = tmp_path / "words", tmp_path / "numbers"
    for name in ("dog", "cat"):
        picture(words / name / "a.png")
    for name in ("10", "2"):
        picture(numbers / name / "a.png")
    by_folder = ImagePreprocessing(labels="folder")
    assert ImageFolder(words, by_folder).labels == [0, 1]  # cat, dog
    folder = ImageFolder(numbers, by_folder)
    assert [path.parent.name for path in folder.paths] == ["10", "2"]
    assert folder.labels == [10, 2]
    picture(numbers / "other" / "a.png")
    assert ImageFolder(numbers, by_folder).labels == [0, 1, 2]


def test_only_picture_files_count(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="holds no pictures"):
        ImageFolder(tmp_path, PLAIN)
    picture(tmp_path / "sub" / "B.PNG")
    assert len(ImageFolder(tmp_path, PLAIN)) == 1


def test_a_folder_is_a_dataset(tmp_path: Path) -> None:
    for index in range(3):
        picture(tmp_path / f"{index}.png", np.full((6, 8, 3), index, np.uint8))
    wanted = [port(1, 3, 6, 8, name="image")]
    data = open_dataset(str(tmp_path), wanted, preprocessing=ImagePreprocessing(labels="file"))
    samples = list(data)
    assert len(data) == 3 and data.has_labels
    assert [int(sample.label) for sample in samples if sample.label is not None] == [0, 1, 2]
    assert [sample.inputs["image"][0, 0, 0, 0] for sample in samples] == [0, 1, 2]
    assert not open_dataset(str(tmp_path), wanted, preprocessing=PLAIN).has_labels
    with pytest.raises(UsageError, match="has shape 1x6x8x3") as caught:
        open_dataset(str(tmp_path), wanted, preprocessing=ImagePreprocessing(layout="nhwc"))
    assert caught.value.hint is not None and "set layout for pictures" in caught.value.hint


@pytest.mark.parametrize("scale", [0, (1.0, 0.0, 1.0)])
def test_a_scale_of_zero_is_refused(scale: object) -> None:
    with pytest.raises(ValidationError, match="can't be 0"):
        ImagePreprocessing.model_validate({"scale": scale})


def test_identity_follows_pixels_folders_and_preprocessing(tmp_path: Path) -> None:
    def identity(folder: Path, **options: Any) -> str:
        ports = [port(1, 3, 6, 8)]
        preprocessing = ImagePreprocessing(**options)
        return open_dataset(str(folder), ports, preprocessing=preprocessing).identity

    for name in ("one", "two"):
        picture(tmp_path / name / "a" / "0.png")
    assert identity(tmp_path / "one") == identity(tmp_path / "two")
    assert identity(tmp_path / "one") != identity(tmp_path / "one", mean=1.0)
    before = identity(tmp_path / "two")
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "b")
    assert identity(tmp_path / "two") != before
    picture(tmp_path / "one" / "a" / "0.png", PIXELS[:, ::-1].copy())
    assert identity(tmp_path / "one") != before
