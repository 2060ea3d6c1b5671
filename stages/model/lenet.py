"""LeNet: the network of the tutorial, for images of any size."""

from collections import OrderedDict

from torch import nn

from common.network_options import Lenet
from common.sizes import lenet_sizes


def lenet(options: Lenet, image_size: int, classes: int) -> nn.Sequential:
    """Build convolution, ReLU and 2x2 max-pooling for each of the channels, then linear layers.

    The network takes float32 (N, 3, image_size, image_size) and returns logits, (N, classes).

    Raises:
        UserError: A layer would be less than one pixel wide.
    """
    sizes = lenet_sizes(image_size, options.channels, options.kernel_size)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for block, outputs in enumerate(options.channels, start=1):
        layers[f"conv{block}"] = nn.Conv2d(inputs, outputs, options.kernel_size)
        layers[f"relu{block}"] = nn.ReLU()
        layers[f"pool{block}"] = nn.MaxPool2d(2)
        inputs = outputs
    _, size = sizes[-1]  # after the last pooling
    layers["flatten"] = nn.Flatten()  # (N, C, H, W) to (N, C*H*W)
    inputs *= size * size
    for number, outputs in enumerate(options.hidden, start=1):
        layers[f"linear{number}"] = nn.Linear(inputs, outputs)
        layers[f"linear{number}_relu"] = nn.ReLU()
        inputs = outputs
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
