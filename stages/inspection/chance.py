"""The distance below which two images count as near duplicates."""

import numpy as np

from common.arrays import Array

LARGEST_DISTANCE = 0.1  # from which on, on CIFAR-10, images of the same kind look like duplicates
LEAST_PAIRS = 100  # of 15 images; fewer tell nothing about chance


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
