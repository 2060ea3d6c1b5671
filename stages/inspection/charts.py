"""The figures: images per class, and images that are there more than once."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.arrays import Split
from figures.grid import Caption, image_grid
from figures.style import BLUE, GREY, HEADER, ORANGE, POINTS, RED, STYLE, heading, shorten
from inspection.duplicates import Duplicates, Pair
from inspection.images import Images

NAME_LENGTH = 28  # characters of a class that are shown
LARGEST_AND_SMALLEST = 15  # classes of each kind shown when there are more than both together
BARS: list[tuple[Split, str, str, float]] = [
    ("train", "training images", BLUE, -0.2),
    ("test", "test images", ORANGE, 0.2),
]
PAIRS = 12
COLUMNS = 6  # of images, so that three pairs are in a row
CELL = 90  # points


def draw_class_counts(classes: Mapping[str, Mapping[Split, int]], subtitle: str) -> Figure:
    """Draw two bars per class, training and test images; the largest class on top."""
    names, positions = largest_and_smallest(classes)
    height = 130 + 34 * (positions[-1] + 1)  # points
    most = max(max(counts.values()) for counts in classes.values())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, height / POINTS))
        axes = figure.subplots()
        for split, words, color, offset in BARS:
            counts = [classes[name][split] for name in names]
            places = [position + offset for position in positions]
            axes.barh(places, counts, 0.4, color=color, label=words)
            for place, count in zip(places, counts, strict=True):
                text: Any = {"va": "center_baseline", "fontsize": 10}
                axes.text(count + most / 100, place, f"{count:,}", **text)
        axes.set_yticks(positions, [shorten(name, NAME_LENGTH) for name in names], fontsize=12)
        if len(names) < len(classes):
            left_out = f"{len(classes) - len(names):,} classes between these"
            axes.text(0, LARGEST_AND_SMALLEST, f" {left_out}", va="center", color=GREY, fontsize=12)
        axes.set(xlim=(0, 1.12 * most), ylim=(positions[-1] + 0.7, -0.7), xlabel="images")
        axes.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(axis="y", visible=False)
        legend: Any = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2}
        axes.legend(frameon=False, borderaxespad=0, **legend)
        figure.tight_layout(rect=(0, 0, 1, 1 - (HEADER - 6) / height))
        heading(figure, "Images per Class", subtitle)
    return figure


def largest_and_smallest(
    classes: Mapping[str, Mapping[Split, int]],
) -> tuple[list[str], list[int]]:
    """Return the classes to show, those with most training images first, and their positions."""
    names = sorted(classes, key=lambda name: -classes[name]["train"])
    ends = LARGEST_AND_SMALLEST
    if len(names) <= 2 * ends:
        return names, list(range(len(names)))
    # The position between both stays free.
    return names[:ends] + names[-ends:], [*range(ends), *range(ends + 1, 2 * ends + 1)]


def draw_duplicates(duplicates: Duplicates, images: Images, name: str) -> Figure:
    """Draw the first pairs side by side, each image once, red where the labels disagree."""
    chosen = pairs_to_show(duplicates)
    shown = [position for pair in chosen for position in (pair.first, pair.second)]
    files = images.file_names(shown)
    labels = images.labels
    captions = []
    for number, pair in enumerate(chosen, start=1):
        color = "black" if labels[pair.first] == labels[pair.second] else RED
        for position, note in ((pair.first, ""), (pair.second, f", {distance_text(pair)}")):
            label = shorten(images.classes[labels[position]], NAME_LENGTH)
            text = f"{number}. {label}\n{images.split(position)}{note}"
            captions.append(Caption(text, color, files[position]))
    found = f"{name}: {len(duplicates.pairs):,} pairs; red: the labels disagree; number: distance"
    if not chosen:
        found = f"{name}: none found"
    pixels = images.read(np.array(shown, np.int64))
    return image_grid(pixels, captions, "Duplicate Images", found, COLUMNS, CELL)


def pairs_to_show(duplicates: Duplicates) -> list[Pair]:
    """Return the first pairs without those that show an image again."""
    chosen: list[Pair] = []
    seen: set[int] = set()
    for pair in duplicates.pairs:
        if len(chosen) < PAIRS and not seen & {pair.first, pair.second}:
            chosen.append(pair)
            seen |= {pair.first, pair.second}
    return chosen


def distance_text(pair: Pair) -> str:
    return "equal" if pair.kind == "exact" else f"{pair.distance:.3f}"
