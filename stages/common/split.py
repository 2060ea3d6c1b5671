"""Which images are held out, for testing or for validation."""

import numpy as np

from common.arrays import Array
from common.errors import UserError


def hold_out(
    keys: Array, labels: Array, classes: list[str], fraction: float, seed: int
) -> tuple[Array, Array]:
    """Return the indices of the images that are kept and of those held out, each ascending.

    An image is held out if the hash of its key and the seed, as a number in 0..1, is below
    ``fraction``. So images with equal keys are never divided, and an added image moves no other. A
    class that would be on one side only gives the other side its key with the nearest hash.

    Another split of the kept images needs another seed: by this one, they are all kept.

    Args:
        keys: uint64 (N,), the hash of each image's content or group.
        labels: int64 (N,), indices into ``classes``.
        classes: the names of the classes.
        fraction: the share of the images to hold out, above 0 and below 1.
        seed: 0 or more; another one holds out other images.

    Raises:
        UserError: A class has fewer than two images or fewer than two keys, or shares its keys with
            others in such a way that some class would be on one side only.
    """
    unique, group = np.unique(keys, return_inverse=True)
    hashes = mix(unique, seed)
    held = hashes < np.uint64(int(fraction * 2**64))
    groups_of = groups_by_class(labels, group, len(classes))
    check_classes(labels, groups_of, classes)
    for name, groups in zip(classes, groups_of, strict=True):
        if not is_divided(groups, held):
            divide(name, groups, held, hashes, groups_of)
    return np.flatnonzero(~held[group]), np.flatnonzero(held[group])


def mix(keys: Array, seed: int) -> Array:
    """Return a hash of each key and the seed, uint64 (N,), by SplitMix64.

    Steele, Lea and Flood: Fast splittable pseudorandom number generators (OOPSLA 2014).
    """
    mixed = keys + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def groups_by_class(labels: Array, group: Array, classes: int) -> list[Array]:
    """Return for each class the groups that its images are in, each group once."""
    count = group.max() + 1
    pairs = np.unique(labels * count + group)
    return np.split(pairs % count, np.searchsorted(pairs // count, range(1, classes)))


def check_classes(labels: Array, groups_of: list[Array], classes: list[str]) -> None:
    """Check that each class has two groups, so that one can be held out and one kept."""
    counts = np.bincount(labels, minlength=len(classes))
    for name, images, groups in zip(classes, counts, groups_of, strict=True):
        if images < 2:
            raise UserError(
                f"class {name} has {images} image{'' if images == 1 else 's'}; it needs 2 or more, "
                "so that one can be held out"
            )
        if len(groups) < 2:
            raise UserError(
                f"class {name} has {images} images of the same content or the same group; it "
                "needs another one, so that one can be held out"
            )


def is_divided(groups: Array, held: Array) -> bool:
    return bool(0 < held[groups].sum() < len(groups))


def divide(name: str, groups: Array, held: Array, hashes: Array, groups_of: list[Array]) -> None:
    """Move the class's group with the nearest hash to the other side, unless that would leave
    another class on one side.
    """
    before = sum(is_divided(each, held) for each in groups_of)
    nearest = groups[hashes[groups].argsort()]
    for candidate in nearest[::-1] if held[groups].all() else nearest:
        held[candidate] = not held[candidate]
        if sum(is_divided(each, held) for each in groups_of) > before:
            return
        held[candidate] = not held[candidate]
    raise UserError(
        f"class {name}: its images belong to groups with images of other classes, so that none of "
        "them can be held out; choose another seed or another group"
    )
