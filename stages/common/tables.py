"""CSV files that every reader parses and no spreadsheet executes."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.errors import printable
from common.files import write_text

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # spreadsheets also take the full-width ones


def write_csv(
    path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None
) -> None:
    """Write one line per row below a header of ``columns``, by default the keys of the first row.

    Numbers have six significant digits; NaN is nan, which pandas, NumPy and DVC read as a number,
    while DVC draws an empty field as 0. None is empty. Text has escape sequences for line
    breaks and control characters, and a leading apostrophe where a spreadsheet would take it for a
    formula (https://owasp.org/www-community/attacks/CSV_Injection).

    Raises:
        ValueError: A row has keys that are not columns.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns or list(rows[0]), lineterminator="\n")
    writer.writerow({column: harmless(column) for column in writer.fieldnames})
    writer.writerows({column: cell(value) for column, value in row.items()} for row in rows)
    write_text(path, buffer.getvalue())


def cell(value: object) -> str:
    """Return the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return harmless(value) if isinstance(value, str) else str(value)


def harmless(text: str) -> str:
    """Return ``text`` on one line, with an apostrophe before what could be a formula."""
    line = printable(text)
    return f"'{line}" if line.startswith(FORMULA) and not is_number(line) else line


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
