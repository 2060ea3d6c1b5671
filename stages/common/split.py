"""Which images are held out, for testing or for validation."""

import numpy as np

from common.arrays import Array
from common.errors import UserError


def split_by_class(
    labels: Array, classes: list[str], fraction: float, seed: int
) -> tuple[Array, Array]:
    """Indices of the pictures that stay and of those set apart, ascending: ``fraction`` of each class, at least one.

    Raises:
        UserError: a class has a single picture.
    """
    chosen = np.zeros(len(labels), bool)
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(
                f"class {name} has {len(members)} picture; it needs 2, so that one can be set apart"
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen[np.random.default_rng((seed, label)).permutation(members)[:count]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
