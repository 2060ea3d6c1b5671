"""The charts: accuracy of each class, confusion matrix, calibration, coverage."""

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.arrays import Array
from figures.style import (
    BLUE,
    DPI,
    GREY,
    HEADER,
    ORANGE,
    POINTS,
    STYLE,
    heading,
    shorten,
    width_of,
)

NAME_LENGTH = 28  # characters of a class that are shown
BEST_AND_WORST = 15  # classes of each kind that are shown when there are more than both together
MOST_CONFUSED = 25  # classes that the confusion matrix shows at most


def draw_class_accuracy(per_class: pd.DataFrame, subtitle: str) -> Figure:
    """Draw one bar per class, the best on top, with its interval and a mark at its chance."""
    rows, positions = best_and_worst(per_class)
    names = [shorten(name, NAME_LENGTH) for name in rows["class"]]
    errors = [rows["percent"] - rows["percent_low"], rows["percent_high"] - rows["percent"]]
    height = 150 + 24 * (positions[-1] + 1)  # points
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, height / POINTS))
        axes = figure.subplots()
        bars: Any = {"xerr": np.clip(errors, 0, None), "ecolor": "black", "capsize": 3}
        axes.barh(positions, rows["percent"], color=BLUE, **bars)
        chance: Any = {"color": ORANGE, "markersize": 15, "markeredgewidth": 2.5}
        words = "chance: the same predictions, shuffled"
        axes.plot(rows["chance"], positions, "|", label=words, **chance)
        axes.set_yticks(positions, names, fontsize=12)
        for position, percent, high in zip(
            positions, rows["percent"], rows["percent_high"], strict=True
        ):
            axes.text(high + 1.2, position, f"{percent:.1f}", va="center", fontsize=12)
        if len(rows) < len(per_class):
            left_out = f"{len(per_class) - len(rows):,} classes between these"
            axes.text(1, BEST_AND_WORST, left_out, va="center", color=GREY, fontsize=12)
        axes.set(xlim=(-1, 112), ylim=(-0.7, positions[-1] + 0.7), xticks=range(0, 101, 20))
        axes.set_xlabel("accuracy on test images, %, with 95 % interval")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0)
        figure.tight_layout(rect=(0, 0, 1, 1 - (HEADER - 6) / height))
        heading(figure, "Accuracy of Each Class", subtitle)
    return figure


def best_and_worst(per_class: pd.DataFrame) -> tuple[pd.DataFrame, list[int]]:
    """Return the rows to show, the worst class first, and their positions from the bottom up."""
    rows = per_class.sort_values("percent", kind="stable")
    if len(rows) <= 2 * BEST_AND_WORST:
        return rows, list(range(len(rows)))
    shown = pd.concat([rows.head(BEST_AND_WORST), rows.tail(BEST_AND_WORST)])
    gap = BEST_AND_WORST  # the position that stays free
    return shown, [*range(gap), *range(gap + 1, 2 * gap + 1)]


