"""Networks by name, and the table of their layers."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .params import Recipe
from .shapes import lenet_sizes


def build_network(recipe: Recipe, image_size: int, classes: int, seed: int = 0) -> nn.Sequential:
    """Build the recipe's network with first weights drawn from ``seed``; the same ones for every device.

    It takes float32 (N, 3, image_size, image_size) and returns logits, (N, classes).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return lenet(recipe, image_size, classes)


def lenet(recipe: Recipe, image_size: int, classes: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for block, outputs in enumerate(recipe.channels, start=1):
        layers[f"conv{block}"] = nn.Conv2d(inputs, outputs, recipe.kernel_size)
        layers[f"relu{block}"] = nn.ReLU()
        layers[f"pool{block}"] = nn.MaxPool2d(2)
        inputs = outputs
    _, size = lenet_sizes(image_size, recipe.channels, recipe.kernel_size)[-1]
    layers["flatten"] = nn.Flatten()  # (N, C, H, W) to (N, C*H*W)
    inputs *= size * size
    for number, outputs in enumerate(recipe.hidden, start=1):
        layers[f"linear{number}"] = nn.Linear(inputs, outputs)
        layers[f"linear{number}_relu"] = nn.ReLU()
        inputs = outputs
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)


def layer_table(network: nn.Sequential, image_size: int) -> str:
    """A line a layer: name, layer, output shape without N, number of parameters."""
    rows = [("input", "", f"3 x {image_size} x {image_size}", "")]
    total = 0
    picture = torch.zeros(1, 3, image_size, image_size)
    for name, layer in network.named_children():
        picture = layer(picture)
        parameters = sum(tensor.numel() for tensor in layer.parameters())
        total += parameters
        shape = " x ".join(map(str, picture.shape[1:]))
        rows.append((name, type(layer).__name__, shape, f"{parameters:,}" if parameters else ""))
    rows.append(("total", "", "", f"{total:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:{widths[0]}}  {layer:{widths[1]}}  {shape:>{widths[2]}}  {parameters:>{widths[3]}}"
        for name, layer, shape, parameters in rows
    )


class Normalize(nn.Module):
    """Pixels 0..255 to (pixels / 255 - mean) / std: uint8 (N, 3, H, W) to float32 with channels last."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", scale.float().view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float().view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images.to(torch.float32, memory_format=torch.channels_last).mul_(self.scale).add_(self.shift)
