"""The key of an image, which decides whether it is for training, validation or testing."""

import hashlib
from collections.abc import Iterable

import numpy as np
import regex

from common.arrays import Array
from common.errors import UserError
from sources.hidden import visible

LONGEST = 1.0  # seconds of computation per name; what is no mistake takes microseconds


def image_key(name: str, content: bytes, group: str | None) -> int:
    """Return 64 bits of BLAKE2b of an image's content, or of its group if there is a pattern."""
    hashed = content if group is None else group_of(name, group).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(hashed, digest_size=8).digest(), "little")


def group_of(name: str, pattern: str) -> str:
    """Return what a pattern's first group finds in a name; without groups, what the pattern finds.

    Of several groups that are alternatives, the first that takes part in the match counts.

    Raises:
        UserError: The pattern finds nothing.
    """
    found = search(pattern, name)
    if found is None:
        raise UserError(f"download.group: {pattern!r} finds nothing in {name!r}")
    return next((text for text in found.groups() if text is not None), found[0])


def search(pattern: str, name: str) -> regex.Match[str] | None:
    """Return what a pattern finds in a name.

    Raises:
        UserError: It takes too long: on a name that nearly matches, some patterns take for ever.
    """
    try:
        return regex.search(pattern, name, timeout=LONGEST)
    except TimeoutError:
        raise UserError(
            f"download.group: {pattern!r} takes more than {LONGEST:g} s on {name!r}; simplify it: "
            "of repetitions within repetitions, such as (a+)+, one is enough"
        ) from None


def check_groups(names: Iterable[str], pattern: str) -> None:
    """Check that each image has a group.

    Raises:
        UserError: The pattern finds nothing in some names.
    """
    total = missing = 0
    example = ""
    for name in names:
        total += 1
        if not search(pattern, name):
            missing += 1
            example = example or name
    if missing:
        raise UserError(
            f"download.group: {pattern!r} finds nothing in {missing:,} of {total:,} names, such as "
            f"{example!r}; change it, or make each of these a group of its own: "
            f"{with_singles(pattern)}"
        )


def with_singles(pattern: str) -> str:
    """Return a pattern that finds the whole name where ``pattern`` finds nothing."""
    return f"{pattern}|^(?!.*(?:{pattern})).+"


def check_undivided(names: Iterable[str], is_test: Array, pattern: str) -> None:
    """Check that no group is both in train/ and in test/.

    Args:
        names: the files, of which the N visible ones are the images.
        is_test: bool (N,), whether each image is in test/.
        pattern: what finds the groups.

    Raises:
        UserError: A group is.
    """
    keys = np.fromiter((image_key(name, b"", pattern) for name in visible(names)), np.uint64)
    divided = np.intersect1d(keys[is_test], keys[~is_test])
    if len(divided):
        found = zip(visible(names), keys == divided[0], is_test, strict=True)
        examples = {bool(test): name for name, same, test in found if same}
        raise UserError(
            f"download.group: {pattern!r} puts {examples[False]!r} and {examples[True]!r} into one "
            f"group, and {len(divided):,} groups are divided in all; a group must not be divided "
            "between train/ and test/: move the images, or change the pattern"
        )
