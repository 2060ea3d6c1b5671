"""The figure of predicted images."""

from pathlib import Path

import numpy as np

from common.errors import printable
from figures.grid import Caption, image_grid
from figures.style import ORANGE, save_figure
from prediction.images import Prediction

MOST_DRAWN = 50  # images in a figure, which has to be held in memory and looked at


def draw(drawn: list[Prediction], done: int, title: str, path: Path) -> None:
    """Write a PNG of these images, out of ``done`` predicted ones, each with its name and class."""
    left_out = f"; {done - len(drawn):,} more images left out" if done > len(drawn) else ""
    images = np.stack([prediction.image for prediction in drawn])
    captions = [caption(prediction) for prediction in drawn]
    figure = image_grid(images, captions, "What the Model Sees", f"{title}{left_out}")
    save_figure(figure, path)


def caption(prediction: Prediction) -> Caption:
    predicted, confidence = prediction.top[0]
    text = f"{printable(predicted)}: {100 * confidence:.1f} %"
    name = printable(Path(prediction.name).name)
    if prediction.unsure:
        return Caption(f"{text}, unsure", ORANGE, name)
    return Caption(text, name=name)
