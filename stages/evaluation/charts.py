"""The pictures of an evaluation: bars, matrix, calibration, mistakes and filters."""

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from common.arrays import Array, LabelledImages
from common.files import REPORTS
from evaluation.curves import draw_history, read_history
from figures.grid import Caption, picture_grid
from figures.style import BLUE, DPI, GREY, ORANGE, STYLE, heading, save_figure

MANY = 20  # classes from which on labels shrink and the matrix has no numbers
MISTAKES = 15
FILTERS = 64


def draw_all(
    test: LabelledImages,
    predictions: pd.DataFrame,
    per_class: pd.DataFrame,
    matrix: Array,
    bins: pd.DataFrame,
    network: nn.Module,
    subtitle: str,
) -> None:
    """Write the PNGs into reports/, one at a time."""
    save_figure(draw_history(read_history(), subtitle), REPORTS / "history.png")
    save_figure(draw_class_accuracy(per_class, subtitle), REPORTS / "class_accuracy.png")
    save_figure(draw_confusion(matrix, test.dataset.classes, subtitle), REPORTS / "confusion.png")
    save_figure(draw_reliability(bins, subtitle), REPORTS / "reliability.png")
    save_figure(draw_mistakes(test, predictions, subtitle), REPORTS / "mistakes.png")
    save_figure(draw_filters(network, subtitle), REPORTS / "filters.png")


def draw_class_accuracy(per_class: pd.DataFrame, subtitle: str) -> Figure:
    """Horizontal bars, best on top, each with its interval; chance level marked."""
    rows = per_class.sort_values("percent", kind="stable")
    errors = [rows["percent"] - rows["percent_low"], rows["percent_high"] - rows["percent"]]
    chance = 100 / len(rows)
    height, font = (0.36, 12) if len(rows) <= MANY else (0.2, 9)  # inches a row, points
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.1 + height * len(rows)))
        axes = figure.subplots()
        axes.barh(
            range(len(rows)),
            rows["percent"],
            xerr=np.clip(errors, 0, None),
            color=BLUE,
            ecolor="black",
            capsize=3,
        )
        axes.set_yticks(range(len(rows)), rows["class"], fontsize=font)
        for position, (percent, high) in enumerate(
            zip(rows["percent"], rows["percent_high"], strict=True)
        ):
            axes.text(high + 1.2, position, f"{percent:.1f}", va="center", fontsize=font)
        axes.axvline(
            chance, color=ORANGE, linestyle="--", linewidth=1.5, label=f"chance, {chance:.3g} %"
        )
        axes.set(xlim=(0, 112), ylim=(-0.7, len(rows) - 0.3), xticks=range(0, 101, 20))
        axes.set_xlabel("accuracy on test pictures, %, with 95 % interval")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.75 / figure.get_figheight()))
        heading(figure, "Accuracy of Each Class", subtitle)
    return figure


