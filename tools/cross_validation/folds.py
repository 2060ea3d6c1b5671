"""Folds: parts of the training set, on each of which a model is tested that did not see it."""

import numpy as np

from common.arrays import Array
from common.errors import UserError
from common.split import mix


def assign_folds(keys: Array, labels: Array, classes: list[str], folds: int, seed: int) -> Array:
    """Return the fold of each image, int64 (N,), 0 to ``folds`` - 1.

    Images with equal keys, which have the same content or belong together, are in the same fold.
    The keys of each class are dealt out to the folds in a random order, so that every fold has
    nearly the same share of each class.

    Raises:
        UserError: There are fewer keys than folds, or all images of a class are in one fold, from
            which no model could learn the class.
    """
    unique, first, group = np.unique(keys, return_index=True, return_inverse=True)
    if len(unique) < folds:
        raise UserError(
            f"{folds} folds of {len(unique)} different images; choose {len(unique)} folds or fewer"
        )
    order = np.lexsort((mix(unique, seed), labels[first]))
    fold_of_group = np.empty(len(unique), np.int64)
    fold_of_group[order] = np.arange(len(unique)) % folds
    assigned: Array = fold_of_group[group]
    for label, name in enumerate(classes):
        if len(np.unique(assigned[labels == label])) < 2:
            raise UserError(
                f"class {name}: all its training images have the same content or the same group; "
                "it needs another one, so that a model that did not see the one can judge it"
            )
    return assigned
