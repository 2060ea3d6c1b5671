"""The whitened network: whitening, then groups of two convolutions that begin as the identity.

The method is that of K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
arXiv:2404.00498. Here the groups' widths and number are free, and convolutions have any odd kernel
size.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, pad

from common.network_options import Whitened
from common.sizes import whitened_sizes


class Whitening(nn.Conv2d):
    """Fixed 2x2 filters on red, green and blue, set from training images before the first step.

    They compute in float32 even under bfloat16 autocast: they enlarge small differences between
    pixels, and with them the rounding of bfloat16.
    """

    def __init__(self) -> None:
        # Each of the 3 * 2 * 2 eigenvectors of the patches' covariance, and its negative.
        super().__init__(3, 2 * 3 * 2 * 2, kernel_size=2, bias=False)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return super().forward(images)


class PooledConvolution(nn.Conv2d):
    """A convolution before 2x2 pooling that skips the row and column that the pooling drops.

    These are the last ones of a map of odd width: 13 % of the multiplications at 15 pixels, 27 % at
    7. What the pooling returns stays the same.
    """

    def forward(self, maps: Tensor) -> Tensor:
        if maps.shape[-1] % 2 == 0:
            return super().forward(maps)
        before = self.kernel_size[0] // 2
        sides = (before, before - 1)  # of zeros: left and above, right and below; -1 cuts one off
        return conv2d(pad(maps, (*sides, *sides)), self.weight, self.bias)


class GlobalMaxPool(nn.Module):
    """The maximum of each channel, as nn.AdaptiveMaxPool2d(1), whose gradient is not deterministic
    on a GPU.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return max_pool2d(maps, maps.shape[2:])


class ScaledLinear(nn.Linear):
    """A linear layer whose outputs are divided by a quarter of its inputs.

    Logits then begin small, while the weights are large enough to learn as fast as the biases of
    the layers before.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        if not self.weight.is_meta:  # there, drawing nothing would import libraries for a second
            nn.init.normal_(self.weight, std=0.25)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) * (4 / self.in_features)


def whitened(options: Whitened, image_size: int, classes: int) -> nn.Sequential:
    """Build the network.

    The network takes float32 (N, 3, image_size, image_size), or smaller images as long as its
    poolings leave a pixel, and returns logits, (N, classes).

    Raises:
        UserError: Nothing would be left of the image, or ``kernel_size`` is even.
    """
    whitened_sizes(image_size, options.channels, options.kernel_size)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["whiten"] = whitening = Whitening()
    layers["whiten_gelu"] = nn.GELU()
    inputs = whitening.out_channels
    for group, outputs in enumerate(options.channels, start=1):
        # For the first group's few inputs, the padding would take longer than it saves.
        kind = nn.Conv2d if group == 1 else PooledConvolution
        layers[f"conv{group}a"] = identity_convolution(kind, inputs, outputs, options.kernel_size)
        layers[f"pool{group}"] = nn.MaxPool2d(2)
        layers[f"norm{group}a"] = unscaled_norm(outputs)
        layers[f"gelu{group}a"] = nn.GELU()
        layers[f"conv{group}b"] = identity_convolution(
            nn.Conv2d, outputs, outputs, options.kernel_size
        )
        layers[f"norm{group}b"] = unscaled_norm(outputs)
        layers[f"gelu{group}b"] = nn.GELU()
        inputs = outputs
    layers["pool"] = GlobalMaxPool()
    layers["flatten"] = nn.Flatten()
    layers["output"] = ScaledLinear(inputs, classes)
    return nn.Sequential(layers)


@torch.no_grad()
def identity_convolution(
    kind: type[nn.Conv2d], inputs: int, outputs: int, kernel_size: int
) -> nn.Conv2d:
    """Build a convolution whose first ``inputs`` filters are the identity, further ones random."""
    convolution = kind(inputs, outputs, kernel_size, padding="same", bias=False)
    # nn.init.dirac_ does the same with a loop in Python, which is endless for a hostile model file.
    filters = convolution.weight[:inputs].zero_()
    filters[:, :, kernel_size // 2, kernel_size // 2].fill_diagonal_(1)
    return convolution


def unscaled_norm(channels: int) -> nn.BatchNorm2d:
    """Build batch norm with a bias but without a learned scale."""
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm
