"""Which training images have a wrong label? Those whose label is least probable to models that did
not see them.

    python tools/label_errors.py [--folds 5] [--output reports/label_errors.csv]

The training set is divided into folds. For each, a model is trained on the other folds by the
recipe in use (params.yaml: train.recipe, train.seed, machine) and predicts the images of the fold,
so that every image is judged by a model that did not see it. Images of the same content or group
are never divided. The CSV has one row per image whose likeliest class is not its label, the
likeliest wrong label first: file, label, the class suggested instead, and both probabilities. A PNG
of the same name shows the first 25. The first are worth a look; the last are the models' mistakes.

Takes as long as ``folds`` trainings. It can be stopped at any time, and the same command resumes:
finished folds and the state of an unfinished one are in models/label_errors, which may be deleted.
"""

import _paths  # noqa: F401
from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from common.arrays import Array, LabelledImages, load_images, read_file_names, read_keys
from common.errors import UserError, printable
from common.files import MODEL, REPORTS
from common.params import Params, load_params
from common.tables import write_csv
from cross_validation.folds import assign_folds
from cross_validation.suspects import Suspect, find_suspects
from cross_validation.training import Fold, probabilities_of
from figures.grid import Caption, image_grid
from figures.style import RED, save_figure, shorten
from model.device import select_device
from shared.output import check_output
from training.checkpoint import compute_fingerprint
from training.description import describe
from training.distributed import ProcessGroup
from training.outputs import check_writable, exclusive

FOLDER = MODEL.parent / "label_errors"
COLUMNS = ("file", "label", "suggested", "label_probability", "suggested_probability")
DRAWN = 25  # images in the figure
NAMED = 5  # images that are printed
NAME_LENGTH = 24  # characters of a class that are shown


def main() -> None:
    arguments = parse()
    params = load_params()
    loaded = load_images("train", params.download)
    check_output("--output", arguments.output, ".csv", [])
    check_output("--output", arguments.output.with_suffix(".png"), ".png", [])
    if params.machine.threads != "auto":
        torch.set_num_threads(params.machine.threads)
    torch.backends.cudnn.deterministic = True  # so that a resumed training ends in the same bytes
    check_writable(FOLDER)
    with exclusive(ProcessGroup(), FOLDER / "lock"):
        probabilities = cross_validate(loaded, params, arguments.folds)

    suspects = find_suspects(probabilities, loaded.labels)
    names = read_file_names("train", [suspect.position for suspect in suspects])
    classes = loaded.dataset.classes
    rows = [as_row(*each, classes) for each in zip(suspects, names, strict=True)]
    write_csv(arguments.output, rows, COLUMNS)
    figure = draw(loaded, suspects[:DRAWN], names[:DRAWN], len(suspects))
    save_figure(figure, arguments.output.with_suffix(".png"))
    print(
        f"{len(suspects):,} of {len(probabilities):,} training images look like another class to "
        f"models that did not see them; {arguments.output} lists them"
    )
    for row in rows[:NAMED]:
        print("{file}: labelled {label}, looks like {suggested}".format(**printed(row)))


def parse() -> argparse.Namespace:
    """Return the command line.

    Raises:
        UserError: There are fewer than two folds.
    """
    parser = argparse.ArgumentParser(description=" ".join(str(__doc__).split("\n")[:2]))
    parser.add_argument("--folds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--output",
        type=Path,
        default=REPORTS / "label_errors.csv",
        metavar="OUT.csv",
        help="default: %(default)s; the figure is written beside it",
    )
    arguments = parser.parse_args()
    if not 2 <= arguments.folds <= 100:
        raise UserError(f"--folds {arguments.folds}: choose 2 to 100")
    return arguments


def cross_validate(loaded: LabelledImages, params: Params, folds: int) -> Array:
    """Return the probabilities for all training images, float32 (N, classes)."""
    labels, classes = loaded.labels, loaded.dataset.classes
    fold_of = assign_folds(read_keys("train"), labels, classes, folds, params.train.seed)
    device = select_device(params.machine.device)
    description = describe(params, loaded.dataset, device, ProcessGroup())
    fingerprint = compute_fingerprint(description, params.train)
    fingerprint["threads"] = str(torch.get_num_threads())
    probabilities = np.empty((len(labels), len(classes)), np.float32)
    for number in range(folds):
        inside = fold_of == number
        fold = Fold(number + 1, folds, np.flatnonzero(inside), np.flatnonzero(~inside))
        print(f"fold {fold.name}: {len(fold.inside):,} images", file=sys.stderr)
        probabilities[fold.inside] = probabilities_of(
            fold, loaded, description, fingerprint, params.machine, FOLDER
        )
    return probabilities


def as_row(suspect: Suspect, name: str, classes: list[str]) -> dict[str, object]:
    label, suggested = classes[suspect.label], classes[suspect.suggested]
    probabilities = suspect.label_probability, suspect.suggested_probability
    return dict(zip(COLUMNS, (name, label, suggested, *probabilities), strict=True))


def printed(row: dict[str, object]) -> dict[str, str]:
    return {column: printable(str(value)) for column, value in row.items()}


def draw(loaded: LabelledImages, suspects: list[Suspect], names: list[str], found: int) -> Figure:
    """Draw the first suspects, each below its label and the class suggested."""
    classes = [shorten(name, NAME_LENGTH) for name in loaded.dataset.classes]
    captions = [
        Caption(f"{classes[each.label]}\n→ {classes[each.suggested]}?", RED, name)
        for each, name in zip(suspects, names, strict=True)
    ]
    images = loaded.images.read([each.position for each in suspects])
    shown = f"{len(suspects)} of {found:,} images that look like another class to other models"
    return image_grid(images, captions, "Likeliest Wrong Labels", f"{loaded.dataset.name}: {shown}")


if __name__ == "__main__":
    run_tool(main)
