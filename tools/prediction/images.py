"""From image files to the likeliest classes of each, a batch at a time."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

import numpy as np
from torch import Tensor

from common.arrays import Array
from common.errors import UserError, printable
from common.progress import Progress
from model.classifier import Classifier, Description, predict_batches
from shared.image_files import read_image
from sources.decode import decode_image

BATCH_SIZE = 64  # images that are decoded and predicted together
TOP = 3  # classes named per image


@dataclass(frozen=True)
class Prediction:
    """An image as the network sees it, uint8 (3, H, W), and its likeliest classes."""

    name: str
    image: Array
    top: list[tuple[str, float]]  # class and probability, the highest first
    label: int  # of the first of these
    unsure: bool | None  # its probability is below the threshold; None without a threshold


def predict_files(
    classifier: Classifier, names: list[str], threshold: float | None, progress: Progress
) -> Iterator[Prediction]:
    """Yield a prediction for each image, in order; print the names of those that cannot be read.

    Args:
        classifier: on the device that computes.
        names: the files; ``-`` is standard input.
        threshold: the confidence below which a prediction is unsure; None for never.
        progress: the bar that counts the files.

    Raises:
        UserError: The probabilities of an image are not finite.
    """
    description = classifier.description
    for start in range(0, len(names), BATCH_SIZE):
        batch = names[start : start + BATCH_SIZE]
        decoded = list(decode_files(batch, description, progress))
        if decoded:
            images = np.stack([image for _, image in decoded])
            (probabilities,) = predict_batches(classifier, [images])
            for (name, image), row in zip(decoded, probabilities, strict=True):
                top = likeliest(name, row, description.classes)
                unsure = None if threshold is None else top[0][1] < threshold
                yield Prediction(name, image, top, int(row.argmax()), unsure)
        progress.update(len(batch))


def decode_files(
    names: list[str], description: Description, progress: Progress
) -> Iterator[tuple[str, Array]]:
    """Yield name and image, uint8 (3, H, W), of each file that can be read; print the others."""
    for name in names:
        try:
            yield name, decode_image(read_image(name), description.image_size, description.fit)
        except UserError as error:
            print_above(progress, f"{printable(name)}: {error}", sys.stderr)


def likeliest(name: str, probabilities: Tensor, classes: list[str]) -> list[tuple[str, float]]:
    """Return the most probable classes and their probabilities, in label order where these tie."""
    if not probabilities.isfinite().all():
        raise UserError(
            f"{name}: the model's probabilities are NaN; train again with a lower learning_rate"
        )
    values, labels = probabilities.sort(descending=True, stable=True)
    return [
        (classes[label], value)
        for label, value in zip(labels[:TOP].tolist(), values[:TOP].tolist(), strict=True)
    ]


def print_above(progress: Progress, line: str, file: TextIO) -> None:
    """Print a line; on a terminal, above the bar."""
    if progress.on_terminal:
        progress.write(line, file=file)
    else:
        print(line, file=file, flush=True)
