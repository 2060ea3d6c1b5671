"""The distance below which two images count as near duplicates."""

import math

import numpy as np

from common.arrays import Array

LARGEST_DISTANCE = 0.1  # from which on, on CIFAR-10, images of the same kind look like duplicates
LEAST_PAIRS = 100  # of 15 images; fewer tell nothing about chance
# Handwritten digits look more alike than other images do: of the pairs of scikit-learn's, 0.01 %
# are nearer than 0.03, and the number of nearer ones falls with the power 4.5 of the distance.
ALIKE_SHARE, ALIKE_DISTANCE, ALIKE_DIMENSION = 1e-4, 0.03, 4.5
ALIKE_EXPECTED = 0.02  # pairs of digits that may be wrong


def duplicate_distance(distances: Array, count: int, expected: float) -> float:
    """Return the distance below which two images are duplicates: no chance, as far as one can tell.

    It is ``chance_distance``, but at least that below which not even digits would have a pair by
    chance. So few images, from which nothing can be estimated, have near duplicates as well, and
    so have images of which half are copies, which would pass for chance.

    Args:
        distances: of all pairs in a sample of the images.
        count: number of images, 2 or more.
        expected: number of pairs that may be wrong.
    """
    digits = ALIKE_SHARE * count * (count - 1) / 2  # expected pairs nearer than ALIKE_DISTANCE
    least = ALIKE_DISTANCE * math.pow(ALIKE_EXPECTED / digits, 1 / ALIKE_DIMENSION)
    return min(max(least, chance_distance(distances, count, expected)), LARGEST_DISTANCE)


def chance_distance(distances: Array, count: int, expected: float) -> float:
    """Return the distance below which chance puts ``expected`` pairs of ``count`` different images.

    The number of pairs nearer than d grows like d**k, where k is the dimension of the data
    (Grassberger and Procaccia 1983, Physica D 9:189): 3 for digits, 9 for CIFAR-10. It is
    extrapolated from the nearest 1 % and 0.1 % of a sample's pairs to so few of all pairs; nearer
    pairs are no chance (a contrario detection: Desolneux et al. 2000, IJCV 40:7).

    Args:
        distances: of all pairs in a sample of the images. Duplicates are left out first.
        count: number of images, of which the sample is a part.
        expected: number of pairs that may be wrong.

    Returns:
        at most 0.1; 0 if there are too few pairs.
    """
    distances = np.sort(distances)
    if len(distances) < LEAST_PAIRS:
        return 0.0
    pairs = count * (count - 1) / 2
    certain = min(extrapolate(distances, 0.01, 1 / pairs), LARGEST_DISTANCE)
    different = distances[distances > certain]
    if len(different) < LEAST_PAIRS:
        return 0.0
    return min(extrapolate(different, 0.001, expected / pairs), LARGEST_DISTANCE)


def extrapolate(distances: Array, share: float, wanted: float) -> float:
    """Return the distance below which the share ``wanted`` of pairs is.

    The power law goes through the quantiles ``share`` and ten times ``share`` of ``distances``,
    which are ascending, or through larger ones where those are of fewer than ten pairs.
    """
    low = max(share, 10 / len(distances))
    high = min(10 * low, 0.5)
    near, far = np.quantile(distances, [low, high]).clip(1e-6)
    dimension = np.log(high / low) / max(np.log(far / near), 1e-6)
    return float(near * (wanted / low) ** (1 / dimension))
