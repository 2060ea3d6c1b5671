"""Networks by name, and the table of their layers."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.recipes import Lenet, Recipe, Torchvision, Whitened
from common.sizes import lenet_sizes, whitened_sizes


def build_network(recipe: Recipe, image_size: int, classes: int, seed: int = 0) -> nn.Module:
    """Build the recipe's network with first weights drawn from ``seed``; the same ones for every device.

    It takes float32 (N, 3, image_size, image_size) and returns logits, (N, classes).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match recipe.network:
            case Lenet():
                return lenet(recipe.network, image_size, classes)
            case Whitened():
                return whitened(recipe.network, image_size, classes)
            case Torchvision():
                return torchvision_network(recipe.network, image_size, classes)


def torchvision_network(options: Torchvision, image_size: int, classes: int) -> nn.Module:
    """A classification model of torchvision by its name, with first weights as torchvision draws them.

    Raises:
        UserError: it cannot take pictures of a size that the recipe gives it.
    """
    from torchvision.models import get_model  # seconds that the networks above need not wait

    arguments: dict[str, Any] = {"num_classes": classes}
    if options.model in ("googlenet", "inception_v3"):
        arguments |= {
            "aux_logits": False,
            "init_weights": True,
            "transform_input": options.pretrained,
        }
    elif options.model.startswith("vit_"):
        arguments["image_size"] = image_size
    try:
        network: nn.Module = get_model(options.model, weights=None, **arguments)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"torchvision's {options.model} does not take images of {image_size} pixels ({reason}); "
            "choose another download.image_size or another network"
        ) from None
    return network


def lenet(options: Lenet, image_size: int, classes: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for block, outputs in enumerate(options.channels, start=1):
        layers[f"conv{block}"] = nn.Conv2d(inputs, outputs, options.kernel_size)
        layers[f"relu{block}"] = nn.ReLU()
        layers[f"pool{block}"] = nn.MaxPool2d(2)
        inputs = outputs
    _, size = lenet_sizes(image_size, options.channels, options.kernel_size)[-1]
    layers["flatten"] = nn.Flatten()  # (N, C, H, W) to (N, C*H*W)
    inputs *= size * size
    for number, outputs in enumerate(options.hidden, start=1):
        layers[f"linear{number}"] = nn.Linear(inputs, outputs)
        layers[f"linear{number}_relu"] = nn.ReLU()
        inputs = outputs
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)


def whitened(options: Whitened, image_size: int, classes: int) -> nn.Sequential:
    """The network of arXiv:2404.00498: whitening, then groups of two convolutions that begin as the identity.

    It takes any picture that is not smaller than what its poolings need.
    """
    whitened_sizes(image_size, options.channels, options.kernel_size)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["whiten"] = Whitening()
    layers["whiten_gelu"] = nn.GELU()
    inputs = 24
    for group, outputs in enumerate(options.channels, start=1):
        for half in "ab":
            convolution = nn.Conv2d(
                inputs, outputs, options.kernel_size, padding="same", bias=False
            )
            nn.init.dirac_(convolution.weight[:inputs])
            layers[f"conv{group}{half}"] = convolution
            if half == "a":
                layers[f"pool{group}"] = nn.MaxPool2d(2)
            layers[f"norm{group}{half}"] = nn.BatchNorm2d(outputs)
            layers[f"norm{group}{half}"].weight.requires_grad_(False)
            layers[f"gelu{group}{half}"] = nn.GELU()
            inputs = outputs
    layers["pool"] = nn.AdaptiveMaxPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["output"] = ScaledLinear(inputs, classes)
    return nn.Sequential(layers)


class Whitening(nn.Conv2d):
    """Fixed filters, always in float32: they enlarge small differences, and with them bfloat16's rounding."""

    def __init__(self) -> None:
        super().__init__(3, 2 * 3 * 2 * 2, 2, bias=False)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return super().forward(images)


class ScaledLinear(nn.Linear):
    """A linear layer with small outputs but weights of a size that lets them learn as fast as the biases before it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        nn.init.normal_(self.weight, std=0.25)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (4 / self.in_features)


class Normalize(nn.Module):
    """Pixels 0..255 to (pixels / 255 - mean) / std: uint8 or float32 (N, 3, H, W) to float32 with channels last."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", scale.float().view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float().view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images.to(torch.float32, memory_format=torch.channels_last) * self.scale + self.shift
