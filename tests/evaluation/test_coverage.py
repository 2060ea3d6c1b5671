"""Accuracy of the images answered, against counting them one by one."""

import numpy as np
import pytest
from scipy.stats import norm

from common.arrays import Array
from evaluation.coverage import THRESHOLDS, at_thresholds, coverage_curve
from made_predictions import make_predictions


def count(probabilities: Array, labels: Array, threshold: float) -> tuple[int, int]:
    """Return how many images have ``threshold`` or more, and how many of these are right."""
    answered = correct = 0
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        if max(row) >= threshold:
            answered += 1
            correct += row.index(max(row)) == label
    return answered, correct


def test_a_curve_by_hand() -> None:
    """Two images of the same confidence are answered together or not at all."""
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25], [1, 0]], np.float32)
    curve = coverage_curve(probabilities, np.array([1, 1, 1, 0]))
    assert curve.to_dict("list") == {
        "confidence": [1.0, 0.75, 0.5],
        "n": [1, 3, 4],
        "share": [25.0, 75.0, 100.0],
        "correct": [1, 2, 2],
        "percent": [100.0, 100 * 2 / 3, 50.0],
    }


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_every_row_of_the_curve_counts_the_images_of_its_confidence_or_more(classes: int) -> None:
    probabilities, labels = make_predictions(classes, n=300)
    probabilities = (20 * probabilities).round() / 20  # so that many are equal
    curve = coverage_curve(probabilities.astype(np.float32), labels)
    assert curve["confidence"].is_monotonic_decreasing and curve["confidence"].is_unique
    assert curve["n"].iloc[-1] == 300
    for row in curve.to_dict("records"):
        answered, correct = count(probabilities.astype(np.float32), labels, row["confidence"])
        assert (row["n"], row["correct"]) == (answered, correct)
        assert row["share"] == pytest.approx(100 * answered / 300)
        assert row["percent"] == pytest.approx(100 * correct / answered)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_thresholds_are_those_that_some_images_reach_and_some_do_not(classes: int) -> None:
    probabilities, labels = make_predictions(classes)
    table = at_thresholds(coverage_curve(probabilities, labels))
    expected: dict[int, tuple[float, int]] = {}
    for threshold in THRESHOLDS:
        answered, correct = count(probabilities, labels, threshold)
        if answered and (threshold == 0 or answered < len(labels)):
            expected.setdefault(answered, (threshold, correct))
    assert table["confidence"].tolist() == [threshold for threshold, _ in expected.values()]
    assert table["n"].tolist() == list(expected)
    assert table["correct"].tolist() == [correct for _, correct in expected.values()]
    assert table["confidence"].iloc[0] == 0 and table["n"].iloc[0] == len(labels)
    z = norm.ppf(0.975)
    for row in table.to_dict("records"):  # the ends of Wilson's interval solve this equation
        for end in (row["percent_low"] / 100, row["percent_high"] / 100):
            deviation = abs(row["correct"] / row["n"] - end)
            assert deviation == pytest.approx(z * (end * (1 - end) / row["n"]) ** 0.5, abs=1e-9)


def test_a_classifier_that_is_always_equally_sure_has_one_threshold() -> None:
    probabilities = np.tile(np.array([0.8, 0.2], np.float32), (7, 1))
    table = at_thresholds(coverage_curve(probabilities, np.zeros(7, np.int64)))
    assert table[["confidence", "n", "correct"]].to_numpy().tolist() == [[0, 7, 7]]


def test_an_image_at_the_threshold_is_answered() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.45, 0.3, 0.25]])
    table = at_thresholds(coverage_curve(probabilities, np.zeros(2, np.int64)))
    assert table[["confidence", "n"]].to_numpy().tolist() == [[0, 2], [0.5, 1]]
