"""Intervals, tests and verdicts, on arrays whose last axis holds the seeds or the comparisons."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, nct, norm, t

from common.arrays import Array

SIGNIFICANT = 0.05
POWER = 0.8
FEWEST = 3  # seeds per group; with two, a mean is uncertain by 13 standard errors
BETTER, WORSE, NOT_SHOWN = "better", "worse", "no difference shown"
SAME, NO_SPREAD = "identical results", "no spread, no verdict"


@dataclass(frozen=True)
class Difference:
    """Differences of two means, their standard errors and degrees of freedom, each (...)."""

    estimate: Array
    error: Array
    freedom: Array


def mean_interval(values: Array) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of ``values``, (N,) with N ≥ 2."""
    margin = t.isf(SIGNIFICANT / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - margin), float(values.mean() + margin)


def paired_difference(ours: Array, theirs: Array) -> Difference:
    """Return the mean of ``ours - theirs``, both (..., N); element i of both has the same seed."""
    n = ours.shape[-1]
    differences = ours - theirs
    error = differences.std(axis=-1, ddof=1) / np.sqrt(n)
    return Difference(
        differences.mean(axis=-1),
        without_rounding(error, ours, theirs),
        np.full(error.shape, n - 1.0),
    )


def welch_difference(ours: Array, theirs: Array) -> Difference:
    """Return the difference of the means of ``ours``, (..., N), and ``theirs``, (..., M).

    The two are independent and need not have the same variance: Welch, The generalization of
    "Student's" problem, Biometrika 34 (1947) 28-35. Where N and M differ, Welch's degrees of
    freedom are too many for a group of three or four seeds (3 against 10: 6 to 7 % of simulated
    comparisons were wrong at the 5 % level, 9 to 12 % of four at once). The degrees of freedom of
    the smaller group, used there, never err to that side: Mickey and Brown, Bounds on the
    distribution functions of the Behrens-Fisher statistic, Annals of Mathematical Statistics 37
    (1966) 639-642.
    """
    n, m = ours.shape[-1], theirs.shape[-1]
    a, b = ours.var(axis=-1, ddof=1) / n, theirs.var(axis=-1, ddof=1) / m
    error = without_rounding(np.sqrt(a + b), ours, theirs)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
    smaller = min(n, m) - 1.0
    freedom = np.where((error > 0) & (n == m), freedom, smaller)
    return Difference(ours.mean(axis=-1) - theirs.mean(axis=-1), error, freedom)


def without_rounding(error: Array, ours: Array, theirs: Array) -> Array:
    """Return 0 instead of standard errors that are only the rounding of 64-bit numbers."""
    scale = np.maximum(np.abs(ours).max(axis=-1), np.abs(theirs).max(axis=-1))
    return np.where(error > 1e-12 * scale, error, 0.0)


def difference_interval(difference: Difference) -> tuple[Array, Array]:
    """Return the ends of the 95 % intervals, (...)."""
    margin = t.isf(SIGNIFICANT / 2, difference.freedom) * difference.error
    return difference.estimate - margin, difference.estimate + margin


def p_values(difference: Difference) -> Array:
    """Return two-sided p-values, (...): NaN where there is no spread to measure against."""
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(difference.estimate) / difference.error
    return np.where(difference.error > 0, 2 * t.sf(statistic, difference.freedom), np.nan)


def holm(p: Array) -> Array:
    """Adjust the p-values of each row, (..., M), for M comparisons; NaN counts as one, and stays.

    The chance that any of the M is called a difference without being one is then at most that of a
    single test: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal
    of Statistics 6 (1979) 65-70.
    """
    known = np.where(np.isnan(p), 1.0, p)
    order = known.argsort(axis=-1, kind="stable")
    factors = np.arange(p.shape[-1], 0, -1)
    steps = np.maximum.accumulate(np.take_along_axis(known, order, -1) * factors, axis=-1)
    adjusted = np.empty_like(known)
    np.put_along_axis(adjusted, order, np.minimum(steps, 1.0), -1)
    return np.where(np.isnan(p), np.nan, adjusted)


def verdicts(difference: Difference, p: Array, lower_is_better: bool = False) -> Array:
    """Return what can be said of each difference from its adjusted p-value, in words, (...)."""
    gain = -difference.estimate if lower_is_better else difference.estimate
    significant = p < SIGNIFICANT
    return np.select(
        [np.isnan(p) & (np.abs(gain) > 0), np.isnan(p), significant & (gain > 0), significant],
        [NO_SPREAD, SAME, BETTER, WORSE],
        NOT_SHOWN,
    )


def smallest_difference(error: float, freedom: float, comparisons: int) -> float:
    """Return the true difference that is shown with 80 % power, given the spread that was found.

    Shown means with the right sign, by a two-sided t-test at 5 % divided by the number of
    comparisons, which is the strictest of Holm's levels.
    """
    return error * noncentrality(freedom, SIGNIFICANT / comparisons)


@cache
def noncentrality(freedom: float, level: float) -> float:
    """Return the standard errors that a difference must measure to be shown with 80 % power."""
    critical = float(t.isf(level / 2, freedom))

    def excess(standard_errors: float) -> float:
        return float(nct.sf(critical, freedom, standard_errors)) - POWER  # shown, with its sign

    return float(brentq(excess, 0.0, 3 * critical + 10))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the p-value for a fair coin deciding which model is right where only one is; exact.

    McNemar, Note on the sampling error of the difference between correlated proportions or
    percentages, Psychometrika 12 (1947) 153-157.
    """
    return float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0


def matched_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval, in percent, of B's accuracy less A's on the same ``n`` images.

    Wald's after a half is added to each of the four counts: Agresti and Min, Simple improved
    confidence intervals for comparing matched proportions, Statistics in Medicine 24 (2005)
    729-740.
    """
    center = (only_b - only_a) / (n + 2)  # the added halves cancel out
    spread = np.sqrt((only_a + only_b + 1) - (only_b - only_a) ** 2 / (n + 2)) / (n + 2)
    margin = norm.isf(SIGNIFICANT / 2) * spread
    return 100 * float(max(-1.0, center - margin)), 100 * float(min(1.0, center + margin))
