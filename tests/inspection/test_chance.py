"""The distance that tells duplicates from chance, on points whose distances are known."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.datasets import load_digits

from inspection.chance import LARGEST_DISTANCE, chance_distance, duplicate_distance
from inspection.images import thumbnails
from inspection.similarity import all_distances


@pytest.mark.parametrize("dimension", [2, 4, 8])
def test_chance_puts_about_one_pair_below_it(dimension: int) -> None:
    """Random points in a cube have no duplicates: below the distance is 1 pair on average."""
    counts = []
    for seed in range(20):
        points = np.random.default_rng(seed).random((3000, dimension)) / 100
        near = chance_distance(pdist(points[:800]), len(points), expected=1)
        assert near < LARGEST_DISTANCE
        counts.append((pdist(points) < near).sum())
    assert 0.2 < np.mean(counts) < 3


def test_fewer_expected_pairs_are_nearer() -> None:
    points = np.random.default_rng(0).random((1000, 3)) / 100
    distances = pdist(points[:800])
    near, nearer = (chance_distance(distances, 1000, expected) for expected in (1, 0.01))
    assert nearer == pytest.approx(near / 100 ** (1 / 3), rel=0.15)


def test_duplicates_in_the_sample_change_little() -> None:
    generator = np.random.default_rng(0)
    points = generator.random((500, 6)) / 100
    copies = points[:100] + generator.normal(size=(100, 6)) * 1e-6
    clean = chance_distance(pdist(points), 500, expected=1)
    planted = chance_distance(pdist(np.concatenate([points, copies])), 500, expected=1)
    assert planted == pytest.approx(clean, rel=0.2)


def test_too_few_images_say_nothing_about_chance() -> None:
    assert chance_distance(np.ones(99), 14, expected=1) == 0


@pytest.mark.parametrize("count", [2, 5, 14, 40])
def test_the_least_distance_has_few_pairs_of_digits(count: int) -> None:
    """The most alike of all images: their distances, without an estimate, give no false alarm."""
    grey = (load_digits().images[:, None] * 255 / 16).repeat(3, axis=1)
    digits = thumbnails(grey.astype(np.uint8))
    generator = np.random.default_rng(count)
    wrong = 0
    for _ in range(100):
        chosen = all_distances(digits[generator.permutation(len(digits))[:count]])
        wrong += (chosen < duplicate_distance(np.empty(0), count, expected=1)).sum()
    assert wrong <= 8


def test_what_the_images_tell_counts_where_it_is_more() -> None:
    points = np.random.default_rng(0).random((800, 8)) / 2
    told = chance_distance(pdist(points), len(points), expected=1)
    assert duplicate_distance(pdist(points), len(points), expected=1) == told
    assert duplicate_distance(np.zeros(1000), 46, expected=1) > 0.01  # copies pass for chance


@pytest.mark.parametrize("distances", [np.zeros(1000), np.ones(1000), np.full(1000, 0.01)])
def test_equal_distances_have_no_pair_below_it(
    distances: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    assert not (distances < chance_distance(distances, 46, expected=1)).any()
