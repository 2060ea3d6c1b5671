"""The comparison of groups for machines: JSON and CSV."""

import csv
import io
import json
from typing import Any

from common.tables import cell
from comparison.verdicts import Row, Table

NUMBERS = (
    "mean",
    "sd",
    "mean_low",
    "mean_high",
    "difference",
    "difference_low",
    "difference_high",
    "test",
    "pairs",
    "p",
    "p_holm",
    "smallest_difference",
    "verdict",
)


def groups_as_json(table: Table) -> str:
    """Return the table with each group's runs: name, seeds and value."""
    return json.dumps(
        {
            "metric": table.metric,
            "lower_is_better": table.lower_is_better,
            "comparisons": table.comparisons,
            "groups": [
                {
                    **numbers(row),
                    "distinguished_by": row.group.distinguished_by,
                    "runs": [
                        {"name": run.name, "seeds": run.settings.seeds, "value": float(value)}
                        for run, value in zip(row.group.runs, row.values, strict=True)
                    ],
                }
                for row in table.rows
            ],
            "notes": table.notes,
        },
        allow_nan=False,
    )


def groups_as_csv(table: Table) -> str:
    """Return a line per group below a header."""
    rows = [numbers(row) for row in table.rows]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def numbers(row: Row) -> dict[str, Any]:
    return {
        "group": row.group.name,
        "baseline": row.baseline,
        "n": len(row.values),
        **{name: getattr(row, name) for name in NUMBERS},
    }
