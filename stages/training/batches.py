"""Batches: which images, in which order, and how they are read."""

import math

from torch import Tensor


def split_evenly(indices: Tensor, size: int | None) -> tuple[Tensor, ...]:
    """Cut (n,) into the fewest parts of at most ``size``, null for one, that differ by one at most.

    So no batch is left with a single picture, of which batch norm could learn nothing.
    """
    return indices.tensor_split(math.ceil(len(indices) / (size or len(indices))))
