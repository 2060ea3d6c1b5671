"""What every source of images provides to the download stage."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from common.arrays import Array, Split


@dataclass(frozen=True)
class Source:
    """Pictures before they are written: per split labels, int64 (N,), and in the same order what is to be decoded."""

    name: str
    classes: list[str]  # in label order
    labels: dict[Split, Array]
    pictures: dict[Split, Iterable[Any]]
    decode: Callable[[list[Any]], Array]  # n of these to uint8 (n, 3, image_size, image_size)
    origin: str
    sha256: str | None = None
    names: dict[Split, Iterable[str]] = field(default_factory=dict)  # of each image, in its source
