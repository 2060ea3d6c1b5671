"""The course of training, from reports/history.csv."""

import math

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.errors import UserError
from common.files import REPORTS
from figures.style import BLUE, ORANGE, STYLE, heading

Row = dict[str, float]


def read_history() -> list[Row]:
    """Return the rows of reports/history.csv, one per epoch.

    Raises:
        UserError: It is missing.
    """
    path = REPORTS / "history.csv"
    if not path.exists():
        raise UserError(f"{path}: no such file; run the train stage first")
    return [
        {str(column): float(value) for column, value in row.items()}
        for row in pd.read_csv(path).to_dict("records")
    ]


def draw_history(history: list[Row], subtitle: str) -> Figure:
    """Loss, accuracy and learning rate, a point an epoch; of the training and, if any, the validation pictures."""
    epochs = [row["epoch"] for row in history]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2))
        panels = {
            "loss": ["train_loss", "validation_loss"],
            "accuracy, %": ["train_accuracy", "validation_accuracy"],
            "learning rate": ["learning_rate"],
        }
        for axes, (title, columns) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            there = [
                column for column in columns if any(math.isfinite(row[column]) for row in history)
            ]
            for column, color in zip(there, (BLUE, ORANGE), strict=False):
                axes.plot(
                    epochs,
                    [row[column] for row in history],
                    "o-",
                    color=color,
                    label=column.split("_")[0],
                )
            axes.set(xlabel="epoch", title=title)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if len(there) > 1:
                axes.legend()
        axes.set_ylim(0, None)  # a constant learning rate is a level line, not noise
        figure.tight_layout(rect=(0, 0, 1, 0.82))
        heading(figure, "Training", subtitle)
    return figure
