"""Train the Fashion-MNIST example and write the three files that it ships.

    python examples/fashion-mnist/train.py [--data DIR] [--epochs N]

Writes, beside this script unless ``--output`` says otherwise:

- ``model.onnx``: the float network, input ``image`` float32 (1, 1, 28, 28) with values 0 to 1,
  output ``logits`` float32 (1, 10), batch norms folded into the convolutions;
- ``calibration.npz``: 200 training pictures, 20 of each class, ``image`` uint8 (200, 1, 28, 28);
- ``evaluation.npz``: the first 4,000 test pictures, ``image`` uint8 (4000, 1, 28, 28), and
  ``labels`` int64 (4000,).

Pictures are stored as bytes and must be multiplied by 1/255 before the model sees them.

The data are the four ``*-ubyte.gz`` files of Fashion-MNIST (MIT licence, Zalando SE), as in
Debian's package ``dataset-fashion-mnist`` or from https://github.com/zalandoresearch/fashion-mnist.
"""

from __future__ import annotations

import argparse
import gzip
import struct
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

CLASSES = 10
CALIBRATION_PER_CLASS = 20
EVALUATION_COUNT = 4000
MAX_SHIFT = 1
MAX_PARITY_ERROR = 1e-3


def fashion_net() -> nn.Sequential:
    """The network, untrained: float32 (N, 1, 28, 28) with values 0 to 1 -> logits (N, 10).

    Six plain 3x3 convolutions, each with batch norm and ReLU, at 28x28, 14x14 and 7x7.
    371,242 parameters and 45.4 million multiply-accumulates, nearly all in the convolutions from
    32 channels up, where INT8 arithmetic pays.
    """

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *block(1, 32),
        *block(32, 64),
        nn.MaxPool2d(2),
        *block(64, 64),
        *block(64, 96),
        nn.MaxPool2d(2),
        *block(96, 128),
        *block(128, 128),
        nn.AvgPool2d(7),
        nn.Flatten(),
        nn.Linear(128, CLASSES),
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one gzipped IDX file of unsigned bytes."""
    with gzip.open(path) as file:
        content = file.read()
    zeros, dtype, rank = struct.unpack_from(">HBB", content)
    if zeros != 0 or dtype != 8:
        raise SystemExit(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{rank}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_split(folder: Path, prefix: str) -> tuple[Images, Labels]:
    """Read the pictures (N, 1, 28, 28) and labels (N,) of ``train`` or ``t10k``."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")[:, None]
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz").astype(np.int64)
    return images, labels


def to_input(images: Images) -> Tensor:
    """uint8 (N, 1, 28, 28) -> float32 of the same shape, 0 to 1."""
    return torch.from_numpy(images.astype(np.float32)) / 255


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the pictures and shift each by up to ``MAX_SHIFT`` pixels."""
    count, _, height, width = images.shape
    mirror = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirror, images.flip(3), images)
    padded = F.pad(images, (MAX_SHIFT,) * 4)
    shift = torch.randint(0, 2 * MAX_SHIFT + 1, (2, count, 1), generator=generator)
    rows = (shift[0] + torch.arange(height))[:, :, None]
    columns = (shift[1] + torch.arange(width))[:, None, :]
    picture = torch.arange(count)[:, None, None]
    return padded[picture, 0, rows, columns][:, None]


def train(images: Images, labels: Labels, *, epochs: int, batch: int, seed: int) -> nn.Sequential:
    """Train for ``epochs`` passes over the data; return the network of the last step."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = fashion_net().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    steps = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.15, total_steps=epochs * steps, pct_start=0.25
    )
    inputs, targets = to_input(images), torch.from_numpy(labels)

    for epoch in range(1, epochs + 1):
        started, total_loss, correct = time.perf_counter(), 0.0, 0
        order = torch.randperm(len(inputs), generator=generator)
        for chosen in order[: steps * batch].split(batch):
            pictures = augment(inputs[chosen], generator)
            logits = net(pictures.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, targets[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total_loss += loss.item()
            correct += int((logits.argmax(1) == targets[chosen]).sum())
        print(
            f"epoch {epoch}/{epochs}: loss {total_loss / steps:.4f}, "
            f"training accuracy {correct / (steps * batch):.4f}, "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
    return net.eval()


def export(net: nn.Sequential, path: Path) -> None:
    """Write the network as one ONNX file with a fixed batch of one."""
    # The channels-last layout helped training; the exported weights are plain (O, I, H, W).
    net = net.to(memory_format=torch.contiguous_format)
    torch.onnx.export(
        net,
        (torch.zeros(1, 1, 28, 28),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    # The exporter notes where in the Python sources each node came from: not worth shipping.
    model = onnx.load(path)
    for item in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
        model.graph,
    ):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def run_onnx(path: Path, images: Images) -> NDArray[np.float32]:
    """The logits (N, 10) of the exported file, one picture at a time."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = to_input(images).numpy()
    return np.concatenate([session.run(None, {"image": picture[None]})[0] for picture in inputs])


def first_of_each_class(labels: Labels, count: int) -> NDArray[np.intp]:
    """The indices, ascending, of the first ``count`` pictures of each class."""
    chosen = [np.flatnonzero(labels == number)[:count] for number in range(CLASSES)]
    return np.sort(np.concatenate(chosen))


def main() -> None:
    """Train, export, check the exported file against the network, and write the data files."""
    parser = argparse.ArgumentParser(description="Reproduce the Fashion-MNIST example's files.")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("/usr/share/datasets/fashion-mnist"),
        metavar="DIR",
        help="folder of the four *-ubyte.gz files (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        metavar="DIR",
        help="folder to write to (default: the script's own)",
    )
    parser.add_argument("--epochs", type=int, default=4, metavar="N", help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=128, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--threads",
        type=int,
        default=2,
        metavar="N",
        help="threads to train with; the result's last bits depend on it (default: %(default)s)",
    )
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)

    train_images, train_labels = read_split(arguments.data, "train")
    test_images, test_labels = read_split(arguments.data, "t10k")

    started = time.perf_counter()
    net = train(
        train_images,
        train_labels,
        epochs=arguments.epochs,
        batch=arguments.batch,
        seed=arguments.seed,
    )
    print(f"trained in {time.perf_counter() - started:.0f} s")

    arguments.output.mkdir(parents=True, exist_ok=True)
    model_path = arguments.output / "model.onnx"
    export(net, model_path)

    logits = run_onnx(model_path, test_images)
    with torch.no_grad():
        expected = net(to_input(test_images[:100])).numpy()
    difference = float(np.abs(logits[:100] - expected).max())
    if difference > MAX_PARITY_ERROR:
        raise SystemExit(f"{model_path}: differs from the trained network by {difference:.2g}")
    correct = logits.argmax(1) == test_labels
    print(f"the ONNX file agrees with the trained network within {difference:.1e}")
    print(f"accuracy on the {EVALUATION_COUNT} shipped: {correct[:EVALUATION_COUNT].mean():.4f}")
    print(f"accuracy on all {len(correct)} test pictures: {correct.mean():.4f}")

    chosen = first_of_each_class(train_labels, CALIBRATION_PER_CLASS)
    np.savez_compressed(arguments.output / "calibration.npz", image=train_images[chosen])
    np.savez_compressed(
        arguments.output / "evaluation.npz",
        image=test_images[:EVALUATION_COUNT],
        labels=test_labels[:EVALUATION_COUNT],
    )


if __name__ == "__main__":
    main()
