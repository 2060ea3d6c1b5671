"""The arithmetic of evaluate, against published tables, hand-computed cases and scikit-learn."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, classification_report, log_loss

import evaluate
from common.arrays import Array


def made(classes: int, n: int = 1000, seed: int = 0) -> tuple[Array, Array, Array]:
    """Probabilities, labels and the matrix of counts of a model that is right now and then."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, n - classes)])
    logits = random.normal(size=(n, classes))
    logits[np.arange(n), labels] += 1
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, probabilities.argmax(axis=1)), 1)
    return probabilities, labels, matrix


def names(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998), table I.
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.00, 16.11),
        (1, 29, 0.61, 17.18),
        # The limits in closed form: z = 1.959964.
        (10, 10, 100 * 10 / (10 + 1.959964**2), 100),
    ],
)
def test_wilson_against_published_values(correct: int, total: int, low: float, high: float) -> None:
    assert evaluate.wilson(correct, total) == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize("classes", [2, 4, 10, 100])
def test_metrics_against_scikit_learn(classes: int) -> None:
    probabilities, labels, matrix = made(classes)
    predicted = probabilities.argmax(axis=1)

    metrics = evaluate.measure(
        probabilities, labels, matrix, evaluate.calibrate(probabilities, labels)
    )

    assert metrics["n"] == 1000
    assert metrics["accuracy"] == pytest.approx(100 * accuracy_score(labels, predicted), abs=0.005)
    assert metrics["mean_class"] == pytest.approx(
        100 * balanced_accuracy_score(labels, predicted), abs=0.005
    )
    assert metrics["loss"] == pytest.approx(
        log_loss(labels, probabilities, labels=range(classes)), abs=5e-5
    )
    assert metrics["ci_low"] < metrics["accuracy"] < metrics["ci_high"]
    if classes < 4:
        assert "top_3" not in metrics
    else:
        ranks = (probabilities >= probabilities[np.arange(1000), labels][:, None]).sum(axis=1)
        assert metrics["top_3"] == pytest.approx(100 * (ranks <= 3).mean(), abs=0.005)


def test_metrics_are_plain_numbers_even_when_sure_and_wrong() -> None:
    probabilities = np.array([[1, 0], [1, 0]], np.float32)
    labels, matrix = np.array([0, 1]), np.array([[1, 0], [1, 0]])

    metrics = evaluate.measure(
        probabilities, labels, matrix, evaluate.calibrate(probabilities, labels)
    )

    assert all(type(value) in (int, float) and math.isfinite(value) for value in metrics.values())
    assert metrics["ece"] == 50


def test_classes_against_scikit_learn() -> None:
    probabilities, labels, matrix = made(10)
    table = evaluate.measure_classes(probabilities, labels, matrix, names(10))

    report = classification_report(
        labels, probabilities.argmax(axis=1), target_names=names(10), output_dict=True
    )

    for row in table.to_dict("records"):
        expected = report[row["class"]]
        for ours, theirs in [
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("n", "support"),
        ]:
            assert row[ours] == pytest.approx(expected[theirs], abs=5e-5)
        assert row["percent"] == pytest.approx(100 * row["correct"] / row["n"], abs=0.051)
        interval = binomtest(row["correct"], row["n"]).proportion_ci(method="wilson")
        assert row["percent_low"] == pytest.approx(100 * interval.low, abs=0.051)
        assert row["percent_high"] == pytest.approx(100 * interval.high, abs=0.051)


def test_most_mistaken_for() -> None:
    # cat: 1 right, 2 for dog, 1 for cow; dog: all right; cow: never right, one mistake of each kind.
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 1, 1, 2, 1, 1, 1, 0])
    matrix = np.array([[1, 2, 1], [0, 2, 0], [1, 1, 0]])

    table = evaluate.measure_classes(np.eye(3)[predicted], labels, matrix, ["cat", "dog", "cow"])

    assert list(table["most_mistaken_for"]) == ["dog", "", "cat"]
    assert list(table["correct"]) == [1, 2, 0]


def test_calibration_by_hand() -> None:
    # Bins are a fifteenth wide: 0.62 alone in (0.600, 0.667]; 0.70 and 0.72 in (0.667, 0.733]; 1.0 in the last.
    confidence = np.array([0.62, 0.70, 0.72, 1.0])
    labels = np.array([1, 0, 1, 0])  # wrong, right, wrong, right
    probabilities = np.stack([confidence, 1 - confidence], axis=1)

    bins = evaluate.calibrate(probabilities, labels)

    assert list(bins["n"]) == [0] * 9 + [1, 2] + [0] * 3 + [1]
    assert list(bins["accuracy"][bins["n"] > 0]) == [0, 0.5, 1]
    assert list(bins["confidence"][bins["n"] > 0]) == pytest.approx([0.62, 0.71, 1])
    metrics = evaluate.measure(probabilities, labels, np.array([[2, 0], [2, 0]]), bins)
    assert metrics["ece"] == pytest.approx(100 * (1 * 0.62 + 2 * 0.21 + 1 * 0) / 4)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    probabilities = np.array([[0.6, 0.4]])
    bins = evaluate.calibrate(probabilities, np.array([0]))
    assert bins["n"].to_numpy().argmax() == 8  # (0.533, 0.600]


def test_table_of_metrics_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from dvc.compare import show_metrics

    metrics = {
        "accuracy": 99.99,
        "ci_low": 99.99,
        "ci_high": 99.99,
        "mean_class": 99.99,
        "ece": 99.99,
        "top_3": 99.99,
    }
    every = metrics | {"loss": 12.3456, "n": 100000}
    probabilities, labels, matrix = made(10)
    assert (
        evaluate.measure(
            probabilities, labels, matrix, evaluate.calibrate(probabilities, labels)
        ).keys()
        == every.keys()
    )

    show_metrics(
        {"workspace": {"data": {"reports/metrics.json": {"data": every}}}},
        precision=5,
        round_digits=True,
    )

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "12.3456" in lines[1]
    assert max(map(len, lines)) <= 100
