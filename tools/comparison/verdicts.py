"""Groups of runs against a baseline: what their seeds show, and what they cannot."""

from dataclasses import dataclass

import numpy as np

from common.arrays import Array
from common.errors import UserError, choose, printable
from comparison import statistics
from comparison.experiments import Runs
from comparison.groups import Group, find_baseline, group_runs
from comparison.notes import notes
from comparison.statistics import FEWEST, NOT_SHOWN, Difference

TOO_FEW = "too few seeds"
# What is no quality of a model among its metrics: an interval's ends, the number of images.
NO_QUALITY = ("n", "ci_low", "ci_high")


@dataclass
class Row:
    """A group's seeds in numbers, and how it differs from the baseline; None: cannot be said."""

    group: Group
    values: Array  # one per run, in the order of group.runs
    baseline: bool
    mean: float
    sd: float | None
    mean_low: float | None
    mean_high: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    test: str | None = None  # paired t | Welch
    pairs: int | None = None  # of a paired test: seeds that both groups have
    p: float | None = None
    p_holm: float | None = None
    smallest_difference: float | None = None  # that would have been shown with 80 % power
    verdict: str | None = None


@dataclass(frozen=True)
class Table:
    """Everything that is printed, written or drawn about one metric."""

    metric: str
    lower_is_better: bool
    rows: list[Row]  # the baseline first
    comparisons: int  # that p is adjusted for
    notes: list[str]

    @property
    def is_loss(self) -> bool:
        """Whether the metric is in nats; all others are in percent."""
        return last_word(self.metric) == "loss"


def tabulate(runs: Runs, metric: str, baseline: str | None) -> Table:
    """Group the runs and compare each group with the baseline.

    Raises:
        UserError: The metric or the baseline is unknown, or no run has the metric.
    """
    choices = sorted({key for run in runs.runs for key in run.metrics} - set(NO_QUALITY))
    if not choices:
        raise UserError(nothing_to_compare(runs))
    if metric not in choices:
        raise UserError(f"--metric is {metric!r}; {choose(metric, choices)}")
    having = [run for run in runs.runs if metric in run.metrics]
    left_out = runs.left_out | {run.name: f"no {metric}" for run in runs.runs if run not in having}
    groups = group_runs(having)
    first = find_baseline(groups, runs, baseline)
    rows = [summarize(group, metric, group is first) for group in groups]
    rows.sort(key=lambda row: not row.baseline)
    lower = last_word(metric) in ("loss", "ece")
    comparisons = compare_all(rows, lower)
    return Table(
        metric, lower, rows, comparisons, notes([row.group for row in rows], runs, left_out, metric)
    )


def nothing_to_compare(runs: Runs) -> str:
    reasons = "; ".join(printable(f"{name}: {why}") for name, why in runs.left_out.items())
    return (
        f"no experiment of {runs.head} has results ({reasons or 'there are none'}); run some: "
        "dvc exp run --queue -S 'train.seed=range(0,5)' and dvc exp run --run-all"
    )


def last_word(metric: str) -> str:
    return metric.split("_")[-1]


def summarize(group: Group, metric: str, baseline: bool) -> Row:
    values = np.array([run.metrics[metric] for run in group.runs])
    low, high = statistics.mean_interval(values) if len(values) > 1 else (None, None)
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Row(group, values, baseline, float(values.mean()), sd, low, high)


def compare_all(rows: list[Row], lower_is_better: bool) -> int:
    """Fill in the differences of all rows from the first; return how many of them were tested."""
    baseline, others = rows[0], rows[1:]
    tested = []
    for row in others:
        row.difference = row.mean - baseline.mean
        row.verdict = TOO_FEW
        if min(len(row.values), len(baseline.values)) >= FEWEST:
            tested.append((row, difference_of(row, baseline)))
    if not tested:
        return 0
    p = np.array([float(statistics.p_values(each)) for _, each in tested])
    for (row, difference), one, adjusted in zip(tested, p, statistics.holm(p), strict=True):
        row.difference = float(difference.estimate)
        row.p, row.p_holm = number(one), number(adjusted)
        row.verdict = str(statistics.verdicts(difference, adjusted, lower_is_better))
        row.difference_low, row.difference_high = map(
            float, statistics.difference_interval(difference)
        )
        if row.verdict == NOT_SHOWN:
            row.smallest_difference = statistics.smallest_difference(
                float(difference.error), float(difference.freedom), len(tested)
            )
    return len(tested)


def difference_of(row: Row, baseline: Row) -> Difference:
    """Return the difference by pairs where one group has all seeds of the other, or by Welch."""
    ours, theirs = by_seed(row), by_seed(baseline)
    common = [seeds for seeds in ours if seeds in theirs]
    if len(common) < min(len(ours), len(theirs)):
        row.test = "Welch"
        return statistics.welch_difference(row.values, baseline.values)
    row.test, row.pairs = "paired t", len(common)
    return statistics.paired_difference(
        np.array([ours[seeds] for seeds in common]), np.array([theirs[seeds] for seeds in common])
    )


def by_seed(row: Row) -> dict[tuple[tuple[str, int], ...], float]:
    """Return the values by all seeds of a run."""
    return {
        tuple(run.settings.seeds.items()): float(value)
        for run, value in zip(row.group.runs, row.values, strict=True)
    }


def number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
