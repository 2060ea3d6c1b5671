"""Networks by name, and the table of their layers."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .params import OWN_NETWORKS, Recipe
from .shapes import lenet_sizes, whitened_sizes
from .stage import UserError


def build_network(recipe: Recipe, image_size: int, classes: int, seed: int = 0) -> nn.Module:
    """Build the recipe's network with first weights drawn from ``seed``; the same ones for every device.

    It takes float32 (N, 3, image_size, image_size) and returns logits, (N, classes).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if recipe.network not in OWN_NETWORKS:
            return torchvision_network(recipe, image_size, classes)
        return {"lenet": lenet, "whitened": whitened}[recipe.network](recipe, image_size, classes)


def torchvision_network(recipe: Recipe, image_size: int, classes: int) -> nn.Module:
    """A classification model of torchvision by its name, with first weights as torchvision draws them.

    Raises:
        UserError: it cannot take pictures of a size that the recipe gives it.
    """
    from torchvision.models import get_model  # seconds that the networks above need not wait

    options: dict[str, Any] = {"num_classes": classes}
    if recipe.network in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True, "transform_input": recipe.pretrained}
    elif recipe.network.startswith("vit_"):
        options["image_size"] = image_size
    sizes = sorted({image_size, *(recipe.train_sizes or [])})
    try:
        network: nn.Module = get_model(recipe.network, weights=None, **options)
        for size in sizes:
            run_once(network, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"torchvision's {recipe.network} does not take pictures of {' and '.join(map(str, sizes))} pixels "
            f"({reason}); choose another download.image_size or train_sizes, or another network"
        ) from None
    return network


def lenet(recipe: Recipe, image_size: int, classes: int) -> nn.Sequential:
    assert recipe.kernel_size is not None  # Recipe.check
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


def whitened(recipe: Recipe, image_size: int, classes: int) -> nn.Sequential:
    """The network of arXiv:2404.00498: whitening, then groups of two convolutions that begin as the identity.

    It takes any picture that is not smaller than what its poolings need.
    """
    assert recipe.kernel_size is not None  # Recipe.check
    whitened_sizes(image_size, recipe.channels, recipe.kernel_size)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["whiten"] = Whitening()
    layers["whiten_gelu"] = nn.GELU()
    inputs = 24
    for group, outputs in enumerate(recipe.channels, start=1):
        for half in "ab":
            convolution = nn.Conv2d(inputs, outputs, recipe.kernel_size, padding="same", bias=False)
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


@torch.no_grad()
def set_whitening(network: nn.Module, images: Tensor) -> None:
    """Give the first layer filters whose outputs over these pictures, (N, 3, H, W), are uncorrelated and of variance 1.

    They are the eigenvectors of the patches' covariance over the root of its eigenvalue; then their negatives. Where
    patches do not vary, as in the colours of grey pictures, the others are repeated.
    """
    weight = network.get_parameter("whiten.weight")
    patches = nn.functional.unfold(images, weight.shape[2:]).transpose(1, 2).flatten(0, 1)  # (patches, 3 x 2 x 2)
    variances, vectors = torch.linalg.eigh(patches.double().T.cov().cpu())
    filters = (vectors / (variances + 5e-4).sqrt()).T[variances >= 1e-6 * variances.max()]
    filters = filters[torch.arange(len(vectors)) % len(filters)].view(-1, *weight.shape[1:])
    weight.copy_(torch.cat([filters, -filters]))


@torch.inference_mode()
def run_once(network: nn.Module, image_size: int) -> dict[str, torch.Size]:
    """The output shape, (1, ...), of each of a network's parts, for a picture of this size."""
    shapes = {}

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        return layer.register_forward_hook(lambda *call: shapes.update({name: call[-1].shape}))

    watches = [watch(name, layer) for name, layer in network.named_children()]
    network.eval()(torch.zeros(1, 3, image_size, image_size))  # batch norm takes no notice of the picture
    for each in watches:
        each.remove()
    return shapes


def layer_table(network: nn.Module, image_size: int) -> str:
    """A line a layer, or a part that has layers itself: name, kind, output shape without N, number of parameters."""
    rows = [("input", "", f"3 x {image_size} x {image_size}", "")]
    shapes = run_once(network, image_size)
    for name, layer in network.named_children():
        parameters = sum(tensor.numel() for tensor in layer.parameters())
        shape = " x ".join(map(str, shapes[name][1:])) if name in shapes else ""
        rows.append((name, type(layer).__name__, shape, f"{parameters:,}" if parameters else ""))
    rows.append(("total", "", "", f"{sum(tensor.numel() for tensor in network.parameters()):,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:{widths[0]}}  {layer:{widths[1]}}  {shape:>{widths[2]}}  {parameters:>{widths[3]}}"
        for name, layer, shape, parameters in rows
    )


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
