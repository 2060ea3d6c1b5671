"""The images of both splits under one index, and the thumbnails on which they are compared."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from common.arrays import Array, LabelledImages, Split, read_file_names

THUMBNAIL = 32  # pixels
MARGIN = 1  # pixels that a crop of a thumbnail leaves out on each side, so that it can be shifted
BLOCK_BYTES = 2**23  # of images read at a time; their thumbnails take at most as much again


@dataclass(frozen=True)
class Images:
    """The training images followed by the test images."""

    train: LabelledImages
    test: LabelledImages

    def __len__(self) -> int:
        return len(self.train.images) + len(self.test.images)

    @property
    def labels(self) -> Array:
        """The labels, int64 (N,)."""
        return np.concatenate([self.train.labels, self.test.labels])

    def split(self, index: int) -> Split:
        return "train" if index < len(self.train.images) else "test"

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in label order."""
        return self.train.dataset.classes

    def read(self, indices: Array) -> Array:
        """Return the images at ``indices``, uint8 (len(indices), 3, H, H)."""
        size = len(self.train.images)
        of_test = indices >= size
        images = np.empty((len(indices), *self.train.images.shape[1:]), np.uint8)
        images[~of_test] = self.train.images.read(indices[~of_test])
        images[of_test] = self.test.images.read(indices[of_test] - size)
        return images

    def thumbnails(self, indices: Array) -> Array:
        """Return the thumbnails of the images at ``indices``, float32 (len(indices), 3, 32, 32)."""
        return np.concatenate([thumbnails(self.read(block)) for block in self.blocks(indices)])

    def blocks(self, indices: Array) -> Iterator[Array]:
        """Yield ``indices`` in blocks that fit into memory together with their images."""
        step = max(1, BLOCK_BYTES // (4 * int(np.prod(self.train.images.shape[1:]))))
        for start in range(0, len(indices), step):
            yield indices[start : start + step]

    def file_names(self, indices: Iterable[int]) -> dict[int, str]:
        """Return the name in the source of each image at ``indices``."""
        size = len(self.train.images)
        wanted = sorted(set(indices))
        of_train = [index for index in wanted if index < size]
        of_test = [index for index in wanted if index >= size]
        names = read_file_names("train", of_train)
        names += read_file_names("test", [index - size for index in of_test])
        return dict(zip([*of_train, *of_test], names, strict=True))


def thumbnails(images: Array) -> Array:
    """Resize uint8 (N, 3, H, H) to float32 (N, 3, 32, 32): each pixel the mean over its area."""
    pixels = images.astype(np.float32)
    if images.shape[-1] == THUMBNAIL:
        return pixels
    weights = area_weights(images.shape[-1])
    resized: Array = weights @ pixels @ weights.T
    return resized


@cache
def area_weights(size: int) -> Array:
    """Return the share of each of ``size`` pixels in each pixel of a thumbnail, (32, size)."""
    edges = np.arange(THUMBNAIL + 1) * size / THUMBNAIL
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (overlap.clip(0) * THUMBNAIL / size).astype(np.float32)
