"""What every source of images provides to the download stage."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from common.arrays import Split
from sources.decode import UnreadableError
from sources.parallel import Decoded


class SourceImage(NamedTuple):
    """An image on its way from a source to the arrays, or the reason why it cannot get there."""

    name: str  # as the source has it
    split: Split  # train, if the source has no splits
    label: int
    key: int  # 64 bits, see sources.keys
    decoded: Decoded | UnreadableError


@dataclass(frozen=True)
class Source:
    """Images, and what dataset.json says of them."""

    name: str
    classes: list[str]  # in label order
    origin: str  # where the images come from
    sha256: str | None  # of the source, if that is a file
    has_splits: bool  # otherwise the keys decide which images are for testing
    count: int  # of images, readable or not
    images: Iterator[SourceImage]
