"""The network that a recipe names, and the normalisation before it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from common.network_options import Lenet, Timm, Torchvision, Whitened
from common.recipes import Recipe
from model import timm, torchvision
from model.lenet import lenet
from model.whitened import whitened


def build_network(recipe: Recipe, image_size: int, classes: int, seed: int = 0) -> nn.Module:
    """Build the recipe's network with initial weights drawn from ``seed``.

    The weights are drawn on the CPU, so that they are the same for every device. The network takes
    float32 (N, 3, image_size, image_size) and returns logits, (N, classes).

    Raises:
        UserError: The network does not take images of ``image_size`` pixels.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match recipe.network:
            case Lenet():
                return lenet(recipe.network, image_size, classes)
            case Whitened():
                return whitened(recipe.network, image_size, classes)
            case Torchvision():
                return torchvision.torchvision_network(recipe.network, image_size, classes)
            case Timm():
                return timm.timm_network(recipe.network, image_size, classes)


def published_size(network: Torchvision | Timm) -> int:
    """Return the width and height in pixels of the images that a library's model is for."""
    if isinstance(network, Timm):
        return timm.published_size(network)
    return torchvision.published_size(network)


def last_layer_tensors(recipe: Recipe, image_size: int, classes: int) -> set[str]:
    """Return the names of the tensors whose shapes depend on the number of classes."""
    with ShapesOnly():
        one, other = (
            build_network(recipe, image_size, count).state_dict()
            for count in (classes, classes + 1)
        )
    return {name for name in one if one[name].shape != other[name].shape}


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights that have lost the ``_metadata`` of ``state_dict``, as in a file or a ``dict``.

    Without it, some networks, such as torchvision's mnasnet, take the weights for those of an older
    version.

    Raises:
        RuntimeError: A tensor is missing, is extra or has another shape.
    """
    state = network.state_dict()
    state.clear()  # of the tensors; the metadata stay
    state.update(weights)
    network.load_state_dict(state)


class ShapesOnly(TorchFunctionMode):
    """While it is active, parameters and buffers are made without memory, on the meta device.

    ``with torch.device("meta")`` makes all tensors so, and torchvision's regnet cannot be built:
    it computes its widths by tensors, whose values it needs.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.empty, torch.zeros, torch.ones) and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return function(*args, **kwargs)


class Normalize(nn.Module):
    """(pixels / 255 - mean) / std, for uint8 or float32 pixels in 0..255, (N, 3, H, W).

    The result is float32 in channels-last memory format.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        means = torch.tensor(mean, dtype=torch.float64)
        stds = torch.tensor(std, dtype=torch.float64)
        for name, values in {"scale": 1 / (255 * stds), "shift": -means / stds}.items():
            # Not persistent: the recipe has them, so the weights need not.
            self.register_buffer(name, values.float().view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images.to(torch.float32, memory_format=torch.channels_last) * self.scale + self.shift
