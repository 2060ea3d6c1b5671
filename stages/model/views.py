"""The views of an image over which test-time augmentation averages."""

from collections.abc import Iterator

import torch
from torch import Tensor

from common.section import TestTimeAugmentation

VIEWS: dict[TestTimeAugmentation, int] = {"none": 1, "mirror": 2, "mirror_shift": 6}


def views(images: Tensor, kind: TestTimeAugmentation) -> Iterator[Tensor]:
    """Yield the views of images, (N, 3, H, W), each of that shape; the images themselves first.

    ``mirror`` adds the mirror images; ``mirror_shift`` adds both of these again, shifted by one
    pixel up and left and by one pixel down and right, as in arXiv:2404.00498.
    """
    yield images
    if kind != "none":
        yield images.flip(3)
    if kind == "mirror_shift":
        count = images.shape[0]  # torch.export would take len(images) for a constant
        unflipped = torch.zeros(count, dtype=torch.bool, device=images.device)
        for by in (-1, 1):
            shift = torch.full((count, 2), by, device=images.device)
            for flips in (unflipped, ~unflipped):
                yield move(images, shift, flips)


def move(images: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
    """Shift and mirror each image by amounts of its own.

    Args:
        images: (N, 3, H, W), of any type.
        shifts: int64 (N, 2), pixels down and right, each less than H and W; edges are reflected.
        flips: bool (N,), True for the images to mirror left to right after the shift.
    """
    height, width = images.shape[2:]
    rows = reflect(torch.arange(height, device=images.device) - shifts[:, :1], height)  # (N, H)
    columns = reflect(torch.arange(width, device=images.device) - shifts[:, 1:], width)  # (N, W)
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    images = images.gather(2, rows[:, None, :, None].expand(images.shape))
    return images.gather(3, columns[:, None, None, :].expand(images.shape))


def reflect(positions: Tensor, size: int) -> Tensor:
    """Bring positions less than ``size`` pixels outside back inside: -1 to 1, size to size - 2."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()
