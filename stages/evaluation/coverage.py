"""Accuracy against the share of images that are answered: the risk-coverage curve.

Images whose confidence is below a threshold stay unanswered. The curve is that of Geifman and
El-Yaniv, "Selective Classification for Deep Neural Networks", arXiv:1705.08500, with accuracy for
risk.
"""

import numpy as np
import pandas as pd

from common.arrays import Array
from evaluation.intervals import wilson

THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # of confidence


def coverage_curve(probabilities: Array, labels: Array) -> pd.DataFrame:
    """Return one row per confidence that an image has, the highest first.

    ``n`` images have that confidence or more, ``share`` percent of all; ``correct`` of these,
    ``percent``, are right.

    Args:
        probabilities: of each class for each image, float32 (N, classes).
        labels: the actual classes, int64 (N,).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    last = np.flatnonzero(np.diff(ordered, append=-1.0))  # the last of those that are equal
    answered, correct = last + 1, np.cumsum(right[order])[last]
    return pd.DataFrame(
        {
            "confidence": ordered[last],
            "n": answered,
            "share": 100 * answered / len(labels),
            "correct": correct,
            "percent": 100 * correct / answered,
        }
    )


def at_thresholds(curve: pd.DataFrame) -> pd.DataFrame:
    """Return a row per threshold that leaves some images unanswered, but not all; the first is 0.

    The columns are those of the curve, with the threshold as ``confidence``, and the 95 % interval
    of ``percent``.
    """
    rows = []
    for threshold in THRESHOLDS:
        answered = curve[curve["confidence"] >= threshold]
        if len(answered) and (threshold == 0 or len(answered) < len(curve)):
            row = answered.iloc[-1]
            low, high = wilson(int(row["correct"]), int(row["n"]))
            rows.append({**row, "confidence": threshold, "percent_low": low, "percent_high": high})
    table = pd.DataFrame(rows).astype({"n": int, "correct": int})
    return table.drop_duplicates("n", ignore_index=True)
