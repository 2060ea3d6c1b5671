"""The training curves."""

import math
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.history import Row
from figures.style import BLUE, HEADER, ORANGE, POINTS, STYLE, heading

PANELS = {
    "loss": ["train_loss", "validation_loss"],
    "accuracy, %": ["train_accuracy", "validation_accuracy"],
    "learning rate": ["learning_rate"],
}


def draw_history(history: list[Row], subtitle: str) -> Figure:
    """Draw loss, accuracy and learning rate, one point per epoch, as far as they were measured."""
    epochs = [row["epoch"] for row in history]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2))
        for axes, (title, columns) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
            measured = [
                column for column in columns if any(math.isfinite(row[column]) for row in history)
            ]
            for column, color in zip(measured, (BLUE, ORANGE), strict=False):
                line: Any = {"color": color, "label": column.split("_")[0]}
                axes.plot(epochs, [row[column] for row in history], "o-", **line)
            axes.set(xlabel="epoch", title=title)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            if len(measured) > 1:
                axes.legend()
        axes.set_ylim(0, None)  # a constant learning rate is a level line, not noise
        figure.tight_layout(rect=(0, 0, 1, 1 - HEADER / (4.2 * POINTS)))
        heading(figure, "Training", subtitle)
    return figure
