"""What is on these images? The three likeliest classes of each, by a trained model.

    python tools/predict.py [MODEL.safetensors] IMAGE... [--json] [--figure OUT.png] [--device auto]
                            [--test-time-augmentation recipe]

An IMAGE is a file that Pillow reads, a folder, which stands for all files in it and below, or ``-``
for the bytes of one image on standard input. The model file has all that is needed, so no
parameters are read and any working directory will do; without one it is
models/classifier.safetensors. Images are brought to the model's size as the download stage did it.

Prints one line per image, as batches finish; with --json, at the end, a list of {"image",
"predictions": [{"class", "probability"}, ...]}, the likeliest first, probabilities in 0..1. An
image that cannot be read is named on standard error and is not in the list; the others are
predicted, and the status is 1. --figure draws the first 50. No more than 64 images are in memory
besides these. About five seconds, most of them for importing libraries; then what decoding takes.
"""

import _paths  # noqa: F401
from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
import io
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from torch import Tensor

from common.arrays import Array
from common.errors import UserError, printable
from common.files import MODEL
from common.progress import Progress
from figures.grid import Caption, image_grid
from figures.style import save_figure
from model.classifier import Classifier, Description, predict_batches
from model.device import select_device
from model.file import load_classifier
from shared.image_files import list_images, read_image
from shared.options import add_device, add_test_time_augmentation
from shared.output import check_output
from sources.decode import decode_image

BATCH_SIZE = 64  # images that are decoded and predicted together
TOP = 3  # classes named per image
MOST_DRAWN = 50  # images in a figure, which has to be held in memory and looked at


@dataclass(frozen=True)
class Prediction:
    """An image as the network sees it, uint8 (3, H, W), and its likeliest classes."""

    name: str
    image: Array
    top: list[tuple[str, float]]  # class and probability, the highest first


def main() -> None:
    arguments = parse()
    names = [name for argument in arguments.images for name in list_images(argument)]
    if arguments.figure is not None:
        given = [arguments.model, *map(Path, names)]
        check_output("--figure", arguments.figure, ".png", given)
    classifier = load_classifier(arguments.model, arguments.test_time_augmentation)
    classifier.to(select_device(arguments.device))
    widths = width(names), width(classifier.description.classes)

    done = 0
    listed: list[dict[str, object]] = []
    drawn: list[Prediction] = []
    with Progress(total=len(names), desc="Predict", unit="image") as progress:
        for prediction in predict_files(classifier, names, progress):
            done += 1
            if arguments.json:
                listed.append(as_json(prediction))
            else:
                print_above(progress, as_text(prediction, *widths), sys.stdout)
            if arguments.figure is not None and len(drawn) < MOST_DRAWN:
                drawn.append(prediction)

    if arguments.json:
        print(json.dumps(listed, indent=2, allow_nan=False))
    if drawn:
        draw(drawn, done, classifier.description.title, arguments.figure)
    if done < len(names):
        raise UserError(
            f"{len(names) - done} of {len(names)} images could not be read; they are named above"
        )


def parse() -> argparse.Namespace:
    """Return the command line, with the model set apart from the images.

    Raises:
        UserError: No images are named.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="file, folder, or - for standard input; the first may be the model",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--figure", type=Path, metavar="OUT.png", help="draw the images with their classes"
    )
    add_device(parser)
    add_test_time_augmentation(parser)
    arguments = parser.parse_args()
    arguments.model = MODEL
    if arguments.images[0].endswith(".safetensors"):
        arguments.model = Path(arguments.images.pop(0))
    if not arguments.images:
        raise UserError(
            f"{arguments.model}: a model but no image; name files, folders, or - for standard input"
        )
    return arguments


def predict_files(
    classifier: Classifier, names: list[str], progress: Progress
) -> Iterator[Prediction]:
    """Yield a prediction for each image, in order; print the names of those that cannot be read.

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
                yield Prediction(name, image, likeliest(name, row, description.classes))
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


def as_json(prediction: Prediction) -> dict[str, object]:
    top = [{"class": name, "probability": probability} for name, probability in prediction.top]
    return {"image": prediction.name, "predictions": top}


def as_text(prediction: Prediction, name_width: int, class_width: int) -> str:
    shares = [
        f"{printable(name):{class_width}} {100 * probability:5.1f} %"
        for name, probability in prediction.top
    ]
    return f"{printable(prediction.name):{name_width}}  {'   '.join(shares)}"


def width(names: list[str]) -> int:
    return max(len(printable(name)) for name in names)


def print_above(progress: Progress, line: str, file: TextIO) -> None:
    """Print a line; on a terminal, above the bar."""
    if progress.on_terminal:
        progress.write(line, file=file)
    else:
        print(line, file=file, flush=True)


def draw(drawn: list[Prediction], done: int, title: str, path: Path) -> None:
    """Write a PNG of these images, out of ``done`` predicted ones, each with its name and class."""
    captions = [
        Caption(
            f"{printable(name)}: {100 * probability:.1f} %",
            name=printable(Path(prediction.name).name),
        )
        for prediction in drawn
        for name, probability in prediction.top[:1]
    ]
    left_out = f"; {done - len(drawn):,} more images left out" if done > len(drawn) else ""
    images = np.stack([prediction.image for prediction in drawn])
    figure = image_grid(images, captions, "What the Model Sees", f"{title}{left_out}")
    save_figure(figure, path)


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks must not stop the rest.
        sys.stdout.reconfigure(errors="backslashreplace")
    if hasattr(signal, "SIGPIPE"):
        # End without a message when the reader of a pipe, such as head, has read enough.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    run_tool(main)
