"""What is on these images? The three likeliest classes of each, by a trained model.

    python tools/predict.py [MODEL.safetensors] IMAGE... [--json] [--csv OUT.csv] [--unsure 0.6]
                            [--figure OUT.png [--explain]] [--device auto]
                            [--test-time-augmentation recipe]

An IMAGE is a file that Pillow reads, a folder, which stands for all files in it and below, or ``-``
for the bytes of one image on standard input. The model file has all that is needed, so no
parameters are read and any working directory will do; without one it is
models/classifier.safetensors. Images are brought to the model's size as the download stage did it.

Prints one line per image, as batches finish. Instead of these lines, --json prints, at the end, a
list of {"image", "predictions": [{"class", "probability"}, ...]}, the likeliest first,
probabilities in 0..1; --csv writes a file of one row per image: file, predicted, confidence,
second, second_probability, third, third_probability. --unsure marks the images whose highest
probability is below it, also as "unsure": true or false in JSON and in a last column, and counts
them. --figure draws the first 50 images, --explain beside each the parts that speak for its class
(Grad-CAM). A file at OUT is replaced, but never one of the images or the model.

An image that cannot be read is named on standard error and is in none of these; the others are
predicted, and the status is 1. No more than 64 images are in memory besides those to draw, however
many there are. About five seconds, most of them for importing libraries; then what decoding takes.
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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError, printable
from common.files import MODEL
from common.progress import Progress
from model.classifier import Classifier
from model.device import select_device
from model.file import load_classifier
from prediction.figure import MOST_DRAWN, check_explainable, draw
from prediction.forms import as_json, as_text, csv_file, width
from prediction.images import Prediction, predict_files, print_above
from shared.image_files import list_images
from shared.options import add_device, add_test_time_augmentation
from shared.output import check_output


@dataclass
class Results:
    """What is counted, and kept until the end, while images are predicted."""

    done: int = 0
    unsure: int = 0
    listed: list[dict[str, object]] = field(default_factory=list)
    drawn: list[Prediction] = field(default_factory=list)


def main() -> None:
    arguments = parse()
    names = [name for argument in arguments.images for name in list_images(argument)]
    check_outputs(arguments, names)
    classifier = load_classifier(arguments.model, arguments.test_time_augmentation)
    classifier.to(select_device(arguments.device))
    if arguments.explain:
        check_explainable(classifier)

    with csv_file(arguments.csv, arguments.unsure is not None) as write_row:
        results = predict_and_show(classifier, names, arguments, write_row)
        if arguments.csv is not None and not results.done:
            raise unreadable(len(names), len(names))  # an earlier file stays
    if arguments.json:
        print(json.dumps(results.listed, indent=2, allow_nan=False))
    if results.drawn:
        draw(results.drawn, results.done, classifier, arguments.figure, arguments.explain)
    print_summary(results, arguments, len(names))
    if results.done < len(names):
        raise unreadable(len(names) - results.done, len(names))


def parse() -> argparse.Namespace:
    """Return the command line, with the model set apart from the images.

    Raises:
        UserError: No images are named; options are out of range or do not fit together.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="file, folder, or - for standard input; the first may be the model",
    )
    add_outputs(parser)
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
    if arguments.unsure is not None and not 0 < arguments.unsure < 1:
        raise UserError(
            f"--unsure {arguments.unsure:g}: choose a confidence between 0 and 1, such as 0.6"
        )
    if arguments.explain and arguments.figure is None:
        raise UserError("--explain: draws into the figure; add --figure OUT.png")
    return arguments


def add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--csv", type=Path, metavar="OUT.csv", help="write a row per image instead of text"
    )
    parser.add_argument(
        "--unsure",
        type=float,
        metavar="CONFIDENCE",
        help="mark images whose highest probability is below it, 0 to 1",
    )
    parser.add_argument(
        "--figure", type=Path, metavar="OUT.png", help="draw the images with their classes"
    )
    parser.add_argument(
        "--explain", action="store_true", help="draw also where the network looked (Grad-CAM)"
    )


def check_outputs(arguments: argparse.Namespace, names: list[str]) -> None:
    """Check that no output would take the place of the model or of an image."""
    for option, path, suffix in (
        ("--csv", arguments.csv, ".csv"),
        ("--figure", arguments.figure, ".png"),
    ):
        if path is not None:
            check_output(option, path, suffix, [arguments.model, *names])


def predict_and_show(
    classifier: Classifier,
    names: list[str],
    arguments: argparse.Namespace,
    write_row: Callable[[Prediction], None],
) -> Results:
    """Predict the files, give each prediction to the outputs asked for, and return the counts."""
    results = Results()
    widths = width(names), width(classifier.description.classes)
    with Progress(total=len(names), desc="Predict", unit="image") as progress:
        for prediction in predict_files(classifier, names, arguments.unsure, progress):
            results.done += 1
            results.unsure += bool(prediction.unsure)
            write_row(prediction)
            if arguments.json:
                results.listed.append(as_json(prediction))
            elif arguments.csv is None:
                print_above(progress, as_text(prediction, *widths), sys.stdout)
            if arguments.figure is not None and len(results.drawn) < MOST_DRAWN:
                results.drawn.append(prediction)
    return results


def print_summary(results: Results, arguments: argparse.Namespace, total: int) -> None:
    """Print what was written and how many images are unsure; not into the JSON."""
    file = sys.stderr if arguments.json else sys.stdout
    if arguments.csv is not None:
        print(printable(f"{arguments.csv}: {results.done:,} of {total:,} images"), file=file)
    if arguments.unsure is not None:
        counts = f"{results.unsure:,} of {results.done:,} images"
        print(f"unsure: {counts}, whose confidence is below {arguments.unsure:g}", file=file)


def unreadable(count: int, total: int) -> UserError:
    return UserError(f"{count} of {total} images could not be read; they are named above")


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks must not stop the rest.
        sys.stdout.reconfigure(errors="backslashreplace")
    if hasattr(signal, "SIGPIPE"):
        # End without a message when the reader of a pipe, such as head, has read enough.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    run_tool(main)
