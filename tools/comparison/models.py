"""Two models, from two revisions, on the test images that both were evaluated on."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from common.errors import UserError, shown
from comparison.revisions import read_dataset, read_predictions
from comparison.statistics import matched_interval, mcnemar


@dataclass(frozen=True)
class Comparison:
    """B against A on the same n images; accuracies and differences in percent."""

    n: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    difference_low: float
    difference_high: float
    p_value: float


@dataclass(frozen=True)
class Pairs:
    """The test images that two revisions have in common."""

    rows: pd.DataFrame  # actual: the label; a and b: was that model right?
    total_a: int
    total_b: int
    relabelled: int  # images of the same name that have another label; they are not compared
    note: str  # what the data sets do not agree on; empty if nothing


def pair(a: str, b: str) -> Pairs:
    """Match the test images of two revisions by file name and label, without names by position.

    Raises:
        UserError: The data sets cannot be matched, or a file cannot be read.
    """
    datasets = [read_dataset(revision) for revision in (a, b)]
    left, right = (read_predictions(revision) for revision in (a, b))
    differing = [
        f"{key} is {shown(datasets[0].get(key))} at {a}, {shown(datasets[1].get(key))} at {b}"
        for key in ("name", "classes", "source", "sha256")
        if datasets[0].get(key) != datasets[1].get(key)
    ]
    if "file" in left and "file" in right:
        if datasets[0].get("name") != datasets[1].get("name"):
            raise UserError(f"the data sets differ: {differing[0]}; evaluate both on one")
        return match_by_name(left, right, a, b, differing)
    if datasets[0].get("sha256"):  # then the source may have moved
        differing = [each for each in differing if not each.startswith("source ")]
    if differing:
        raise UserError(
            f"the data sets differ: {differing[0]}; and predictions.csv of one of them has no file "
            "names to match by; evaluate both on one"
        )
    return match_by_position(left, right, a, b)


def match_by_name(
    left: pd.DataFrame, right: pd.DataFrame, a: str, b: str, differing: list[str]
) -> Pairs:
    """Pair rows of the same file and label; the first of several such rows with the first."""
    keys = ["file", "actual"]
    both = left.assign(copy=left.groupby(keys).cumcount()).merge(
        right.assign(copy=right.groupby(keys).cumcount()), on=[*keys, "copy"]
    )
    if both.empty:
        raise UserError(
            f"no test image of {a} has the file name and the label of one of {b}; "
            "evaluate both on one data set"
        )
    shared = int(left["file"].isin(right["file"]).sum())
    note = f"The data sets are not the same: {'; '.join(differing)}." if differing else ""
    return Pairs(
        was_right(both["actual"], both["predicted_x"], both["predicted_y"]),
        len(left),
        len(right),
        relabelled=max(0, shared - len(both)),
        note=note,
    )


def match_by_position(left: pd.DataFrame, right: pd.DataFrame, a: str, b: str) -> Pairs:
    """Pair rows by their number.

    Raises:
        UserError: The numbers of rows or the labels differ, so the images do as well.
    """
    if len(left) != len(right):
        raise UserError(
            f"the data sets differ: {len(left)} test images at {a}, {len(right)} at {b}; "
            "evaluate both on one"
        )
    others = int((left["actual"] != right["actual"]).sum())
    if others:
        raise UserError(
            f"the data sets differ: {others} of {len(left)} test images have another label at "
            f"{a} than at {b}; evaluate both on one"
        )
    rows = was_right(left["actual"], left["predicted"], right["predicted"])
    return Pairs(rows, len(left), len(right), relabelled=0, note="")


def was_right(actual: Any, by_a: Any, by_b: Any) -> pd.DataFrame:
    return pd.DataFrame({"actual": actual, "a": by_a == actual, "b": by_b == actual})


def compare(rows: pd.DataFrame) -> Comparison:
    """Compare columns a and b of ``rows`` by McNemar's test and Agresti and Min's interval."""
    n = len(rows)
    only_a = int((rows["a"] & ~rows["b"]).sum())
    only_b = int((rows["b"] & ~rows["a"]).sum())
    low, high = matched_interval(only_a, only_b, n)
    return Comparison(
        n=n,
        accuracy_a=100 * float(rows["a"].mean()),
        accuracy_b=100 * float(rows["b"].mean()),
        difference=100 * (only_b - only_a) / n,
        difference_low=low,
        difference_high=high,
        p_value=mcnemar(only_a, only_b),
    )
