"""The numbers: per image, per class, per bin of confidence, and overall. Percentages are 0 to 100.

With N test images and C classes, ``probabilities`` is float32 (N, C), ``labels`` int64 (N,), and
``matrix`` int64 (C, C): counts, one row per actual class, one column per predicted class.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from common.arrays import Array
from evaluation.coverage import at_thresholds, coverage_curve
from evaluation.intervals import wilson

BINS = 15  # of confidence; as many as in arXiv:1706.04599
SMALLEST = float(np.finfo(np.float32).eps)  # probability in the loss, which stays finite with it


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
    matrix = count_confusions(labels, probabilities.argmax(axis=1), len(classes))
    bins, curve = calibrate(probabilities, labels), coverage_curve(probabilities, labels)
    of_the_truth = probability_of(probabilities, labels)
    among_three = (probabilities > of_the_truth[:, None]).sum(axis=1) < 3
    top_3 = float(among_three.mean()) if len(classes) > 3 else None
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


def count_confusions(labels: Array, predicted: Array, classes: int) -> Array:
    """Return the number of images per actual class (row) and predicted class (column)."""
    pairs = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return pairs.reshape(classes, classes)


def probability_of(probabilities: Array, labels: Array) -> Array:
    """Return the probability of each image's actual class, float64 (N,)."""
    return probabilities[np.arange(len(labels)), labels].astype(np.float64)


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
            "actual_probability": probability_of(probabilities, labels).round(4),
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
    precision, recall = correct / predicted.clip(1), correct / totals
    f1 = 2 * correct / (predicted + totals)
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
    losses = -np.log(probability_of(probabilities, labels).clip(SMALLEST))
    gaps = (bins["n"] * (bins["confidence"] - bins["accuracy"]).abs()).sum() / total
    return {
        "accuracy": round(100 * correct / total, 2),
        "ci_low": round(low, 2),
        "ci_high": round(high, 2),
        "macro": round(100 * float((matrix.diagonal() / matrix.sum(axis=1)).mean()), 2),
        "ece": round(100 * float(gaps), 2),
        "loss": round(float(losses.mean()), 4),
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
