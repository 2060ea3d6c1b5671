"""How far two images are apart, and how near is too near for chance."""

from functools import cache

import numpy as np

from common.arrays import Array
from inspection.images import MARGIN, THUMBNAIL

CELL = 3  # pixels of a thumbnail; noise and blur average out within a cell
WINDOW, STRIDE = 4, 2  # cells
STABILIZER = 0.01  # of an image's variance, below which a window counts as flat
SHIFTS = [(down, right) for down in (0, -1, 1) for right in (0, -1, 1)]
ROWS_AT_A_TIME = 64


def windows(small: Array, shift: tuple[int, int] = (0, 0)) -> Array:
    """Cut thumbnails, (N, 3, 32, 32), into overlapping windows, float32 (N, 16, 48).

    A crop of 30 x 30 pixels, ``shift`` pixels off the centre, is averaged over cells of 3 x 3
    pixels and scaled to a standard deviation of 1, so that contrast does not count. Each window
    of 4 x 4 cells has its mean subtracted per channel, so that brightness does not count.
    """
    down, right = map(cell_weights, shift)
    cells = down @ small @ right.T
    cells -= cells.mean(axis=(2, 3), keepdims=True)
    cells /= np.sqrt(np.square(cells).mean(axis=(1, 2, 3), keepdims=True)) + 1  # 1: noise
    views = np.lib.stride_tricks.sliding_window_view(cells, (WINDOW, WINDOW), axis=(2, 3))
    views = views[:, :, ::STRIDE, ::STRIDE].transpose(0, 2, 3, 1, 4, 5)
    flat = views.reshape(len(small), -1, 3, WINDOW * WINDOW)
    flat -= flat.mean(axis=-1, keepdims=True)
    result: Array = flat.reshape(len(small), -1, 3 * WINDOW * WINDOW)
    return result


@cache
def cell_weights(shift: int) -> Array:
    """Return the share of each pixel of a thumbnail's side in each cell, float32 (10, 32)."""
    cell = (np.arange(THUMBNAIL) - MARGIN - shift) // CELL
    cells = np.arange((THUMBNAIL - 2 * MARGIN) // CELL)
    weights: Array = (cell == cells[:, None]).astype(np.float32) / CELL
    return weights


def distance(covariance: Array, variance: Array, other: Array) -> Array:
    """Return 1 - the structural similarity of two images: 0 where they are equal, at most 2.

    Contrast and structure of SSIM (Wang et al. 2004, IEEE TIP 13:600), the mean over windows, so
    that equal frames or one strong edge do not make two images alike. The arguments are of
    windows, which the last axis counts.
    """
    similarity = (2 * covariance + STABILIZER) / (variance + other + STABILIZER)
    result: Array = (1 - similarity.mean(axis=-1)).clip(0)
    return result


def distances(small: Array, first: Array, second: Array) -> Array:
    """Return the distance of each pair of thumbnails, the smallest over shifts by one pixel.

    Args:
        small: thumbnails, (N, 3, 32, 32).
        first: positions of the first images of the pairs, (M,). These are shifted.
        second: positions of the second images, (M,).
    """
    fixed = windows(small)
    variances = np.square(fixed).mean(axis=-1)
    movable, row = np.unique(first, return_inverse=True)
    result = np.full(len(first), np.inf, np.float32)
    for shift in SHIFTS:
        moved = windows(small[movable], shift)
        variance = np.square(moved).mean(axis=-1)
        covariance = np.einsum("mwk,mwk->mw", moved[row], fixed[second]) / fixed.shape[-1]
        result = np.minimum(result, distance(covariance, variance[row], variances[second]))
    return result


def all_distances(small: Array) -> Array:
    """Return the distances of all pairs of thumbnails, (N * (N - 1) / 2,)."""
    fixed = windows(small).transpose(1, 2, 0)
    variances = np.square(fixed).mean(axis=1).T
    moved = [windows(small, shift).transpose(1, 0, 2) for shift in SHIFTS]
    pairs = []
    for start in range(0, len(small), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        nearest: Array = np.array(np.inf)
        for each in moved:
            variance = np.square(each[:, rows]).mean(axis=-1).T[:, None]
            covariance = (each[:, rows] @ fixed[..., start:]).transpose(1, 2, 0) / fixed.shape[1]
            nearest = np.minimum(nearest, distance(covariance, variance, variances[start:]))
        pairs.append(nearest[np.triu_indices(len(nearest), 1, nearest.shape[1])])
    return np.concatenate(pairs)