def draw_confusion(matrix: Array, classes: list[str], subtitle: str) -> Figure:
    """How many percent of each actual class (row) were taken for each class (column). matrix: counts."""
    percents = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    cell = max(10, min(90, 640 // len(classes)))  # pixels
    font = min(12, int(0.6 * cell))  # points
    side = cell * len(classes)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure()
        names = max(
            figure.text(0, 0, name, fontsize=font).get_window_extent().width for name in classes
        )
        figure.clear()
        left, above = int(names) + 60, 84  # pixels: names and the axis's label; the heading
        width, height = max(left + side + 130, 640), above + side + left
        figure.set_size_inches(width / DPI, height / DPI)
        axes = figure.add_axes((left / width, left / height, side / width, side / height))
        image = axes.imshow(
            percents, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="none"
        )
        bar = figure.add_axes(
            ((left + side + 20) / width, left / height, 16 / width, side / height)
        )
        figure.colorbar(image, cax=bar, label="% of the row")
        axes.set_xticks(
            range(len(classes)), classes, rotation=0 if names < 0.9 * cell else 90, fontsize=font
        )
        axes.set_yticks(range(len(classes)), classes, fontsize=font)
        axes.set(xlabel="predicted", ylabel="actual")
        if len(classes) <= MANY:
            write_numbers(axes, percents, font=min(12, cell // 3))
        heading(figure, "What It Takes for What", subtitle)
    return figure


def write_numbers(axes: Axes, percents: Array, font: int) -> None:
    for (row, column), percent in np.ndenumerate(percents):
        color = "white" if percent > 50 else "black"
        axes.text(
            column, row, f"{percent:.0f}", ha="center", va="center", color=color, fontsize=font
        )


def draw_reliability(bins: pd.DataFrame, subtitle: str) -> Figure:
    """How often it is right when it is so sure; below, how often it is so sure."""
    middle, filled = 100 * (bins["low"] + bins["high"]) / 2, bins["n"] > 0
    width = 100 / len(bins)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 7))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        accuracy = 100 * bins["accuracy"][filled]
        upper.bar(
            middle[filled],
            accuracy,
            0.92 * width,
            color=BLUE,
            label="accuracy of the pictures in the bin",
        )
        upper.plot(
            100 * bins["confidence"][filled],
            accuracy,
            "o",
            color="black",
            markersize=5,
            label="mean confidence",
        )
        upper.plot(
            [0, 100], [0, 100], "--", color=ORANGE, linewidth=2, label="perfectly calibrated"
        )
        upper.set(xlim=(0, 100), ylim=(0, 105), ylabel="accuracy, %", yticks=range(0, 101, 20))
        upper.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=3,
            frameon=False,
            borderaxespad=0,
            fontsize=11,
        )
        lower.bar(middle, bins["n"], 0.92 * width, color=GREY)
        for x, count in zip(middle, bins["n"], strict=True):
            lower.text(x, count, f"{count:,}", ha="center", va="bottom", fontsize=10)
        lower.set(xlabel="confidence, %", ylabel="pictures", xticks=range(0, 101, 20), yticks=[])
        lower.set_ylim(0, 1.25 * bins["n"].max())
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.75 / 7))
        heading(figure, "How Far to Trust Its Confidence", subtitle)
    return figure


def draw_mistakes(test: LabelledImages, predictions: pd.DataFrame, subtitle: str) -> Figure:
    """The wrong answers it was surest of: among them are the wrong labels of a data set."""
    wrong = predictions[predictions["actual"] != predictions["predicted"]]
    worst = wrong.sort_values("confidence", ascending=False, kind="stable").head(MISTAKES)
    captions = [
        Caption(f"{actual}\n→ {predicted}, {100 * confidence:.1f} %")
        for actual, predicted, confidence in worst[["actual", "predicted", "confidence"]].to_numpy()
    ]
    shown = (
        f"{subtitle}: {len(worst)} of {len(wrong):,} wrong answers; actual → predicted, confidence"
    )
    return picture_grid(
        test.images.read(worst["index"].to_numpy()), captions, "Surest Mistakes", shown
    )


def draw_filters(network: nn.Module, subtitle: str) -> Figure:
    """Filters of the first convolution, red, green and blue as they weigh the picture's; each scaled by itself."""
    weight = (
        next(module.weight for module in network.modules() if isinstance(module, nn.Conv2d))
        .detach()
        .cpu()
    )
    shown = f"{subtitle}: {min(FILTERS, len(weight))} of {len(weight)} filters of {weight.shape[-1]} x {weight.shape[-2]}"
    captions = [Caption(str(number)) for number in range(1, len(weight) + 1)][:FILTERS]
    images = visible(weight[:FILTERS])
    return picture_grid(
        images, captions, "First Layer", f"{shown} pixels, grey is 0", columns=8, cell=80
    )


def visible(weight: Tensor) -> Array:
    """Weights, (N, 3, H, W), as uint8 pictures: 0 is mid-grey, each filter's largest weight 0 or 255."""
    largest = (
        weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
    )
    return (127.5 + 127.5 * weight / largest).round().to(torch.uint8).numpy()
