"""The grids of an evaluation: the surest mistakes, and the filters of the first layer."""

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from common.arrays import Array, ImageFile
from evaluation.metrics import records, surest_mistakes
from figures.grid import Caption, image_grid
from figures.style import shorten

MISTAKES = 10  # images
FILTERS = 64
CLASS_LENGTH = 24  # characters of a class that are shown


def draw_mistakes(images: ImageFile, predictions: pd.DataFrame, subtitle: str) -> Figure:
    """Draw the wrong predictions of highest confidence: among them are the data's wrong labels."""
    worst = surest_mistakes(predictions, MISTAKES)
    captions = [
        Caption(
            f"{shorten(row['actual'], CLASS_LENGTH)}\n"
            f"→ {shorten(row['predicted'], CLASS_LENGTH)}, {100 * row['confidence']:.1f} %",
            name=row["file"],
        )
        for row in records(worst)
    ]
    wrong = int((predictions["actual"] != predictions["predicted"]).sum())
    shown = f"{subtitle}: {len(worst)} of {wrong:,} mistakes; actual → predicted, confidence"
    return image_grid(images.read(worst.index.to_numpy()), captions, "Surest Mistakes", shown)


def draw_filters(network: nn.Module, subtitle: str) -> Figure:
    """Draw the first convolution's filters over red, green and blue, each scaled by itself."""
    weight = first_filters(network)
    shown = weight[:FILTERS]
    height, width = weight.shape[2:]
    sizes = f"{len(shown)} of {len(weight)} filters of {width} x {height} pixels, grey is 0"
    captions = [Caption(str(number)) for number in range(1, len(shown) + 1)]
    subtitle = f"{subtitle}: {sizes if len(weight) else 'no convolution over red, green and blue'}"
    return image_grid(visible(shown), captions, "First Layer", subtitle, columns=8, cell=58)


def first_filters(network: nn.Module) -> Tensor:
    """Return the weights of the first convolution with square filters over three channels.

    float32 (N, 3, H, H) on the CPU; N is 0 if there is no such convolution.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            _, channels, height, width = module.weight.shape
            if channels == 3 and height == width:
                return module.weight.detach().float().cpu()
    return torch.empty(0, 3, 1, 1)


def visible(weight: Tensor) -> Array:
    """Return weights, (N, 3, H, W), as uint8: 0 is mid-grey, each filter's largest is 0 or 255."""
    tiny = torch.finfo(weight.dtype).tiny
    largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(tiny)
    pixels: Array = (127.5 + 127.5 * weight / largest).round().to(torch.uint8).numpy()
    return pixels
