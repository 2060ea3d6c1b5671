"""The numbers: per image, per class, per bin of confidence, and overall. Percentages are 0 to 100.

With N test images and C classes, ``probabilities`` is float32 (N, C), ``labels`` int64 (N,), and
``matrix`` int64 (C, C): counts, one row per actual class, one column per predicted class.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from common.arrays import Array
from evaluation.coverage import at_thresholds, coverage_curve
from evaluation.intervals import wilson

BINS = (
    15  # of confidence; as many as in "On Calibration of Modern Neural Networks", arXiv 1706.04599
)


@dataclass(frozen=True)
class Measurements:
    """Everything that is reported about a classifier on the test images."""

    predictions: pd.DataFrame  # one row per image: file, actual, predicted, confidence, ...
    matrix: Array
    per_class: pd.DataFrame  # one row per class, in label order
    bins: pd.DataFrame
    curve: pd.DataFrame  # accuracy of the images above each confidence
    thresholds: pd.DataFrame  # a few rows of it, with intervals
    headline: dict[str, float]  # metrics.json
    top_3: float | None  # percent; None with three classes or fewer


def measure(
    probabilities: Array,
    labels: Array,
    classes: list[str],
    files: list[str],
    validation: dict[str, float],
) -> Measurements:
    """Measure predictions.

    Args:
        probabilities: of each class for each image.
        labels: the actual classes.
        classes: their names.
        files: the names of the images.
        validation: further headline numbers.
    """
    every = range(len(classes))
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), labels=every)
    bins, curve = calibrate(probabilities, labels), coverage_curve(probabilities, labels)
    top_3 = top_k_accuracy_score(labels, probabilities, k=3, labels=every) if every[3:] else None
    return Measurements(
        predictions=tabulate_predictions(probabilities, labels, classes, files),
        matrix=matrix,
        per_class=measure_classes(probabilities, labels, matrix, classes),
        bins=bins,
        curve=curve,
        thresholds=at_thresholds(curve),
        headline=measure_overall(probabilities, labels, matrix, bins) | validation,
        top_3=None if top_3 is None else round(100 * float(top_3), 2),
    )


def tabulate_predictions(
    probabilities: Array, labels: Array, classes: list[str], files: list[str]
) -> pd.DataFrame:
    """Return one row per image; probabilities are rounded to four decimals."""
    names = np.array(classes, object)
    return pd.DataFrame(
        {
            "file": files,
            "actual": names[labels],
            "predicted": names[probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1).astype(np.float64).round(4),
            "actual_probability": probabilities[np.arange(len(labels)), labels]
            .astype(np.float64)
            .round(4),
        }
    )


def measure_classes(
    probabilities: Array, labels: Array, matrix: Array, classes: list[str]
) -> pd.DataFrame:
    """Return one row per class.

    ``percent`` is the accuracy on the images of the class, with its 95 % interval, which must lie
    above ``chance`` to be better. Chance is the share of all predictions that are this class: the
    accuracy if they fell on images at random.
    """
    correct, totals, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    counts = zip(correct.tolist(), totals.tolist(), strict=True)
    low, high = np.array([wilson(right, total) for right, total in counts]).T
    chance = 100 * predicted / predicted.sum()
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=range(len(classes)), zero_division=0
    )
    mistakes = matrix - np.diag(correct)
    mistaken_for = np.array(classes, object)[mistakes.argmax(axis=1)]
    return pd.DataFrame(
        {
            "class": classes,
            "n": totals,
            "predicted": predicted,
            "correct": correct,
            "percent": (100 * correct / totals).round(1),
            "percent_low": low.round(1),
            "percent_high": high.round(1),
            "chance": chance.round(1),
            "better_than_chance": low > chance,
            "precision": precision.round(4),
            "recall": recall.round(4),
            "f1": f1.round(4),
            "most_mistaken_for": np.where(mistakes.any(axis=1), mistaken_for, ""),
        }
    )


def calibrate(probabilities: Array, labels: Array) -> pd.DataFrame:
    """Return one row per bin of confidence, low < confidence <= high.

    ``n`` is the number of images in the bin; their mean confidence and their accuracy are 0 to 1.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    number = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(number, minlength=BINS)
    sums = [
        np.bincount(number, weights, minlength=BINS)
        for weights in (confidence, probabilities.argmax(axis=1) == labels)
    ]
    edges = np.linspace(0, 1, BINS + 1)
    means = [total / counts.clip(1) for total in sums]
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "n": counts,
            "confidence": means[0],
            "accuracy": means[1],
        }
    )


def measure_overall(
    probabilities: Array, labels: Array, matrix: Array, bins: pd.DataFrame
) -> dict[str, float]:
    """Return the headline numbers, which the docstring of evaluate.py explains."""
    correct, total = int(matrix.trace()), int(matrix.sum())
    low, high = wilson(correct, total)
    gaps = (bins["n"] * (bins["confidence"] - bins["accuracy"]).abs()).sum() / total
    return {
        "accuracy": round(100 * correct / total, 2),
        "ci_low": round(low, 2),
        "ci_high": round(high, 2),
        "macro": round(100 * float((matrix.diagonal() / matrix.sum(axis=1)).mean()), 2),
        "ece": round(100 * float(gaps), 2),
        "loss": round(float(log_loss(labels, probabilities, labels=range(len(matrix)))), 4),
    }


def confused_pairs(matrix: Array, classes: list[str], count: int) -> pd.DataFrame:
    """Return the ``count`` pairs of classes that were confused most often, most often first."""
    mistakes = matrix - np.diag(matrix.diagonal())
    order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
    actual, predicted = np.unravel_index(order[mistakes.ravel()[order] > 0], matrix.shape)
    names = np.array(classes, object)
    return pd.DataFrame(
        {
            "actual": names[actual],
            "predicted": names[predicted],
            "n": matrix[actual, predicted],
            "percent": 100 * matrix[actual, predicted] / matrix.sum(axis=1)[actual],
        }
    )


def surest_mistakes(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the ``count`` wrong predictions of highest confidence; the index is the images'."""
    wrong = predictions[predictions["actual"] != predictions["predicted"]]
    return wrong.sort_values("confidence", ascending=False, kind="stable").head(count)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table whose columns have names."""
    return cast("list[dict[str, Any]]", table.to_dict("records"))
