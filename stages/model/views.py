"""The views of an image over which test-time augmentation averages."""

import torch
from torch import Tensor


def move(images: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
    """Shift each picture of (n, 3, H, W) by its pixels down and right, (n, 2), edges reflected; then mirror if (n,)."""
    height, width = images.shape[2:]
    rows = reflect(torch.arange(height, device=images.device) - shifts[:, :1], height)
    columns = reflect(torch.arange(width, device=images.device) - shifts[:, 1:], width)
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    images = images.gather(2, rows[:, None, :, None].expand(images.shape))
    return images.gather(3, columns[:, None, None, :].expand(images.shape))


def reflect(positions: Tensor, size: int) -> Tensor:
    """Bring positions less than ``size`` outside 0..size - 1 back inside: -1 to 1, size to size - 2."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()


def views(images: Tensor, kind: str) -> list[Tensor]:
    """The views of pictures, (n, 3, H, W), over which test-time averaging goes; themselves first."""
    if kind == "none":
        return [images]
    count = images.shape[0]  # len() would be a constant to torch.export
    still = torch.zeros(count, dtype=torch.bool, device=images.device)
    shifts = [torch.full((count, 2), by, device=images.device) for by in (0, -1, 1)]
    return [
        move(images, by, flips)
        for by in (shifts if kind == "mirror_shift" else shifts[:1])
        for flips in (still, ~still)
    ]
