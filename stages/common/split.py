"""Which images are held out, for testing or for validation."""

import numpy as np

from common.arrays import Array
from common.errors import UserError


def hold_out(
    keys: Array, labels: Array, classes: list[str], fraction: float, seed: int
) -> tuple[Array, Array]:
    """Return the indices of the images that are kept and of those that are held out, each ascending.

    An image is held out if the hash of its key and the seed, as a number in 0..1, is below ``fraction``. So images with
    equal keys are never divided, and an added image moves no other. In a class that would then be on one side only, the
    key that is nearest to the other side moves there. Two splits of the same images must not have the same seed: the
    second would find what it holds out taken by the first.

    Args:
        keys: uint64 (N,), the hash of each image's content or group.
        labels: int64 (N,), indices into ``classes``.
        fraction: the share of the images to hold out, above 0 and below 1.

    Raises:
        UserError: A class has fewer than two images or fewer than two keys, or shares its keys with other classes in such
            a way that not every class can be on both sides.
    """
    unique, group = np.unique(keys, return_inverse=True)
    numbers = mix(unique, seed)
    held = numbers < np.uint64(int(fraction * 2**64))
    # Each pair of a class and a group that has images of it, once, by class.
    pairs = np.unique(labels * len(unique) + group)
    pair_class, pair_group = pairs // len(unique), pairs % len(unique)
    check_classes(pair_class, labels, classes)

    def one_sided() -> Array:
        held_groups = np.bincount(pair_class, held[pair_group], len(classes))
        all_groups = np.bincount(pair_class, minlength=len(classes))
        return np.flatnonzero((held_groups == 0) | (held_groups == all_groups))

    for label in one_sided():
        groups = pair_group[pair_class == label]
        nearest = numbers[groups].argsort()
        before = len(one_sided())
        for candidate in groups[nearest[::-1] if held[groups].all() else nearest]:
            held[candidate] ^= True
            if len(one_sided()) < before:
                break
            held[candidate] ^= True
    for label in one_sided():
        raise UserError(
            f"class {classes[label]}: its images belong together with those of other classes, so that none of them can be "
            "held out while others are kept; use another group or another seed"
        )
    return np.flatnonzero(~held[group]), np.flatnonzero(held[group])


def mix(keys: Array, seed: int) -> Array:
    """Return a hash of each key and the seed, uint64 (N,): splitmix64 (doi 10.1145/2660193.2660195)."""
    mixed = keys + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def check_classes(pair_class: Array, labels: Array, classes: list[str]) -> None:
    """Check that each class has two keys, so that one can be held out and one kept."""
    images, groups = (np.bincount(each, minlength=len(classes)) for each in (labels, pair_class))
    for name, image_count, group_count in zip(classes, images, groups, strict=True):
        if image_count < 2:
            raise UserError(
                f"class {name} has {image_count} images; add images until it has 2, so that one can be held out"
            )
        if group_count < 2:
            raise UserError(
                f"class {name} has {image_count} images that all have the same content or belong to one group; "
                "add one that does not, so that it can be held out"
            )


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
