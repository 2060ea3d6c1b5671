"""What is on these pictures? The three likeliest classes of each, by a trained model.

    python tools/predict.py [MODEL.safetensors] PICTURE... [--json] [--figure OUT.png] [--device auto]

A PICTURE is a file that Pillow reads, a folder, of which everything in it and below is taken, or ``-`` for the bytes of
one on standard input. All that is needed is in the model file, so no parameters are read and any working directory will
do; without one it is models/classifier.safetensors. Pictures are brought to the model's size, and its test-time
averaging is done.

Prints a line a picture, as batches finish; with --json, at the end, a list of {"picture", "predictions": [{"class",
"probability"}, ...]}, the likeliest first, probabilities in 0..1. A picture that cannot be read is named on standard
error and is not in the list; the others are done, and the status is 1. --figure draws the first 50. No more than 64
pictures are in memory beside these. About five seconds, most of them for importing libraries; then what decoding takes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "stages"))

from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
import io
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO, get_args

import numpy as np
import torch

from common.arrays import Array
from common.errors import UserError
from common.files import MODEL
from common.progress import Progress
from common.section import Device
from figures.grid import Caption, image_grid
from figures.style import save_figure
from model.classifier import Classifier
from model.device import select_device
from model.file import load_classifier
from sources.decode import decode_picture
from sources.hidden import report_hidden, visible

AT_A_TIME = 64  # pictures decoded and predicted together
TOP = 3  # classes named
MOST_DRAWN = 50  # pictures in a figure, which has to be held in memory and looked at


@dataclass(frozen=True)
class Prediction:
    """A picture as the network saw it, uint8 (3, H, W), and its likeliest classes with their probabilities."""

    picture: str
    image: Array
    top: list[tuple[str, float]]


def main() -> None:
    arguments = parse()
    classifier = load_classifier(arguments.model).to(select_device(arguments.device)).eval()
    pictures = [picture for name in arguments.pictures for picture in list_pictures(name)]
    widths = max(map(len, pictures)), max(map(len, classifier.description.classes))

    done = 0
    listed: list[dict[str, object]] = []
    drawn: list[Prediction] = []
    with Progress(total=len(pictures), desc="Predict", unit="picture") as progress:
        for prediction in predict(classifier, pictures, progress):
            done += 1
            if arguments.json:
                listed.append(as_json(prediction))
            else:
                say(as_text(prediction, *widths), progress, sys.stdout)
            if arguments.figure is not None and len(drawn) < MOST_DRAWN:
                drawn.append(prediction)

    if arguments.json:
        print(json.dumps(listed, indent=2, allow_nan=False))
    if drawn:
        draw(drawn, done, classifier.description.title, arguments.figure)
    if done < len(pictures):
        raise UserError(
            f"{len(pictures) - done} of {len(pictures)} pictures could not be read; they are named above"
        )


def parse() -> argparse.Namespace:
    """The command line, with the model set apart from the pictures.

    Raises:
        UserError: there are no pictures, or the figure would take a folder's place.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument(
        "pictures",
        metavar="PICTURE",
        nargs="+",
        help="file, folder, or - for standard input; first, if any, the model",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument(
        "--figure", type=Path, metavar="OUT.png", help="draw the pictures with their classes"
    )
    parser.add_argument(
        "--device", choices=get_args(Device), default="auto", help="%(default)s if left out"
    )
    arguments = parser.parse_args()
    arguments.model = MODEL
    if arguments.pictures[0].endswith(".safetensors"):
        arguments.model = Path(arguments.pictures.pop(0))
    if not arguments.pictures:
        raise UserError(
            f"{arguments.model}: a model and no picture; name files, folders, or - for standard input"
        )
    if arguments.figure is not None and arguments.figure.is_dir():
        raise UserError(f"--figure {arguments.figure}: is a folder; name a file")
    return arguments


def list_pictures(name: str) -> list[str]:
    """The files that an argument stands for, sorted; what is none stays, to be refused when its turn comes."""
    folder = Path(name)
    if name == "-" or not folder.is_dir():
        return [name]
    entries = [entry for entry in folder.rglob("*") if entry.is_symlink() or not entry.is_dir()]
    inside = sorted(entry.relative_to(folder).as_posix() for entry in entries)
    report_hidden(inside, folder)
    return [str(folder / path) for path in visible(inside)] or [name]


