"""Images that are in the data more than once."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from common.arrays import Array
from common.progress import Progress
from inspection.candidates import candidates
from inspection.chance import duplicate_distance
from inspection.fingerprints import take_fingerprints
from inspection.images import Images
from inspection.similarity import all_distances, distances

SAMPLE = 800  # images whose distances show what chance does
CHANCE = 1.0  # pairs that may be near by chance alone
CHANCE_IF_DISAGREE = 0.01  # pairs whose labels disagree: most pairs do, and few duplicates
PAIRS_AT_A_TIME = 1024
COLUMNS = [
    "kind",
    "distance",
    *(f"{of}_{end}" for end in (1, 2) for of in ("split", "label", "file")),
]


class Pair(NamedTuple):
    """Two images that are the same; ``first`` and ``second`` are positions in ``Images``."""

    first: int
    second: int
    distance: float  # 0 where the pixels are equal
    kind: Literal["exact", "near"]


@dataclass(frozen=True)
class Duplicates:
    """What the search found.

    Attributes:
        pairs: those whose labels disagree first, then those across the splits, then the nearest.
            Of n equal images there are n - 1 exact pairs, each with the first, and only the first
            is in near pairs.
        largest_distance: of what counts as near duplicates, less where the labels disagree.
        in_train: positions of the test images with a duplicate among the training images.
        one_colour: positions of images of a single colour, which are compared for equality only.
        crowded: number of images that are like so many others that some pairs are left out.
    """

    pairs: list[Pair]
    largest_distance: float
    in_train: Array
    one_colour: Array
    crowded: int


def find_duplicates(images: Images) -> Duplicates:
    """Compare all images with all, in some 100 bytes of memory per image."""
    fingerprints = take_fingerprints(images)
    original = first_equal(fingerprints.digests)
    copies = np.flatnonzero(original != np.arange(len(images)))
    distinct = np.setdiff1d(np.flatnonzero(~fingerprints.flat), copies)
    found, crowded = candidates(fingerprints.hashes[distinct])
    near, far, largest = near_duplicates(images, distinct, distinct[found])
    pairs = [Pair(int(original[copy]), int(copy), 0.0, "exact") for copy in copies]
    pairs += [
        Pair(first, second, distance, "near")
        for (first, second), distance in zip(near.tolist(), far.tolist(), strict=True)
    ]
    return Duplicates(
        in_order(pairs, images),
        largest,
        leaked(original, near, len(images.train.images)),
        np.flatnonzero(fingerprints.flat),
        int(crowded.sum()),
    )


def first_equal(digests: Array) -> Array:
    """Return for each image the position of the first image with the same digest, (N,)."""
    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    positions: Array = first[which]
    return positions


def near_duplicates(images: Images, distinct: Array, pairs: Array) -> tuple[Array, Array, float]:
    """Return those of the ``pairs`` that are near, (M, 2), their distances, (M,), and the limit."""
    if len(distinct) < 2:  # such as images of a single colour only
        return np.empty((0, 2), np.int64), np.empty(0, np.float32), 0.0
    sample = np.random.default_rng(0).permutation(distinct)[:SAMPLE]
    by_chance = all_distances(images.thumbnails(np.sort(sample)))
    largest = duplicate_distance(by_chance, len(distinct), CHANCE)
    if_disagree = duplicate_distance(by_chance, len(distinct), CHANCE_IF_DISAGREE)
    apart = np.empty(len(pairs), np.float32)
    with Progress(total=len(pairs), desc="Compare", unit="pair") as progress:
        for start in range(0, len(pairs), PAIRS_AT_A_TIME):
            part = slice(start, start + PAIRS_AT_A_TIME)
            which, positions = np.unique(pairs[part], return_inverse=True)
            first, second = positions.reshape(-1, 2).T
            apart[part] = distances(images.thumbnails(which), first, second)
            progress.update(len(first))
    agree = images.labels[pairs[:, 0]] == images.labels[pairs[:, 1]]
    near = apart < np.where(agree, largest, if_disagree)
    return pairs[near], apart[near], largest


def in_order(pairs: list[Pair], images: Images) -> list[Pair]:
    """Sort by what deserves attention most."""
    labels = images.labels

    def key(pair: Pair) -> tuple[object, ...]:
        agree = labels[pair.first] == labels[pair.second]
        within = images.split(pair.first) == images.split(pair.second)
        return bool(agree), within, pair.distance, pair.first, pair.second

    return sorted(pairs, key=key)


def leaked(original: Array, near: Array, size: int) -> Array:
    """Return the positions of test images that have a duplicate among the training images.

    Args:
        original: per image, the position of the first one with the same pixels.
        near: pairs of near duplicates, (M, 2).
        size: number of training images, which come first.
    """
    of_train = original < size  # per image: whether an equal one is in train
    twin = np.zeros(len(original), bool)  # whether a near duplicate is
    for one, other in (near.T, near.T[::-1]):
        twin[one[of_train[other]]] = True
    return size + np.flatnonzero((of_train | twin[original])[size:])


def pair_rows(duplicates: Duplicates, images: Images) -> list[dict[str, Any]]:
    """Return the rows of reports/duplicates.csv, with COLUMNS."""
    labels, classes = images.labels, images.classes
    files = images.file_names(end for pair in duplicates.pairs for end in pair[:2])
    rows: list[dict[str, Any]] = []
    for pair in duplicates.pairs:
        rows.append({"kind": pair.kind, "distance": pair.distance})
        for end, position in enumerate(pair[:2], start=1):
            values = images.split(position), classes[labels[position]], files[position]
            names = (f"{of}_{end}" for of in ("split", "label", "file"))
            rows[-1].update(zip(names, values, strict=True))
    return rows
