"""The statistics of compare.py against scipy, statsmodels, hand-made cases and simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_ind, ttest_rel
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from common.arrays import Array
from comparison.models import compare
from comparison.statistics import (
    BETTER,
    NO_SPREAD,
    NOT_SHOWN,
    SAME,
    WORSE,
    Difference,
    difference_interval,
    holm,
    matched_interval,
    mcnemar,
    mean_interval,
    p_values,
    paired_difference,
    smallest_difference,
    verdicts,
    welch_difference,
)

SIMULATED = 2000
MOST_WRONG = 0.06  # 5 %, and twice the standard error that 2,000 simulations leave


def drawn(*shape: int, seed: int = 0, mean: float = 58.0, sd: float = 0.5) -> Array:
    return np.random.default_rng(seed).normal(mean, sd, shape)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_interval_of_a_mean_against_statsmodels(n: int) -> None:
    values = drawn(n)
    assert mean_interval(values) == pytest.approx(DescrStatsW(values).tconfint_mean())


@pytest.mark.parametrize("n", [3, 5, 10])
def test_paired_difference_against_scipy(n: int) -> None:
    ours, theirs = drawn(n, seed=1), drawn(n, seed=2)
    difference = paired_difference(ours, theirs)
    expected = ttest_rel(ours, theirs)
    assert difference.estimate == pytest.approx((ours - theirs).mean())
    assert p_values(difference) == pytest.approx(expected.pvalue)
    assert difference_interval(difference) == pytest.approx(expected.confidence_interval())


@pytest.mark.parametrize("sd", [0.5, 4.0])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_welch_difference_against_scipy_and_statsmodels(n: int, sd: float) -> None:
    ours, theirs = drawn(n, seed=1, sd=sd), drawn(n, seed=2)
    difference = welch_difference(ours, theirs)
    assert p_values(difference) == pytest.approx(ttest_ind(ours, theirs, equal_var=False).pvalue)
    expected = CompareMeans(DescrStatsW(ours), DescrStatsW(theirs)).tconfint_diff(usevar="unequal")
    assert difference_interval(difference) == pytest.approx(expected)


def test_groups_of_different_sizes_have_the_degrees_of_freedom_of_the_smaller() -> None:
    ours, theirs = drawn(3, seed=1), drawn(10, seed=2)
    statistic = ttest_ind(ours, theirs, equal_var=False).statistic
    expected = 2 * t.sf(abs(statistic), 2)
    assert p_values(welch_difference(ours, theirs)) == pytest.approx(expected)
    assert p_values(welch_difference(theirs, ours)) == pytest.approx(expected)


@pytest.mark.parametrize("m", [1, 2, 5, 12])
def test_holm_against_statsmodels(m: int) -> None:
    rows = np.random.default_rng(m).uniform(0, 0.2, (3, m))
    rows[0] = 0.01  # ties
    expected = [multipletests(row, method="holm")[1] for row in rows]
    np.testing.assert_allclose(holm(rows), expected)


def test_holm_counts_what_could_not_be_tested_as_a_comparison() -> None:
    adjusted = holm(np.array([0.01, np.nan, 0.02]))
    assert adjusted[[0, 2]] == pytest.approx([0.03, 0.04])
    assert np.isnan(adjusted[1])


@pytest.mark.parametrize("comparisons", [1, 4, 11])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_smallest_difference_against_statsmodels(n: int, comparisons: int) -> None:
    # One side of the two-sided level: the other side's power, a millionth, is NaN in statsmodels.
    level, sd = 0.05 / comparisons / 2, 0.7
    one_sided = {"alpha": level, "power": 0.8, "alternative": "larger"}
    paired = smallest_difference(sd / math.sqrt(n), n - 1, comparisons)
    assert paired == pytest.approx(sd * TTestPower().solve_power(nobs=n, **one_sided), rel=1e-3)
    unpaired = smallest_difference(sd * math.sqrt(2 / n), 2 * n - 2, comparisons)
    expected = TTestIndPower().solve_power(nobs1=n, **one_sided)
    assert unpaired == pytest.approx(sd * expected, rel=1e-3)


@pytest.mark.parametrize(("n", "comparisons"), [(3, 1), (3, 4), (5, 1), (10, 11)])
def test_smallest_difference_is_shown_in_four_of_five_simulations(n: int, comparisons: int) -> None:
    sd = 0.7
    effect = smallest_difference(sd / math.sqrt(n), n - 1, comparisons)
    differences = drawn(SIMULATED, n, mean=effect, sd=sd)
    p = p_values(paired_difference(differences, np.zeros_like(differences)))
    assert 0.77 < (p < 0.05 / comparisons).mean() < 0.83


def said(difference: Difference) -> Array:
    """Return the verdicts of (simulations, comparisons), adjusted for the comparisons."""
    if difference.estimate.ndim == 1:
        columns = [part[:, None] for part in vars(difference).values()]
        return said(Difference(*columns))[:, 0]
    return verdicts(difference, holm(p_values(difference)))


def share_wrong(difference: Difference) -> float:
    """Return how often any of the comparisons is said to be better or worse."""
    wrong = np.isin(said(difference), [BETTER, WORSE])
    return float(wrong.reshape(len(wrong), -1).any(axis=1).mean())


@pytest.mark.parametrize("groups", [1, 4, 11])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_paired_verdicts_without_a_difference_are_wrong_in_at_most_5_percent(
    n: int, groups: int
) -> None:
    effect_of_seed = drawn(SIMULATED, 1, n, seed=1)
    baseline = effect_of_seed + drawn(SIMULATED, 1, n, seed=2, mean=0)
    others = effect_of_seed + drawn(SIMULATED, groups, n, seed=3, mean=0)
    wrong = share_wrong(paired_difference(others, baseline))
    assert wrong <= MOST_WRONG
    if groups == 1:
        assert wrong >= 0.04  # the test is exact: fewer would mean that it finds too little


@pytest.mark.parametrize("groups", [1, 4, 11])
@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (10, 10), (3, 10), (5, 6)])
def test_unpaired_verdicts_without_a_difference_are_wrong_in_at_most_5_percent(
    n: int, m: int, groups: int
) -> None:
    baseline, others = drawn(SIMULATED, 1, m, seed=1), drawn(SIMULATED, groups, n, seed=2)
    assert share_wrong(welch_difference(others, baseline)) <= MOST_WRONG


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (10, 10), (3, 10), (10, 3)])
def test_unequal_spreads_do_not_make_verdicts_wrong_more_often(n: int, m: int) -> None:
    baseline, others = drawn(SIMULATED, m, seed=1), drawn(SIMULATED, n, seed=2, sd=1.5)
    assert share_wrong(welch_difference(others, baseline)) <= MOST_WRONG


@pytest.mark.parametrize("n", [3, 5, 10])
def test_coarse_results_do_not_make_verdicts_wrong_more_often(n: int) -> None:
    """On a small test set many seeds have the same accuracy, to the image."""
    baseline, others = (drawn(SIMULATED, n, seed=seed).round() for seed in (1, 2))
    assert share_wrong(paired_difference(others, baseline)) <= MOST_WRONG
    assert share_wrong(welch_difference(others, baseline)) <= MOST_WRONG


def test_verdicts_in_words() -> None:
    estimate = np.array([0.4, -0.4, 0.4, 0.4, 0.0])
    difference = Difference(estimate, np.ones(5), np.ones(5))
    p = np.array([0.049, 0.01, 0.05, np.nan, np.nan])
    assert list(verdicts(difference, p)) == [BETTER, WORSE, NOT_SHOWN, NO_SPREAD, SAME]
    assert list(verdicts(difference, p, lower_is_better=True))[:3] == [WORSE, BETTER, NOT_SHOWN]


@pytest.mark.parametrize("step", [0.0, 0.1])
def test_no_spread_is_no_evidence_even_after_rounding(step: float) -> None:
    theirs = np.array([64.3, 31.7, 57.6])
    ours = theirs + step  # the differences are 0.1, 0.1 and 0.1, but for their last bits
    assert np.isnan(p_values(paired_difference(ours, theirs)))
    constant = np.full(3, 57.96)
    assert np.isnan(p_values(welch_difference(constant + step, constant)))


def table_of(both: int, only_a: int, only_b: int, neither: int) -> pd.DataFrame:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return pd.DataFrame({"a": a, "b": b})


def test_mcnemar_by_hand() -> None:
    # Of 10 images on which they differ, B is right on 9: 2 * (C(10,0) + C(10,1)) / 2**10.
    comparison = compare(table_of(50, 1, 9, 40))
    assert comparison.p_value == pytest.approx(22 / 1024)
    assert (comparison.accuracy_a, comparison.accuracy_b, comparison.difference) == (51, 59, 8)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (3, 3), (20, 41), (150, 86)])
def test_mcnemar_against_statsmodels(only_a: int, only_b: int) -> None:
    table = [[100, only_a], [only_b, 100]]
    expected = mcnemar_of_statsmodels(table, exact=True).pvalue
    assert mcnemar(only_a, only_b) == pytest.approx(expected)


def test_the_same_model_twice_does_not_differ() -> None:
    comparison = compare(table_of(60, 0, 0, 40))
    assert comparison.p_value == 1
    assert comparison.difference_low < 0 == comparison.difference < comparison.difference_high


def test_interval_of_the_difference_by_hand() -> None:
    # Agresti's prime-minister example: of 1,600 people, 150 changed from approval to disapproval
    # and 86 the other way. With a half more in each of the four counts: (86.5 - 150.5) / 1602 =
    # -0.03995; variance (237 - 64**2 / 1602) / 1602**2 = 9.1353e-5.
    low, high = matched_interval(150, 86, 1600)
    assert (low, high) == pytest.approx(
        (-3.995 - 1.96 * 0.95579, -3.995 + 1.96 * 0.95579), abs=0.002
    )


def test_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    counts = np.random.default_rng(0).multinomial(300, [0.5, 0.08, 0.12, 0.3], size=SIMULATED)
    intervals = [matched_interval(only_a, only_b, 300) for _, only_a, only_b, _ in counts.tolist()]
    covered = np.mean([low <= 4.0 <= high for low, high in intervals])
    assert 0.935 < covered < 0.965
