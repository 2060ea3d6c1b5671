"""What spoke for the predicted and for the actual class where the network was surely wrong."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.arrays import Array, ImageFile
from common.errors import UserError
from evaluation.galleries import CLASS_LENGTH, MISTAKES
from evaluation.gradcam import blend, grad_cam
from evaluation.metrics import records, surest_mistakes
from figures.grid import Caption, image_grid
from figures.style import shorten
from model.classifier import Classifier

CELL = 92.2  # points: six images in a row are as wide as other figures


@dataclass(frozen=True)
class Explained:
    """The surest mistakes with heat maps, or none of them and the reason."""

    mistakes: pd.DataFrame
    images: Array  # uint8 (n, 3, H, W)
    predicted: Array  # heat maps of the predicted class, float32 (n, H, W)
    actual: Array
    missing: str  # why there are none; empty if there are


def explain_mistakes(
    classifier: Classifier, images: ImageFile, predictions: pd.DataFrame
) -> Explained:
    """Compute the heat maps of the surest mistakes, for the predicted and the actual class."""
    mistakes = surest_mistakes(predictions, MISTAKES)
    rows = images.read(mistakes.index.to_numpy())
    classes = classifier.description.classes
    try:
        predicted, actual = (
            grad_cam(classifier, rows, [classes.index(name) for name in mistakes[column]])
            for column in ("predicted", "actual")
        )
    except UserError as error:
        none = np.empty((0, *rows.shape[2:]), np.float32)
        return Explained(mistakes.head(0), rows[:0], none, none, missing=str(error))
    missing = "" if len(mistakes) else "no prediction is wrong"
    return Explained(mistakes, rows, predicted, actual, missing)


def draw_explained(explained: Explained, subtitle: str) -> Figure:
    """Draw three images per mistake: as it is, and over it both of its heat maps."""
    cells = np.stack(
        [
            explained.images,
            blend(explained.images, explained.predicted),
            blend(explained.images, explained.actual),
        ],
        axis=1,
    ).reshape(-1, *explained.images.shape[1:])
    captions = []
    for row in records(explained.mistakes):
        actual, predicted = (shorten(row[key], CLASS_LENGTH) for key in ("actual", "predicted"))
        captions += [
            Caption(actual, name=row["file"]),
            Caption(f"→ {predicted}\n{100 * row['confidence']:.1f} %"),
            Caption(f"{actual}\n{100 * row['actual_probability']:.1f} %"),
        ]
    words = "image, what speaks for the predicted class, what for the actual"
    if explained.missing:
        words = "no heat maps, report.html says why"
    return image_grid(
        cells, captions, "Where the Network Looked", f"{subtitle}: {words}", columns=6, cell=CELL
    )
