"""The arithmetic of an evaluation, against published tables, hand-computed cases, scikit-learn."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    classification_report,
    confusion_matrix,
    log_loss,
)

from common.arrays import Array
from evaluation.intervals import wilson
from evaluation.metrics import (
    Measurements,
    calibrate,
    confused_pairs,
    measure,
    surest_mistakes,
)
from evaluation.verdict import verdicts
from made_predictions import class_names, make_measurements, make_predictions


def measure_predictions(probabilities: Array, labels: Array, names: list[str]) -> Measurements:
    return measure(probabilities, labels, names, [str(index) for index in range(len(labels))], {})


def one_hot(counts: list[list[int]]) -> tuple[Array, Array]:
    """Return probabilities and labels with this confusion matrix."""
    matrix = np.array(counts)
    labels, predicted = (
        axis.repeat(matrix.ravel()) for axis in np.indices(matrix.shape).reshape(2, -1)
    )
    return np.eye(len(matrix), dtype=np.float32)[predicted], labels


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # Newcombe, Two-sided confidence intervals for the single proportion, Statistics in
        # Medicine 17 (1998), table I.
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.00, 16.11),
        (1, 29, 0.61, 17.18),
        # The limits in closed form: z = 1.959964.
        (10, 10, 100 * 10 / (10 + 1.959964**2), 100),
    ],
)
def test_wilson_against_published_values(correct: int, total: int, low: float, high: float) -> None:
    assert wilson(correct, total) == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize("classes", [2, 4, 10, 100])
def test_headline_numbers_against_scikit_learn(classes: int) -> None:
    probabilities, labels = make_predictions(classes)
    predicted = probabilities.argmax(axis=1)

    measured = measure_predictions(probabilities, labels, class_names(classes))

    headline = measured.headline
    assert headline["accuracy"] == pytest.approx(100 * accuracy_score(labels, predicted), abs=0.005)
    balanced = balanced_accuracy_score(labels, predicted)
    assert headline["macro"] == pytest.approx(100 * balanced, abs=0.005)
    loss = log_loss(labels, probabilities, labels=range(classes))
    assert headline["loss"] == pytest.approx(loss, abs=5e-5)
    assert headline["ci_low"] < headline["accuracy"] < headline["ci_high"]
    assert (measured.matrix == confusion_matrix(labels, predicted, labels=range(classes))).all()


@pytest.mark.parametrize("classes", [4, 10, 100])
def test_top_3_counts_ranks_up_to_three(classes: int) -> None:
    probabilities, labels = make_predictions(classes)
    ranks = (probabilities >= probabilities[np.arange(1000), labels][:, None]).sum(axis=1)
    top_3 = measure_predictions(probabilities, labels, class_names(classes)).top_3
    assert top_3 == pytest.approx(100 * (ranks <= 3).mean(), abs=0.005)


def test_top_3_of_three_classes_is_not_reported() -> None:
    assert measure_predictions(*make_predictions(3), class_names(3)).top_3 is None


def test_validation_numbers_stand_among_the_headline_numbers() -> None:
    headline = make_measurements(class_names(3), val_acc=56.78).headline
    assert headline["val_acc"] == 56.78
    assert "accuracy" in headline


def test_headline_numbers_are_plain_numbers_even_when_sure_and_wrong() -> None:
    probabilities, labels = np.array([[1, 0], [1, 0]], np.float32), np.array([0, 1])
    headline = measure_predictions(probabilities, labels, ["a", "b"]).headline
    assert all(type(value) is float and math.isfinite(value) for value in headline.values())
    assert headline["ece"] == 50


def test_each_class_against_scikit_learn() -> None:
    probabilities, labels = make_predictions(10)
    predicted = probabilities.argmax(axis=1)
    table = measure_predictions(probabilities, labels, class_names(10)).per_class

    report = classification_report(
        labels, predicted, target_names=class_names(10), output_dict=True
    )

    for label, row in enumerate(table.to_dict("records")):
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
        assert row["predicted"] == (predicted == label).sum()
        assert row["chance"] == pytest.approx(100 * (predicted == label).mean(), abs=0.051)


def test_the_class_that_is_most_mistaken_for() -> None:
    # cat: 1 right, 2 for dog, 1 for cow; dog: all right; cow: never right, one mistake of each.
    counts = [[1, 2, 1], [0, 2, 0], [1, 1, 0]]
    table = measure_predictions(*one_hot(counts), ["cat", "dog", "cow"]).per_class
    assert list(table["most_mistaken_for"]) == ["dog", "", "cat"]
    assert list(table["correct"]) == [1, 2, 0]


def test_pairs_are_those_confused_most_often() -> None:
    matrix = np.array([[50, 3, 0], [20, 70, 10], [0, 3, 1]])
    pairs = confused_pairs(matrix, ["a", "b", "c"], 3)
    assert pairs.to_numpy().tolist() == [
        ["b", "a", 20, 20.0],
        ["b", "c", 10, 10.0],
        ["a", "b", 3, pytest.approx(100 * 3 / 53)],
    ]


def test_pairs_that_were_never_confused_are_left_out() -> None:
    assert len(confused_pairs(np.array([[5, 0], [1, 4]]), ["a", "b"], 15)) == 1
    assert len(confused_pairs(np.eye(2, dtype=np.int64), ["a", "b"], 15)) == 0


def test_the_surest_mistakes_come_first_with_the_images_index() -> None:
    measured = make_measurements(class_names(5), n=300)
    worst = surest_mistakes(measured.predictions, 10)
    wrong = measured.predictions.query("actual != predicted")
    assert list(worst["confidence"]) == sorted(wrong["confidence"], reverse=True)[:10]
    assert list(worst["file"]) == list(measured.predictions["file"].iloc[worst.index])


def test_calibration_by_hand() -> None:
    # Bins are a fifteenth wide: 0.62 alone in (0.600, 0.667]; 0.70 and 0.72 in (0.667, 0.733];
    # 1.0 in the last.
    confidence = np.array([0.62, 0.70, 0.72, 1.0])
    labels = np.array([1, 0, 1, 0])  # wrong, right, wrong, right
    probabilities = np.stack([confidence, 1 - confidence], axis=1)

    measured = measure_predictions(probabilities, labels, ["a", "b"])

    bins = measured.bins
    assert list(bins["n"]) == [0] * 9 + [1, 2] + [0] * 3 + [1]
    assert list(bins["accuracy"][bins["n"] > 0]) == [0, 0.5, 1]
    assert list(bins["confidence"][bins["n"] > 0]) == pytest.approx([0.62, 0.71, 1])
    expected = 100 * (1 * 0.62 + 2 * 0.21 + 1 * 0) / 4
    assert measured.headline["ece"] == pytest.approx(expected)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    bins = calibrate(np.array([[0.6, 0.4]]), np.array([0]))
    assert bins["n"].to_numpy().argmax() == 8  # (0.533, 0.600]


def test_predictions_have_the_probability_of_the_actual_class() -> None:
    probabilities = np.array([[0.7, 0.3], [0.61234567, 0.38765433]], np.float32)
    measured = measure(probabilities, np.array([0, 1]), ["a", "b"], ["x.jpg", "y.jpg"], {})
    assert measured.predictions.to_dict("list") == {
        "file": ["x.jpg", "y.jpg"],
        "actual": ["a", "b"],
        "predicted": ["a", "a"],
        "confidence": [0.7, 0.6123],
        "actual_probability": [0.7, 0.3877],
    }


def test_the_table_of_metrics_fits_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    from dvc.compare import show_metrics

    headline = make_measurements(class_names(10), val_acc=1.0, val_loss=1.0).headline
    widest = dict.fromkeys(headline, 99.99) | {"loss": 12.3456, "val_loss": 12.3456}
    revision = {"data": {"reports/metrics.json": {"data": widest}}}
    show_metrics({"workspace": revision}, precision=5, round_digits=True)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].count("12.3456") == 2
    assert max(map(len, lines)) <= 100


# --- chance


def table_of(counts: list[list[int]]) -> pd.DataFrame:
    names = ["dog", "cat", "cow", "pig"][: len(counts)]
    return measure_predictions(*one_hot(counts), names).per_class


@pytest.mark.parametrize(
    ("counts", "ci_low", "expected"),
    [
        ([[50, 50], [50, 50]], 49.9, "No better than chance: always answering dog gives 50.0 %."),
        ([[50, 50], [50, 50]], 50.0, "No better than chance: always answering dog gives 50.0 %."),
        ([[50, 50], [50, 50]], 50.1, "Better than chance: always answering dog gives 50.0 %."),
        ([[9, 1], [10, 180]], 90.0, "No better than chance: always answering cat gives 95.0 %."),
    ],
)
def test_the_accuracy_is_held_against_the_commonest_answer(
    counts: list[list[int]], ci_low: float, expected: str
) -> None:
    assert verdicts({"ci_low": ci_low}, table_of(counts))[0] == expected


def test_a_class_is_held_against_how_often_it_is_predicted() -> None:
    # Of 400 predictions 210 are dog, and 55 of the 100 dogs: as many as of the other images.
    # 70 are cat, and 60 of the 100 cats. No prediction is pig.
    counts = [[55, 5, 40, 0], [35, 60, 5, 0], [60, 0, 40, 0], [60, 5, 35, 0]]
    table = table_of(counts)
    assert list(table["chance"]) == [52.5, 17.5, 30.0, 0.0]
    assert list(table["better_than_chance"]) == [False, True, True, False]
    assert verdicts({"ci_low": 20}, table)[1:] == [
        "Never predicted: pig.",
        "No better than chance on the images of: dog.",
    ]


def test_shuffled_predictions_are_no_better_than_chance_in_95_of_100_classes_or_more() -> None:
    random = np.random.default_rng(0)
    labels = random.permutation(np.arange(20_000) % 100)
    predicted = random.choice(100, 20_000, p=np.arange(1, 101) / 5050)
    table = measure_predictions(
        np.eye(100, dtype=np.float32)[predicted], labels, class_names(100)
    ).per_class
    assert table["better_than_chance"].sum() <= 5


def test_a_sentence_names_ten_classes_and_counts_the_others() -> None:
    probabilities = np.eye(15, dtype=np.float32)[np.zeros(150, np.int64)]
    names = [f"\x1b[31m{number}\n" for number in range(15)]
    table = measure_predictions(probabilities, np.arange(150) % 15, names).per_class
    (never,) = [text for text in verdicts({"ci_low": 5}, table) if text.startswith("Never")]
    assert never.endswith(r", \x1b[31m10\n and 4 more.")
    assert never.isprintable()
