"""A prediction as a line of text, as JSON and as a row of a CSV file."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import printable
from common.files import replacing
from common.tables import cell
from prediction.images import Prediction

COLUMNS = (
    "file",
    "predicted",
    "confidence",
    "second",
    "second_probability",
    "third",
    "third_probability",
)


def as_text(prediction: Prediction, name_width: int, class_width: int) -> str:
    shares = [
        f"{printable(name):{class_width}} {100 * probability:5.1f} %"
        for name, probability in prediction.top
    ]
    parts = [f"{printable(prediction.name):{name_width}}", "   ".join(shares)]
    if prediction.unsure is not None:
        parts.insert(1, "unsure" if prediction.unsure else "      ")
    return "  ".join(parts)


def width(names: list[str]) -> int:
    return max(len(printable(name)) for name in names)


def as_json(prediction: Prediction) -> dict[str, object]:
    top = [{"class": name, "probability": probability} for name, probability in prediction.top]
    unsure = {} if prediction.unsure is None else {"unsure": prediction.unsure}
    return {"image": prediction.name, **unsure, "predictions": top}


@contextmanager
def csv_file(path: Path | None, unsure: bool) -> Iterator[Callable[[Prediction], None]]:
    """Yield what writes a prediction as a row of the file at ``path``, which appears at the end.

    If the block raises, an earlier file stays. Without a path, nothing is written.

    Args:
        path: ends in .csv; cells follow the rules of ``common.tables.write_csv``.
        unsure: adds a column that is true where the prediction is unsure and false elsewhere.
    """
    if path is None:
        yield lambda prediction: None
        return
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, "unsure"] if unsure else COLUMNS)
        yield lambda prediction: writer.writerow(map(cell, as_row(prediction)))


def as_row(prediction: Prediction) -> list[object]:
    """Return the cells of a row; those of classes that the model does not have are None."""
    row: list[object] = [prediction.name, *(value for pair in prediction.top for value in pair)]
    row += [None] * (len(COLUMNS) - len(row))
    return row if prediction.unsure is None else [*row, str(prediction.unsure).lower()]