def predict(
    classifier: Classifier, pictures: list[str], progress: Progress
) -> Iterator[Prediction]:
    """Yield what the classifier makes of each picture, in their order; those that cannot be read are named instead.

    Raises:
        UserError: it makes NaN of a picture.
    """
    classes = classifier.description.classes
    for start in range(0, len(pictures), AT_A_TIME):
        batch = pictures[start : start + AT_A_TIME]
        images = decode(batch, classifier.description.image_size, progress)
        if images:
            rows = probabilities(classifier, np.stack([image for _, image in images]))
            for (picture, image), row in zip(images, rows, strict=True):
                if not np.isfinite(row).all():
                    raise UserError(
                        f"{picture}: the model makes NaN of it; train again with a lower learning_rate"
                    )
                yield Prediction(
                    picture,
                    image,
                    [(classes[label], float(row[label])) for label in likeliest(row)],
                )
        progress.update(len(batch))


def decode(batch: list[str], size: int, progress: Progress) -> list[tuple[str, Array]]:
    """The pictures that can be read, uint8 (3, size, size), each after its name; the others are named."""
    images = []
    for picture in batch:
        try:
            images.append((picture, decode_picture(read(picture), size)))
        except UserError as error:
            say(f"{picture}: {error}", progress, sys.stderr)
    return images


def read(picture: str) -> bytes:
    """The bytes of a file, or of standard input.

    Raises:
        UserError: there are none to be had.
    """
    if picture == "-":
        return sys.stdin.buffer.read()
    path = Path(picture)
    try:
        if path.is_dir():
            raise UserError(
                "a folder without pictures, or a link to a folder, which is not followed"
            )
        if path.exists() and not path.is_file():
            raise UserError("neither a file nor a folder")  # reading a pipe might wait for ever
        return path.read_bytes()
    except OSError as error:
        raise UserError(str(error.strerror)) from None


@torch.inference_mode()
def probabilities(classifier: Classifier, images: Array) -> Array:
    """Of the classes: float32 (N, classes), for uint8 (N, 3, H, W)."""
    device = next(classifier.parameters()).device
    logits = classifier.average(torch.from_numpy(images).to(device)).cpu()
    return np.asarray(logits.softmax(dim=1))


def likeliest(row: Array) -> list[int]:
    """The labels of the highest probabilities, (classes,), highest first; of equal ones the first, as argmax has it."""
    return [int(label) for label in np.argsort(-row, kind="stable")[:TOP]]


def as_json(prediction: Prediction) -> dict[str, object]:
    top = [{"class": name, "probability": probability} for name, probability in prediction.top]
    return {"picture": prediction.picture, "predictions": top}


def as_text(prediction: Prediction, picture_width: int, class_width: int) -> str:
    shares = [
        f"{name:{class_width}} {100 * probability:5.1f} %" for name, probability in prediction.top
    ]
    return f"{prediction.picture:{picture_width}}  {'   '.join(shares)}"


def say(line: str, progress: Progress, file: TextIO) -> None:
    """Print a line; on a terminal, between the bar and what is above it."""
    if progress.on_terminal:
        progress.write(line, file=file)
    else:
        print(line, file=file, flush=True)


def draw(drawn: list[Prediction], done: int, title: str, path: Path) -> None:
    """Write a PNG: the grid of these pictures, each under its class, out of so many that were done."""
    captions = [
        Caption(f"{name}: {100 * probability:.1f} %")
        for name, probability in (one.top[0] for one in drawn)
    ]
    left_out = f"; {done - len(drawn):,} more pictures left out" if done > len(drawn) else ""
    figure = image_grid(
        np.stack([one.image for one in drawn]),
        captions,
        "What the Model Sees",
        f"{title}{left_out}",
    )
    save_figure(figure, path)


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a name that cannot be printed must not stop the rest
    if hasattr(signal, "SIGPIPE"):
        signal.signal(
            signal.SIGPIPE, signal.SIG_DFL
        )  # as any program ends when `| head` has seen enough
    run_tool(main)
