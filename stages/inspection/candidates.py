"""Pairs of similar hashes, found without comparing all pairs."""

import numpy as np

from common.arrays import Array

TABLES = 32
BITS_APART = 12  # of 64, at most
NEIGHBOURS = 30  # with which a hash is compared per table
ENOUGH = 100  # similar images, after which no more are looked for; in CIFAR-10, none has 70


def candidates(hashes: Array) -> tuple[Array, Array]:
    """Return the pairs of images of which a hash of one is similar to the first hash of the other.

    Locality-sensitive hashing by bit sampling (Indyk and Motwani 1998): in each of 32 tables, the
    hashes that agree in a random choice of bits are compared. With the 13 bits that 60,000 images
    take, a pair that is 8 bits apart is found with a probability of 99.3 %, one that is 12 bits
    apart with 80 %. Time and memory stay in proportion to N, also where most images are alike:
    there, some pairs are left out, and each image is in ``ENOUGH`` at least.

    Args:
        hashes: uint64 (N, K).

    Returns:
        positions in ``hashes``, int64 (M, 2), the smaller one first, ascending; and whether an
        image is in so many pairs that others may be left out, bool (N,).
    """
    count = len(hashes)
    pairs, partners = np.empty(0, np.int64), np.zeros(count, np.int64)
    generator = np.random.default_rng(0)
    for mask in masks(max(8, round(np.log2(max(1, count))) - 3)):
        order = np.argsort(hashes[:, 0] & mask, kind="stable")
        offset = generator.integers(count, size=count)
        for column in hashes.T:
            seeking = np.flatnonzero(partners < ENOUGH)
            if len(seeking) == 0:
                break
            seeking = seeking[np.argsort(column[seeking] & mask)]
            first, second = look_up(hashes[order, 0], column[seeking], mask, offset[seeking])
            first, second = order[first], seeking[second]
            smaller, larger = np.minimum(first, second), np.maximum(first, second)
            pairs = np.union1d(pairs, (smaller * count + larger)[smaller < larger])
            partners = np.bincount(np.concatenate(np.divmod(pairs, count)), minlength=count)
    return np.stack(np.divmod(pairs, max(1, count)), axis=1), partners >= ENOUGH


def masks(bits: int) -> list[np.uint64]:
    """Return a mask of so many random bits for each table."""
    generator = np.random.default_rng(0)
    chosen = [generator.permutation(64)[:bits].astype(np.uint64) for _ in range(TABLES)]
    return [np.bitwise_or.reduce(np.uint64(1) << each) for each in chosen]


def look_up(table: Array, hashes: Array, mask: np.uint64, offset: Array) -> tuple[Array, Array]:
    """Return the positions in ``table`` and in ``hashes`` of similar hashes that agree in ``mask``.

    Each hash is compared with up to 30 that agree.

    Args:
        table: ascending under the mask.
        hashes: ascending under the mask as well, since that halves the time.
        mask: the bits that must agree.
        offset: for each hash, with which of those that agree the comparison begins, modulo their
            number: with other ones in each table.
    """
    masked = table & mask
    first, end = (np.searchsorted(masked, hashes & mask, side) for side in ("left", "right"))
    size = end - first
    start = offset % np.maximum(size, 1)
    rows = np.arange(len(hashes))
    positions, found = [], []
    for step in range(NEIGHBOURS):
        rows = rows[step < size[rows]]
        place = first[rows] + (start[rows] + step) % size[rows]
        similar = np.bitwise_count(table[place] ^ hashes[rows]) <= BITS_APART
        positions.append(place[similar])
        found.append(rows[similar])
    return np.concatenate(positions), np.concatenate(found)
