"""Predictions of no classifier, for what measures, draws and describes them."""

from pathlib import Path

import numpy as np

from common.arrays import Array, Dataset, ImageFile
from common.params import load_params
from evaluation.metrics import Measurements, measure
from evaluation.provenance import Duplicates, Findings, Pairs, Skipped
from helpers import ROOT
from model.classifier import Description


def class_names(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def long_names(count: int) -> list[str]:
    """Return names of 60 letters, wide ones, and a sign that starts a formula."""
    return [f"{number:03d}${'Wm' * 40}"[:60] for number in range(count)]


def make_predictions(classes: int, n: int = 1000, seed: int = 0) -> tuple[Array, Array]:
    """Return probabilities, float32 (n, classes), and labels of a classifier that is often wrong.

    Each class has images; class 0 is always predicted right.
    """
    random = np.random.default_rng((classes, seed))
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, n - classes)])
    logits = random.normal(size=(n, classes))
    logits[np.arange(n), labels] += 1 + 99 * (labels == 0)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32), labels


def make_measurements(names: list[str], n: int = 1000, **validation: float) -> Measurements:
    """Measure made-up predictions of classes with these names."""
    probabilities, labels = make_predictions(len(names), n)
    files = [f"{names[label]}/image {index}.jpg" for index, label in enumerate(labels)]
    return measure(probabilities, labels, names, files, validation)


def make_images(directory: Path, count: int, size: int = 32) -> ImageFile:
    """Return images of noise."""
    path = directory / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (count, 3, size, size), np.uint8))
    return ImageFile(path)


def make_dataset(names: list[str], test: int, name: str = "made up", train: int = 12345) -> Dataset:
    return Dataset.model_validate(
        {
            "name": name,
            "classes": names,
            "image_size": 32,
            "fit": "squash",
            "counts": {"train": train, "test": test},
            "source": "here",
            "sha256": None,
        }
    )


def make_description(names: list[str], dataset: str = "made up") -> Description:
    """Describe a classifier trained by the recipe tutorial with seed 7."""
    return Description(
        dataset=dataset,
        classes=names,
        image_size=32,
        fit="squash",
        recipe_name="tutorial",
        recipe=load_params(ROOT / "params.yaml").recipes["tutorial"],
        seed=7,
        device="cpu",
        processes=1,
        threads=1,
        torch="2",
    )


def make_findings(names: list[str]) -> Findings:
    """Return what preview may find, each number another."""
    return Findings(
        classes={name: {"train": 1000 + index, "test": 9} for index, name in enumerate(names)},
        duplicates=Duplicates(
            exact=Pairs(within_train=1111, across=2, within_test=3),
            near=Pairs(within_train=44, across=55, within_test=66),
            labels_disagree=0,
        ),
        test_images_in_train=57,
        skipped=Skipped(files=1234),
        attention=["37 test images, <b>!"],
    )
