"""Calibration and evaluation data as one Dataset, whatever the user keeps it in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..files import sha256_file
from .artifact import Array, Port
from .images import ImageFolder, ImagePreprocessing
from .user_code import blaming_user, load_function

_LABELS = "labels"


@dataclass(frozen=True)
class Sample:
    """One inference's inputs, in the source's names and layout, and what is true of it.

    Attributes:
        inputs: arrays with the batch dimension that the model takes.
        label: a class index, or an array to compare the output with; None where unknown.
    """

    inputs: Mapping[str, Array]
    label: Array | None = None


class Samples(Protocol):
    """Anything that gives samples, as often as it is asked."""

    has_labels: bool

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...


@dataclass(frozen=True)
class Dataset:
    """Samples that fit a model's inputs.

    Attributes:
        description: the user's words for it.
        identity: SHA-256 of what it holds (of a function's file, for functions).
    """

    samples: Samples
    ports: tuple[Port, ...]
    description: str
    identity: str

    @property
    def has_labels(self) -> bool:
        return self.samples.has_labels

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        """Samples checked against the model's inputs.

        Raises:
            UsageError: a name, shape or dtype does not fit, or a value is NaN or Inf.
        """
        for index, sample in enumerate(self.samples):
            where = f"{self.description}, sample {index}"
            yield Sample(_fitted(sample.inputs, self.ports, where), sample.label)

    def first(self, count: int) -> list[Sample]:
        """The first `count` samples, or all where there are fewer."""
        return [sample for sample, _ in zip(self, range(count), strict=False)]

    def head(self, count: int) -> Dataset:
        """The same data up to the first `count` samples."""
        return replace(self, samples=_Head(self.samples, count))


def open_dataset(
    spec: str,
    ports: Sequence[Port],
    *,
    base: Path | None = None,
    preprocessing: ImagePreprocessing | None = None,
    scale: float | None = None,
) -> Dataset:
    """Opens what the user named and checks that its first sample fits the model.

    Args:
        spec: an .npz file, a folder of pictures or FILE.py:FUNCTION.
        ports: the model's inputs.
        base: directory that relative paths start from; the current one by default.
        preprocessing: for pictures.
        scale: factor for integer arrays that feed a floating-point input of an .npz.

    Raises:
        UsageError: it is missing, is none of these, is empty or does not fit.
    """
    path = Path(spec) if base is None else base / spec
    samples: Samples
    if path.is_dir():
        samples = _from_pictures(path, tuple(ports), preprocessing)
        identity = _identity_of_pictures(path, samples.folder.paths, preprocessing)
    elif path.suffix == ".npz":
        samples = _NpzSamples(path, tuple(ports), scale)
        identity = sha256_file(path)
    elif ":" in spec:
        samples = _FunctionSamples(spec, base, tuple(ports))
        identity = samples.identity
    else:
        problem = "no such file or folder" if not path.exists() else "not data Edgewright reads"
        raise UsageError(
            f"{path}: {problem}",
            hint="data is an .npz file, a folder of pictures or FILE.py:FUNCTION",
        )
    dataset = Dataset(samples, tuple(ports), spec, identity)
    if not dataset.first(1):
        raise UsageError(f"{spec} holds no samples")
    return dataset


def seeded_samples(ports: Sequence[Port], count: int, seed: int = 0) -> list[Sample]:
    """Random inputs for comparing two forms of one model where the user gives no data.

    Real inputs are standard normal, integers 0 or 1 (valid as ids, types and masks), booleans
    likewise; unknown dimensions are 1.
    """
    generator = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        inputs: dict[str, Array] = {}
        for port in ports:
            shape = tuple(size or 1 for size in port.source_shape)
            dtype = np.dtype(port.spec.dtype)
            if port.spec.quantization is not None or np.issubdtype(dtype, np.floating):
                kind = np.float32 if port.spec.quantization is not None else dtype
                inputs[port.source_name] = generator.standard_normal(shape).astype(kind)
            else:
                inputs[port.source_name] = generator.integers(0, 2, shape).astype(dtype)
        samples.append(Sample(inputs))
    return samples


class _Head:
    """The first of other samples."""

    def __init__(self, samples: Samples, count: int) -> None:
        self._samples, self._count = samples, count
        self.has_labels = samples.has_labels

    def __len__(self) -> int:
        return min(self._count, len(self._samples))

    def __iter__(self) -> Iterator[Sample]:
        return islice(self._samples, self._count)


class _NpzSamples:
    """Named arrays whose first dimension counts the samples, and perhaps `labels`."""

    def __init__(self, path: Path, ports: tuple[Port, ...], scale: float | None) -> None:
        self._ports, self._scale, self._path = ports, scale, path
        arrays = _read_npz(path)
        labels = arrays.pop(_LABELS, None)
        self.has_labels = labels is not None
        self._arrays = _named_like(arrays, ports, path)
        lengths = {name: len(array) if array.ndim else 0 for name, array in self._arrays.items()}
        if labels is not None:
            lengths[_LABELS] = len(labels) if labels.ndim else 0
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise UsageError(f"{path}: the arrays differ in their first dimension: {told}")
        self._labels = labels
        self._count = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        for index in range(self._count):
            inputs = {
                port.source_name: self._one(self._arrays[port.source_name], index, port)
                for port in self._ports
            }
            yield Sample(inputs, None if self._labels is None else self._labels[index])

    def _one(self, array: Array, index: int, port: Port) -> Array:
        one: Array = np.asarray(array[index])
        if one.ndim == len(port.source_shape) - 1:
            one = one[None]
        takes_reals = np.issubdtype(np.dtype(port.spec.dtype), np.floating)
        if self._scale is not None and takes_reals and not np.issubdtype(one.dtype, np.floating):
            one = one.astype(np.float32) * np.float32(self._scale)
        return one


class _PictureSamples:
    def __init__(self, folder: ImageFolder, name: str) -> None:
        self.folder, self._name = folder, name
        self.has_labels = folder.labels is not None

    def __len__(self) -> int:
        return len(self.folder)

    def __iter__(self) -> Iterator[Sample]:
        for index, array in enumerate(self.folder.arrays()):
            labels = self.folder.labels
            yield Sample({self._name: array}, None if labels is None else np.asarray(labels[index]))


class _FunctionSamples:
    """What a user's function yields: inputs, or (inputs, label).

    Inputs are a dictionary of arrays, or one array for a model with one input.
    """

    def __init__(self, spec: str, base: Path | None, ports: tuple[Port, ...]) -> None:
        self._spec, self._ports = spec, ports
        self._function = load_function(spec, "the data", base)
        self._count = 0
        self.has_labels = True
        digest = hashlib.sha256(spec.encode())
        for sample in self:
            self._count += 1
            self.has_labels = self.has_labels and sample.label is not None
            for name, array in sorted(sample.inputs.items()):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        self.identity = digest.hexdigest()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        with blaming_user(f"{self._spec}"):
            iterator = iter(self._function())
        index = 0
        while True:
            with blaming_user(f"{self._spec}, sample {index},"):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
                sample = self._sample(item, index)
            yield sample
            index += 1

    def _sample(self, item: Any, index: int) -> Sample:
        label = None
        if isinstance(item, tuple) and len(item) == 2:
            item, label = item
        if isinstance(item, Mapping):
            inputs = {str(name): np.asarray(array) for name, array in item.items()}
        elif len(self._ports) == 1:
            inputs = {self._ports[0].source_name: np.asarray(item)}
        else:
            raise UsageError(
                f"{self._spec}, sample {index}: is {type(item).__name__}, but the model has "
                f"{len(self._ports)} inputs",
                hint="yield a dictionary of arrays, or (dictionary, label)",
            )
        return Sample(inputs, None if label is None else np.asarray(label))


def _from_pictures(
    folder: Path, ports: tuple[Port, ...], preprocessing: ImagePreprocessing | None
) -> _PictureSamples:
    if len(ports) != 1:
        raise UsageError(
            f"{folder} is a folder of pictures, but the model has {len(ports)} inputs",
            hint="give an .npz file with one array per input",
        )
    if preprocessing is None:
        raise UsageError(
            f"{folder} is a folder of pictures, and nothing says how to preprocess them",
            hint="describe it in the table [data.images] of a project file (resize, crop, mean, "
            "scale, layout, labels) and pass that with --project",
        )
    return _PictureSamples(ImageFolder(folder, preprocessing), ports[0].source_name)


def _identity_of_pictures(
    folder: Path, paths: list[Path], preprocessing: ImagePreprocessing | None
) -> str:
    digest = hashlib.sha256(preprocessing.model_dump_json().encode() if preprocessing else b"")
    for path in paths:
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(bytes.fromhex(sha256_file(path)))
    return digest.hexdigest()


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:
        # A broken archive raises whatever zipfile, zlib or the header's parser stumble over.
        # NumPy takes anything it does not know for a pickle, and advises to load it unsafely.
        why = "it is something else" if "contains pickled" in str(error) else error
        raise UsageError(
            f"{path} can't be read as an .npz file: {why}",
            hint="write it with numpy.savez; arrays of objects are not read",
        ) from error


def _named_like(
    arrays: dict[str, npt.NDArray[Any]], ports: Sequence[Port], path: Path
) -> dict[str, npt.NDArray[Any]]:
    wanted = [port.source_name for port in ports]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        held = ", ".join(arrays) or "nothing"
        raise UsageError(
            f"{path} has no array for the model's input {', '.join(missing)}; it holds {held}",
            hint=f"name the arrays as the model's inputs are named: {', '.join(wanted)}",
        )
    return {name: arrays[name] for name in wanted}


def _fitted(inputs: Mapping[str, Array], ports: Sequence[Port], where: str) -> dict[str, Array]:
    missing = [port.source_name for port in ports if port.source_name not in inputs]
    if missing:
        raise UsageError(
            f"{where} has no input {', '.join(missing)}; it has {', '.join(inputs) or 'none'}"
        )
    return {port.source_name: _fit(inputs[port.source_name], port, where) for port in ports}


def _fit(array: Array, port: Port, where: str) -> Array:
    shape = port.source_shape
    fits = len(shape) == array.ndim and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits:
        told = "x".join("?" if size is None else str(size) for size in shape)
        have = "x".join(map(str, array.shape))
        raise UsageError(
            f"{where}: input {port.source_name} has shape {have}, but the model takes {told}",
            hint=_shape_hint(array.shape, shape),
        )
    if array.size == 0:
        have = "x".join(map(str, array.shape))
        raise UsageError(f"{where}: input {port.source_name} has shape {have}, which holds nothing")
    wanted = np.dtype(np.float32 if port.spec.quantization is not None else port.spec.dtype)
    if np.issubdtype(array.dtype, np.floating):
        if not np.issubdtype(wanted, np.floating):
            raise UsageError(
                f"{where}: input {port.source_name} is {array.dtype}, but the model takes {wanted}"
            )
        if not np.isfinite(array).all():
            raise UsageError(f"{where}: input {port.source_name} holds NaN or Inf")
        fitted = _cast(array, wanted)
        if not np.isfinite(fitted).all():
            raise UsageError(
                f"{where}: input {port.source_name} holds values too large for {wanted}"
            )
        return fitted
    if array.dtype.kind not in "iub":
        raise UsageError(f"{where}: input {port.source_name} is {array.dtype}, not numbers")
    fitted = _cast(array, wanted)
    if np.issubdtype(wanted, np.integer) and not np.array_equal(fitted, array):
        raise UsageError(f"{where}: input {port.source_name} holds values outside {wanted}")
    return fitted


def _cast(array: Array, wanted: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(wanted, copy=False)


def _shape_hint(have: tuple[int, ...], want: tuple[int | None, ...]) -> str | None:
    if len(have) == len(want) == 4:
        channels_last = (have[0], have[3], have[1], have[2])
        channels_first = (have[0], have[2], have[3], have[1])
        for name, moved in (("channels last", channels_last), ("channels first", channels_first)):
            if all(w is None or w == m for w, m in zip(want, moved, strict=True)):
                return f"the data seem to be {name}; transpose them, or set layout for pictures"
    return None
