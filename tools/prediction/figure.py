"""The figure of predicted images, and of where the network looked."""

from pathlib import Path

import numpy as np

from common.arrays import Array
from common.errors import printable
from evaluation.gradcam import blend, grad_cam
from figures.grid import COLUMNS, Caption, image_grid
from figures.style import GREY, ORANGE, save_figure
from model.classifier import Classifier
from prediction.images import Prediction

MOST_DRAWN = 50  # images in a figure, which has to be held in memory and looked at
PAIRS = 3  # images per row, each with where the network looked
LOOKED = Caption("where it looked", GREY)
METHOD = "; bright: speaks for the class (Grad-CAM)"


def check_explainable(classifier: Classifier) -> None:
    """Check that ``draw`` can explain predictions of the classifier.

    Raises:
        UserError: Its network has no layer with positions.
    """
    size = classifier.description.image_size
    grad_cam(classifier, np.zeros((1, 3, size, size), np.uint8), [0])


def draw(
    drawn: list[Prediction], done: int, classifier: Classifier, path: Path, explain: bool
) -> None:
    """Write a PNG of these images, each with its name and class.

    Args:
        drawn: the images.
        done: how many were predicted, of which these are the first.
        classifier: what predicted them.
        path: ends in .png.
        explain: put beside each image where the network looked for its class, by Grad-CAM.
    """
    left_out = f"; {done - len(drawn):,} more images left out" if done > len(drawn) else ""
    images = np.stack([prediction.image for prediction in drawn])
    captions = [caption(prediction) for prediction in drawn]
    if explain:
        labels = [prediction.label for prediction in drawn]
        images = alternate(images, blend(images, grad_cam(classifier, images, labels)))
        captions = [each for one in captions for each in (one, LOOKED)]
    subtitle = f"{classifier.description.title}{left_out}{METHOD if explain else ''}"
    columns = 2 * PAIRS if explain else COLUMNS
    save_figure(image_grid(images, captions, "What the Model Sees", subtitle, columns), path)


def alternate(first: Array, second: Array) -> Array:
    """Return one array of both, (2 N, 3, H, W): an image of the first, one of the second, ..."""
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def caption(prediction: Prediction) -> Caption:
    predicted, confidence = prediction.top[0]
    text = f"{printable(predicted)}: {100 * confidence:.1f} %"
    name = printable(Path(prediction.name).name)
    if prediction.unsure:
        return Caption(f"unsure\n{text}", ORANGE, name)
    return Caption(text, name=name)
