"""Which images are held out: the share, the stability when images are added, and groups."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from common.split import hold_out, mix
from helpers import refused

Array = np.ndarray[Any, Any]


def random_keys(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


def names(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def split_mix(state: int) -> int:
    """The next output of the published generator, step by step in integers without end."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


def test_the_hash_is_that_of_the_published_generator() -> None:
    """Of state 1234567 it gives 6457827717110365317, then 3203168211198807973."""
    assert split_mix(1234567) == 6457827717110365317
    keys = np.array([1234567, 0, 1, 2**64 - 1, 2**63], np.uint64)
    assert mix(keys, 0).tolist() == [split_mix(int(key)) for key in keys]
    assert mix(keys[:1], 1)[0] == 3203168211198807973


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**64 + 3])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_the_share_is_right_within_what_chance_allows(fraction: float, seed: int) -> None:
    labels = np.repeat(np.arange(4), 5000)
    kept, held = hold_out(random_keys(20_000), labels, names(4), fraction, seed)
    for label in range(4):
        low, high = binom.interval(0.99999, 5000, fraction)
        assert low <= (labels[held] == label).sum() <= high
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(20_000))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()


def test_the_split_follows_from_the_seed_and_the_keys_alone() -> None:
    keys, labels = random_keys(1000), np.arange(1000) % 3
    first = hold_out(keys, labels, names(3), 0.3, 5)[1]
    order = np.random.default_rng(1).permutation(1000)
    again = hold_out(keys[order], labels[order], names(3), 0.3, 5)[1]
    assert set(keys[first]) == set(keys[order][again])
    other = hold_out(keys, labels, names(3), 0.3, 6)[1]
    assert len(set(first) & set(other)) / len(first) == pytest.approx(0.3, abs=0.1)


def test_a_larger_fraction_holds_out_the_same_images_and_more() -> None:
    keys, labels = random_keys(1000), np.arange(1000) % 2
    less, more = (set(hold_out(keys, labels, names(2), share, 0)[1]) for share in (0.1, 0.2))
    assert less < more


def test_an_added_image_moves_no_other() -> None:
    """Each of 700 images is added to a class in turn."""
    keys, labels = random_keys(2000), np.repeat([0, 1], 1000)
    before = np.zeros(2000, bool)
    before[hold_out(keys, labels, names(2), 0.2, 0)[1]] = True
    for count in range(1300, 2000, 7):
        after = np.zeros(count, bool)
        after[hold_out(keys[:count], labels[:count], names(2), 0.2, 0)[1]] = True
        assert (after == before[:count]).all()


def test_a_class_added_moves_no_image_of_the_others() -> None:
    keys = random_keys(900)
    two, three = np.arange(600) % 2, np.concatenate([np.arange(600) % 2 * 2, np.full(300, 1)])
    before = hold_out(keys[:600], two, ["a", "c"], 0.2, 0)[1]
    after = hold_out(keys, three, ["a", "b", "c"], 0.2, 0)[1]
    assert after[after < 600].tolist() == before.tolist()


def test_equal_keys_are_never_divided() -> None:
    keys = np.repeat(random_keys(300), np.arange(300) % 5 + 1)
    labels = np.random.default_rng(2).integers(0, 4, len(keys))
    kept, held = hold_out(keys, labels, names(4), 0.3, 0)
    assert not set(keys[kept]) & set(keys[held])
    assert len(set(keys[held])) == pytest.approx(90, abs=30)


@pytest.mark.parametrize("fraction", [1e-300, 1e-9, 0.5, 1 - 1e-9])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_each_class_keeps_an_image_on_each_side(size: int, fraction: float) -> None:
    labels = np.repeat(np.arange(20), size)
    for seed in range(20):
        keys = random_keys(len(labels), seed)
        for side in hold_out(keys, labels, names(20), fraction, seed):
            assert set(labels[side]) == set(range(20))


def test_the_key_with_the_nearest_hash_moves() -> None:
    keys, labels = random_keys(8), np.repeat([0, 1], 4)
    hashes = mix(keys, 0)
    none, everything = (hold_out(keys, labels, names(2), share, 0) for share in (1e-9, 1 - 1e-9))
    assert none[1].tolist() == [hashes[:4].argmin(), 4 + hashes[4:].argmin()]
    assert everything[0].tolist() == [hashes[:4].argmax(), 4 + hashes[4:].argmax()]


def test_groups_across_classes_leave_each_class_on_both_sides() -> None:
    """Class a has groups 1 and 2, class b groups 2 and 3: moving 2 for both, or 1 and 3."""
    for seed in range(200):
        keys = random_keys(3, seed)
        group = keys[[0, 1, 1, 2]]
        kept, held = hold_out(group, np.array([0, 0, 1, 1]), ["a", "b"], 1e-9, seed)
        assert not set(group[kept]) & set(group[held])
        for side in (kept, held):
            assert set(np.array([0, 0, 1, 1])[side]) == {0, 1}


def test_groups_that_cannot_be_divided_are_named() -> None:
    """Three classes, each pair of which has a group in common: one side would get two of three."""
    group = random_keys(3)[[0, 1, 1, 2, 2, 0]]
    labels = np.array([0, 0, 1, 1, 2, 2])
    line = refused(lambda: hold_out(group, labels, ["ant", "bee", "cat"], 0.2, 0))
    assert line.startswith("class ")
    assert "choose another seed or another group" in line


@pytest.mark.parametrize(
    ("keys", "labels", "message"),
    [
        ([1, 2, 3], [0, 0, 1], "class bee has 1 image; it needs 2 or more"),
        ([1, 2], [0, 0], "class bee has 0 images; it needs 2 or more"),
        ([1, 2, 3, 3, 3], [0, 0, 1, 1, 1], "class bee has 3 images of the same content or the"),
    ],
)
def test_a_class_that_cannot_be_divided_is_named(
    keys: list[int], labels: list[int], message: str
) -> None:
    arrays = np.array(keys, np.uint64), np.array(labels, np.int64)
    assert message in refused(lambda: hold_out(*arrays, ["ant", "bee"], 0.5, 0))


def test_the_classes_shares_are_as_random_as_the_images() -> None:
    """Neighbouring keys and equal seeds of two data sets do not fall together."""
    keys, labels = np.arange(100_000, dtype=np.uint64), np.zeros(100_000, np.int64)
    held = np.zeros(100_000, bool)
    held[hold_out(keys, labels, ["a"], 0.5, 0)[1]] = True
    runs = int((held[1:] != held[:-1]).sum())
    assert abs(runs - 50_000) < 5 * 158  # standard deviation
