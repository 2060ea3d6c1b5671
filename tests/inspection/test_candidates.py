"""Candidates are pairs of similar hashes; compared with a comparison of all with all."""

import numpy as np

from inspection.candidates import BITS_APART, ENOUGH, NEIGHBOURS, candidates
from made_up import Pixels


def brute_force(hashes: Pixels) -> dict[tuple[int, int], int]:
    """Return the bits between each pair: of a hash of one from the first hash of the other."""
    found = {}
    for first in range(len(hashes)):
        for second in range(first + 1, len(hashes)):
            one = np.bitwise_count(hashes[first, 0] ^ hashes[second]).min()
            other = np.bitwise_count(hashes[second, 0] ^ hashes[first]).min()
            found[first, second] = int(min(one, other))
    return found


def random_hashes(count: int, columns: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 2**64, (count, columns), np.uint64)


def flip(hashes: Pixels, bits: int, seed: int = 0) -> Pixels:
    """Return the hashes with so many bits changed in each."""
    generator = np.random.default_rng(seed)
    masks = [sum(1 << int(bit) for bit in generator.permutation(64)[:bits]) for _ in hashes]
    return hashes ^ np.array(masks, np.uint64)


def test_the_same_pairs_as_by_comparing_all_with_all() -> None:
    hashes = random_hashes(120, 3)
    for bits in range(12):
        copies = flip(hashes[10 * bits : 10 * bits + 10, 0], bits, seed=bits)
        hashes = np.concatenate([hashes, np.stack([copies] * 3, axis=1)])
    hashes[-20:, 1] = hashes[:20, 0]  # similar in another column
    hashes[-20:, 0] = random_hashes(20, 1, seed=9)[:, 0]
    pairs, crowded = candidates(hashes)
    found = set(map(tuple, pairs.tolist()))
    assert not crowded.any()
    by_force = brute_force(hashes)
    assert all(by_force[pair] <= BITS_APART for pair in found)
    near = {pair for pair, bits in by_force.items() if bits <= 8}
    assert len(near) > 80
    assert near <= found


def test_most_pairs_at_the_limit_are_found_among_many() -> None:
    hashes = random_hashes(20_000, 1)
    copies = flip(hashes[:500, 0], BITS_APART)[:, None]
    found, _ = candidates(np.concatenate([hashes, copies]))
    expected = np.stack([np.arange(500), 20_000 + np.arange(500)], axis=1)
    share = len(set(map(tuple, found.tolist())) & set(map(tuple, expected.tolist()))) / 500
    assert share > 0.85


def test_pairs_are_ascending_and_unique() -> None:
    hashes = np.repeat(random_hashes(50, 5), 3, axis=0)
    pairs, _ = candidates(hashes)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert np.unique(pairs, axis=0).tolist() == pairs.tolist()
    assert len(pairs) == 50 * 3


def test_many_equal_hashes_take_no_quadratic_number_of_pairs() -> None:
    many = 1500
    alike = flip(np.zeros(many, np.uint64), 3)[:, None] * np.ones(5, np.uint64)
    others = random_hashes(500, 5)
    hashes = np.concatenate([alike, others])
    copies = np.concatenate([hashes, flip(others[:, 0], 4)[:, None] * np.ones(5, np.uint64)])
    for each in (np.zeros((many, 1), np.uint64), alike, copies):
        pairs, crowded = candidates(each)
        assert len(pairs) <= (ENOUGH + NEIGHBOURS) * len(each)
        partners = np.bincount(pairs.ravel(), minlength=len(each))
        assert (crowded == (partners >= ENOUGH)).all()
        assert crowded[:many].all()
        assert not crowded[many:].any()
    rest = pairs[pairs[:, 0] >= many]  # these are found as ever
    assert {(many + number, many + 500 + number) for number in range(500)} <= set(map(tuple, rest))


def test_no_images_and_one_image_have_no_pairs() -> None:
    for count in (0, 1):
        pairs, crowded = candidates(random_hashes(count, 5))
        assert pairs.shape == (0, 2)
        assert crowded.tolist() == [False] * count
