"""Which labels are likely to be wrong, by the probabilities of models that did not see them."""

from typing import NamedTuple

import numpy as np

from common.arrays import Array


class Suspect(NamedTuple):
    """An image whose likeliest class is not its label."""

    position: int  # in the training set
    label: int
    suggested: int
    label_probability: float
    suggested_probability: float


def find_suspects(probabilities: Array, labels: Array) -> list[Suspect]:
    """Return the images whose likeliest class is not their label, the likeliest wrong label first.

    They are sorted by the label's probability minus that of the suggested class (normalized margin:
    Northcutt, Jiang and Chuang 2021, "Confident Learning", JAIR 70:1373).

    Args:
        probabilities: (N, classes), each image's from a model that was not trained on it.
        labels: int64 (N,).
    """
    rows = np.arange(len(labels))
    suggested = probabilities.argmax(axis=1)
    of_label, of_suggested = probabilities[rows, labels], probabilities[rows, suggested]
    margin = of_label - of_suggested
    wrong = np.flatnonzero(suggested != labels)
    return [
        Suspect(
            int(index),
            int(labels[index]),
            int(suggested[index]),
            float(of_label[index]),
            float(of_suggested[index]),
        )
        for index in wrong[np.argsort(margin[wrong], kind="stable")]
    ]
