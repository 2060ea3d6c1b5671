"""A folder that the stages can run in, with generated images or arrays that are there."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from _paths import ROOT, STAGES
from benchmarking import process
from benchmarking.process import Result
from common.files import ARRAYS, REPORTS
from common.yaml12 import read_yaml
from sources.unreadable import write_unreadable

CLASSES = 10
TRAIN_PER_TEST = 5  # as in CIFAR-10
IMAGE_SIZE = 32  # pixels


def fill(folder: Path, count: int, arrays: Path | None) -> int:
    """Fill data/arrays with ``count`` generated training images, or with a copy of ``arrays``.

    Returns:
        The number of training images.
    """
    if arrays is None:
        write_params(folder, generate_images(folder, count), "quick", 1)
        process.call(folder, STAGES / "download.py")
    else:
        shutil.copytree(arrays, folder / ARRAYS)
        write_unreadable(folder / REPORTS / "skipped.csv", [])  # as download does beside the arrays
    return int(read_yaml(folder / ARRAYS / "dataset.json")["counts"]["train"])


def init_dvc(folder: Path) -> None:
    """Make the folder a DVC project with this repository's stages."""
    shutil.copytree(STAGES, folder / STAGES.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    process.call(folder, "-m", "dvc", "init", "--no-scm", "--quiet")


def generate_images(folder: Path, count: int) -> Path:
    """Write JPEGs of 32 x 32, noise of their class with noise of their own; return the folder.

    They are train/CLASS/IMAGE, and a fifth as many in test/.
    """
    directory, generator = folder / "generated", np.random.default_rng(0)
    shutil.rmtree(directory, ignore_errors=True)
    base = generator.integers(0, 256, (CLASSES, 32, 32, 3), np.int16)
    for split, number in {"train": count, "test": max(CLASSES, count // TRAIN_PER_TEST)}.items():
        for label in range(CLASSES):
            (directory / split / str(label)).mkdir(parents=True)
        for index in range(number):
            label = index % CLASSES
            pixels = base[label] + generator.integers(-99, 100, (32, 32, 3), np.int16)
            path = directory / split / str(label) / f"{index}.jpg"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return directory


def train(folder: Path, recipe: str, epochs: int | None, seed: int = 0) -> Result:
    """Run the train stage; the seconds are those of its epochs."""
    write_params(folder, None, recipe, epochs, seed)
    return process.of_epochs(folder, process.call(folder, STAGES / "train.py"))


def write_params(
    folder: Path,
    source: Path | None,
    recipe: str,
    epochs: int | None,
    seed: int = 0,
    image_size: int = IMAGE_SIZE,
    options: dict[str, Any] | None = None,
) -> None:
    """Write the repository's params.yaml with changes.

    Args:
        folder: where it is written.
        source: a folder of images; without it, the data set is the one in data/arrays.
        recipe: the recipe in use.
        epochs: instead of the recipe's.
        seed: of the training.
        image_size: of the images in ``source``.
        options: of the recipe, instead of those in the repository's params.yaml.
    """
    params = read_yaml(ROOT / "params.yaml")
    if source is None:
        made_with = read_yaml(folder / ARRAYS / "dataset.json")
        source = folder
        params["download"] |= {key: made_with[key] for key in ("image_size", "fit")}
    else:
        params["download"] |= {"image_size": image_size, "fit": "squash"}
    params["download"] |= {"dataset": "folder", "source": str(source), "group": None}
    params["train"] |= {"recipe": recipe, "seed": seed}
    params["train"] |= {"validation_fraction": 0.0, "early_stopping": "never"}
    params["evaluate"]["test_time_augmentation"] = "recipe"
    if options is not None:
        params["recipes"][recipe] = options
    if epochs is not None:
        params["recipes"][recipe]["epochs"] = epochs
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
