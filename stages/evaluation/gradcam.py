"""Where a network looks: Grad-CAM (Selvaraju et al., arXiv:1610.02391), and how it is shown."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import Array
from common.errors import UserError
from model.classifier import Classifier

COLORS = "inferno"  # perceptually uniform, from black (not looked at) to yellow
OPACITY = 0.55  # of the colours over an image


def grad_cam(classifier: Classifier, images: Array, classes: Sequence[int] | Array) -> Array:
    """Return where the network sees each class: the parts of the image that raise its logit.

    Each channel of the last layer that still has positions is weighted by the mean of the logit's
    gradient over the positions; the positive part of the sum, enlarged to the image, is the map.
    It computes in float32, whatever the recipe's precision, without test-time augmentation, one
    image at a time, so that a map does not depend on the other images. The classifier stays as it
    was.

    Args:
        classifier: on the device that computes.
        images: uint8 (n, 3, H, W).
        classes: n labels, one per image.

    Returns:
        float32 (n, H, W), 0 to 1: the largest value of each map is 1, unless nothing in the image
        raises the logit, which makes the map 0 everywhere.

    Raises:
        UserError: The network has no such layer, as a vision transformer.
    """
    device = next(classifier.parameters()).device
    maps = np.zeros((len(images), *images.shape[2:]), np.float32)
    with evaluating(classifier), torch.inference_mode(False), torch.enable_grad():
        for number, (image, label) in enumerate(zip(images, classes, strict=True)):
            pixels = torch.from_numpy(image[None]).to(device)
            maps[number] = heat_map(classifier, pixels, int(label)).cpu().numpy()
    return maps


def heat_map(classifier: Classifier, image: Tensor, label: int) -> Tensor:
    """Return the map of an image, uint8 (1, 3, H, W), as float32 (H, W)."""
    with last_with_positions(classifier.network) as outputs:
        # If the weights are frozen, only this makes the outputs have gradients.
        logits = classifier.network(classifier.normalize(image).requires_grad_())
    if not outputs or not is_spatial(outputs[0]):
        raise UserError(no_spatial_layer(classifier))
    (activations,) = outputs  # (1, C, h, w)
    (gradients,) = torch.autograd.grad(logits[0, label], activations)
    weights = gradients.mean(dim=(2, 3), keepdim=True)  # (1, C, 1, 1)
    small = (weights * activations.detach()).sum(dim=1, keepdim=True).relu()
    large = functional.interpolate(small, image.shape[2:], mode="bilinear")[0, 0]
    return large / large.max().clamp_min(torch.finfo(large.dtype).tiny)


@contextmanager
def last_with_positions(network: nn.Module) -> Iterator[list[Tensor]]:
    """Let a list hold the latest output, of any module, that has a value per position.

    Such outputs have more than two dimensions, unless height and width are 1, as after a global
    pooling.
    """
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim > 2 and output.shape[2:].numel() > 1:
            outputs[:] = [output]

    # An adaptive pooling, as in AlexNet, may repeat positions, even a single one.
    parts = [part for part in network.modules() if not isinstance(part, nn.AdaptiveAvgPool2d)]
    handles = [part.register_forward_hook(keep) for part in parts]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def is_spatial(output: Tensor) -> bool:
    """Return if an output is (n, c, h, w) of a square image, not tokens nor channels last."""
    return output.ndim == 4 and output.shape[2] == output.shape[3]


def no_spatial_layer(classifier: Classifier) -> str:
    network = classifier.description.recipe.network
    name = getattr(network, "model", network.name)
    size = classifier.description.image_size
    return (
        f"network {name} has no rows and columns before its last layers, for images of {size} "
        "pixels; Grad-CAM, which shows where a network looks, needs a convolutional one"
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluate for a while; afterwards each part is in the mode that it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def blend(images: Array, maps: Array) -> Array:
    """Draw heat maps, float32 (n, H, W) in 0..1, over images, uint8 (n, 3, H, W).

    The images lose their colours, so that every colour is the map's: the brighter, the hotter.

    Returns:
        uint8 (n, 3, H, W).
    """
    red, green, blue = images.astype(np.float32).transpose(1, 0, 2, 3)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue  # luma, ITU-R BT.601
    colors = 255 * matplotlib.colormaps[COLORS](maps)[..., :3].transpose(0, 3, 1, 2)
    mixed = (1 - OPACITY) * grey[:, None] + OPACITY * colors
    pixels: Array = mixed.round().astype(np.uint8)
    return pixels
