"""What the data holds, and what of it deserves attention."""

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.arrays import Split
from common.errors import UserError, printable
from common.files import check_is_file
from inspection.candidates import ENOUGH
from inspection.duplicates import Duplicates
from inspection.images import Images

# Below how many images a class is small, and what that means.
SMALL: list[tuple[Split, int, str, str]] = [
    ("train", 20, "training images", "hardly enough to learn from"),
    ("test", 10, "test images", "too few to measure the accuracy of a class"),
]
IMBALANCE = 3  # times as many images, from which on it is said
NAMED = 5  # files that are named
KINDS: tuple[Literal["exact", "near"], ...] = ("exact", "near")
PLACES = ("within_train", "across", "within_test")  # by the number of test images in a pair
SPLITS: tuple[Split, ...] = ("train", "test")


def describe(images: Images, duplicates: Duplicates, skipped: Path) -> dict[str, Any]:
    """Return the content of reports/data.json."""
    classes = class_counts(images)
    train = [counts["train"] for counts in classes.values()]
    of_one_colour = duplicates.one_colour
    data = {
        "name": images.train.dataset.name,
        "image_size": images.train.dataset.image_size,
        "source_sizes": images.train.dataset.source_sizes,
        "images": {split: len(getattr(images, split).labels) for split in SPLITS},
        "classes": classes,
        "largest_to_smallest": round(max(train) / max(1, min(train)), 2),
        "duplicates": count_pairs(images, duplicates),
        "test_images_in_train": len(duplicates.in_train),
        "one_colour": {
            "images": len(of_one_colour),
            "files": list(images.file_names(of_one_colour[:NAMED].tolist()).values()),
        },
        "skipped": count_skipped(skipped),
    }
    return {**data, "attention": attention(data)}


def class_counts(images: Images) -> dict[str, dict[Split, int]]:
    """Return the number of images per class, in label order, and split."""
    names = images.classes
    train, test = (
        np.bincount(split.labels, minlength=len(names)).tolist()
        for split in (images.train, images.test)
    )
    return {name: {"train": train[label], "test": test[label]} for label, name in enumerate(names)}


def count_pairs(images: Images, duplicates: Duplicates) -> dict[str, Any]:
    """Return the number of pairs per kind and place, and of those whose labels disagree."""
    labels, size = images.labels, len(images.train.images)
    counted = Counter(
        (pair.kind, PLACES[(pair.first >= size) + (pair.second >= size)])
        for pair in duplicates.pairs
    )
    return {
        **{kind: {place: counted[kind, place] for place in PLACES} for kind in KINDS},
        "labels_disagree": sum(
            int(labels[pair.first] != labels[pair.second]) for pair in duplicates.pairs
        ),
        "largest_distance": round(duplicates.largest_distance, 4),
        "crowded_images": duplicates.crowded,
    }


def count_skipped(path: Path) -> dict[str, Any]:
    """Return how many image files download left out, and how many for each reason.

    Raises:
        UserError: The list is missing.
    """
    check_is_file(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reasons = Counter(row["reason"] for row in csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the download stage first") from None
    return {"files": reasons.total(), "reasons": dict(reasons.most_common())}


def attention(data: dict[str, Any]) -> list[str]:
    """Return a sentence for each finding that the user should know before training."""
    return [*about_duplicates(data), *about_classes(data["classes"]), *about_files(data)]


def about_duplicates(data: dict[str, Any]) -> list[str]:
    """Return what duplicates do to the accuracy, and which of them have a wrong label."""
    duplicates, leaked = data["duplicates"], data["test_images_in_train"]
    sentences = []
    if leaked:
        points = math.ceil(1000 * leaked / data["images"]["test"]) / 10
        are = "is" if leaked == 1 else "are"
        least = "At least " if duplicates["crowded_images"] else ""
        sentences.append(
            f"{least}{number(leaked, 'test image')} {are} also in the training set: accuracy is "
            f"flattered by up to {points} points. reports/duplicates.csv lists the pairs."
        )
    if disagreeing := duplicates["labels_disagree"]:
        sentences.append(
            f"The labels of {number(disagreeing, 'pair')} of duplicates disagree, so one of each "
            "is probably wrong: see reports/duplicates.png."
        )
    within = sum(duplicates[kind]["within_train"] for kind in KINDS)
    if within:
        sentences.append(
            f"The training set holds {number(within, 'pair')} of duplicates: such images count "
            "more than once."
        )
    if crowded := duplicates["crowded_images"]:
        sentences.append(
            f"{number(crowded, 'image')} with {ENOUGH} or more that look similar: not all of their "
            "pairs were compared, so there may be more duplicates."
        )
    return sentences


def about_classes(classes: dict[str, dict[Split, int]]) -> list[str]:
    """Return which classes are small, and how far their sizes are apart."""
    by_size = sorted(classes, key=lambda name: classes[name]["train"])
    smallest, largest = by_size[0], by_size[-1]
    ratio = classes[largest]["train"] / max(1, classes[smallest]["train"])
    sentences = []
    if ratio >= IMBALANCE:
        sentences.append(
            f"{printable(largest)} has {ratio:.2g} times as many training images as "
            f"{printable(smallest)}: look at the accuracy of each class, not only at the mean."
        )
    for split, least, images, words in SMALL:
        few = [name for name in by_size if classes[name][split] < least]
        if few:
            sentences.append(
                f"{number(len(few), 'class', 'classes')} with fewer than {least} {images}, "
                f"{words}: {listed(few, len(few))}."
            )
    return sentences


def about_files(data: dict[str, Any]) -> list[str]:
    """Return which images show nothing, and which files were left out."""
    sentences = []
    if count := data["one_colour"]["images"]:
        names = listed(data["one_colour"]["files"], count)
        sentences.append(f"{number(count, 'image')} of a single colour: {names}.")
    if count := data["skipped"]["files"]:
        sentences.append(
            f"{number(count, 'image file')} could not be read: reports/skipped.csv says why."
        )
    return sentences


def number(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: list[str], count: int) -> str:
    """Return the first of ``count`` names and how many more there are."""
    shown = ", ".join(printable(name) for name in names[:NAMED])
    return f"{shown} and {count - NAMED:,} more" if count > NAMED else shown


def paragraph(data: dict[str, Any]) -> str:
    """Return what is printed: the size of the data set, then what deserves attention."""
    train = [counts["train"] for counts in data["classes"].values()]
    counts = data["images"]
    sentences = [
        f"{printable(data['name'])}: {counts['train']:,} training images, "
        f"{spread(f'{min(train):,}', f'{max(train):,}')} in each of {len(train):,} classes, and "
        f"{number(counts['test'], 'test image')}.",
        *(data["attention"] or ["Nothing deserves attention."]),
    ]
    if sizes := data["source_sizes"]:
        smallest, largest = (
            f"{sizes[end][0]} x {sizes[end][1]}" for end in ("smallest", "largest")
        )
        sentences.insert(1, f"In the source they are of {spread(smallest, largest)} pixels.")
    return " ".join(sentences)


def spread(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"
