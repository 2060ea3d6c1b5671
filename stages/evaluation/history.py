"""The course of training that the train stage wrote: reports/history.csv, one row per epoch."""

import csv
import math
from pathlib import Path

from common.errors import UserError
from common.files import REPORTS, check_is_file

Row = dict[str, float]
COLUMNS = [
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
]


def read_history(path: Path = REPORTS / "history.csv") -> list[Row]:
    """Return the rows; what was not measured is NaN.

    Raises:
        UserError: The file is missing or damaged.
    """
    check_is_file(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [parse(row) for row in csv.DictReader(file, strict=True)]
        if not rows or [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
            raise ValueError("its epochs are not 1, 2, ...")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the train stage first") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error}); run the train stage again") from None
    return rows


def parse(row: dict[str, str]) -> Row:
    """Return the numbers of a row.

    Raises:
        ValueError: The row has other columns, or what must be a finite number is none.
    """
    if list(row) != COLUMNS or None in row.values():
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    numbers = {column: float(text or "nan") for column, text in row.items()}
    for column, number in numbers.items():
        if not math.isfinite(number) and not column.startswith("validation"):
            raise ValueError(f"{column} is {row[column]!r}")
    return numbers


def validation_metrics(history: list[Row], best_epoch: int | None) -> dict[str, float]:
    """Return accuracy (percent) and loss on the validation images of the weights that were kept.

    Empty without validation images.

    Args:
        history: as read_history returns it.
        best_epoch: the epoch whose weights early stopping kept; None for the last.

    Raises:
        UserError: The history ends before that epoch.
    """
    if best_epoch is not None and not 1 <= best_epoch <= len(history):
        raise UserError(
            f"{REPORTS / 'history.csv'}: has {len(history)} epochs, but the model is of epoch "
            f"{best_epoch}; run the train stage again"
        )
    kept = history[(best_epoch or len(history)) - 1]
    if not math.isfinite(kept["validation_accuracy"]):
        return {}
    metrics = {"val_acc": round(kept["validation_accuracy"], 2)}
    if math.isfinite(kept["validation_loss"]):
        metrics["val_loss"] = round(kept["validation_loss"], 4)
    return metrics