def draw_confusion(matrix: Array, classes: list[str], subtitle: str) -> Figure:
    """Draw the percent of each actual class (row) that were predicted as each class (column).

    Args:
        matrix: counts, (C, C).
        classes: C names, in label order.
        subtitle: stands below the title.
    """
    shown = most_confused(matrix)
    names = [shorten(classes[label], NAME_LENGTH) for label in shown]
    counts, columns = matrix[np.ix_(shown, shown)], names
    if len(shown) < len(classes):
        others = matrix[shown].sum(axis=1) - counts.sum(axis=1)
        counts, columns = np.column_stack([counts, others]), [*names, "any other"]
        subtitle = f"{subtitle}: the {len(shown)} of {len(classes)} classes confused most"
    percents = 100 * counts / counts.sum(axis=1, keepdims=True)
    cell = max(18.0, min(65.0, 460 / len(columns)))  # points
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure, axes, bar = square_cells(percents.shape, cell, columns, axis_font(cell))
        image = axes.imshow(percents, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        figure.colorbar(image, cax=bar, label="% of the row")
        axes.set_yticks(range(len(names)), names, fontsize=axis_font(cell))
        axes.set(xlabel="predicted", ylabel="actual")
        write_numbers(axes, percents, font=min(12, cell / 2.4))
        heading(figure, "Confusion Matrix", subtitle)
    return figure


def most_confused(matrix: Array) -> Array:
    """Return the labels of the classes with most mistakes, made on them or for them, ascending."""
    mistakes = matrix - np.diag(matrix.diagonal())
    involved = mistakes.sum(axis=0) + mistakes.sum(axis=1)
    return np.sort(np.argsort(-involved, kind="stable")[:MOST_CONFUSED])


def axis_font(cell: float) -> float:
    """Return the font size of the names beside cells of ``cell`` points."""
    return min(12, 0.6 * cell)


def square_cells(
    shape: tuple[int, int], cell: float, columns: list[str], font: float
) -> tuple[Figure, Axes, Axes]:
    """Return a figure with room for the names, its axes with square cells, and those of a bar.

    Args:
        shape: rows and columns of cells.
        cell: width and height of a cell in points.
        columns: the names below the columns; those of the rows are among them.
        font: their size.
    """
    figure = Figure()
    names = max(width_of(figure.text(0, 0, name, fontsize=font)) for name in columns)
    figure.clear()
    left, tall, wide = names + 43, shape[0] * cell, shape[1] * cell
    width, height = max(left + wide + 95, 460), HEADER + tall + left
    figure.set_size_inches(width / POINTS, height / POINTS)
    figure.set_dpi(DPI)
    axes = figure.add_axes((left / width, left / height, wide / width, tall / height))
    bar = figure.add_axes(((left + wide + 14) / width, left / height, 12 / width, tall / height))
    upright = 0 if names < 0.9 * cell else 90
    axes.set_xticks(range(len(columns)), columns, rotation=upright, fontsize=font)
    return figure, axes, bar


def write_numbers(axes: Axes, percents: Array, font: float) -> None:
    """Write the whole percents into the cells; a cell without an image stays empty."""
    for (row, column), percent in np.ndenumerate(percents):
        color = "white" if percent > 50 else "black"
        number = f"{percent:.0f}" if percent else ""
        axes.text(column, row, number, ha="center", va="center", color=color, fontsize=font)


def draw_reliability(bins: pd.DataFrame, subtitle: str) -> Figure:
    """Draw accuracy against confidence and, below, how many images have such a confidence."""
    middle, filled = 100 * (bins["low"] + bins["high"]) / 2, bins["n"] > 0
    width = 0.92 * 100 / len(bins)
    accuracy = 100 * bins["accuracy"][filled]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 7))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.bar(middle[filled], accuracy, width, color=BLUE, label="accuracy")
        confidence: Any = {"color": "black", "markersize": 5, "label": "at the mean confidence"}
        upper.plot(100 * bins["confidence"][filled], accuracy, "o", **confidence)
        ideal: Any = {"color": ORANGE, "linewidth": 2, "label": "perfectly calibrated"}
        upper.plot([0, 100], [0, 100], "--", **ideal)
        upper.set(xlim=(0, 100), ylim=(0, 105), ylabel="accuracy, %", yticks=range(0, 101, 20))
        legend: Any = {"loc": "lower right", "bbox_to_anchor": (1, 1), "frameon": False}
        upper.legend(ncols=3, borderaxespad=0, fontsize=11, **legend)
        lower.bar(middle, bins["n"], width, color=GREY)
        for x, count in zip(middle, bins["n"], strict=True):
            lower.text(x, count, f"{count:,}", ha="center", va="bottom", fontsize=10)
        lower.set(xlabel="confidence, %", ylabel="images", xticks=range(0, 101, 20), yticks=[])
        lower.set_ylim(0, 1.25 * bins["n"].max())
        figure.tight_layout(rect=(0, 0, 1, 1 - (HEADER - 6) / (7 * POINTS)))
        heading(figure, "Confidence and Accuracy", subtitle)
    return figure


def draw_coverage(curve: pd.DataFrame, thresholds: pd.DataFrame, subtitle: str) -> Figure:
    """Draw accuracy against the share of images that are answered, with some thresholds marked."""
    least = thresholds["share"].min()
    # Where no threshold leaves many images out, all of the curve says more than its end.
    left = max(0, 10 * ((least - 5) // 10)) if least < 90 else 0
    marked = apart(thresholds, distance=0.06 * (100 - left))
    percents = marked["percent"]
    errors = [percents - marked["percent_low"], marked["percent_high"] - percents]
    floor = 10 * np.floor(min(marked["percent_low"].min(), 99) / 10)
    step = next(step for step in (2, 5, 10, 20) if 100 - floor <= 6 * step)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 5))
        axes = figure.subplots()
        axes.plot(curve["share"], curve["percent"], color=BLUE, linewidth=2)
        style: Any = {"color": ORANGE, "ecolor": "black", "capsize": 3, "zorder": 3}
        words = "images of this confidence or more, with 95 % interval"
        axes.errorbar(marked["share"], percents, np.clip(errors, 0, None), fmt="o", **style)
        axes.plot([], [], "o", color=ORANGE, label=words)
        for _, row in marked.iterrows():
            place: Any = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"{row['confidence']:g}", (row["share"], row["percent_high"]), **place)
        margin = 0.03 * (100 - left)
        axes.set(xlim=(left - margin, 100 + margin), ylim=(floor, 100 + (100 - floor) / 12))
        axes.set_yticks(np.arange(100, floor - 1, -step))
        axes.set(xlabel="images answered, %", ylabel="accuracy of these, %")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0)
        figure.tight_layout(rect=(0, 0, 1, 1 - (HEADER - 6) / (5 * POINTS)))
        heading(figure, "Accuracy of the Images Answered", subtitle)
    return figure


def apart(thresholds: pd.DataFrame, distance: float) -> pd.DataFrame:
    """Return thresholds whose shares are ``distance`` or more apart, from the smallest share on."""
    chosen: list[pd.Series[Any]] = []
    for _, row in thresholds.sort_values("share").iterrows():
        if not chosen or row["share"] - chosen[-1]["share"] >= distance:
            chosen.append(row)
    return pd.DataFrame(chosen)
