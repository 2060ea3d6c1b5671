"""What happens to pictures on their way into the network: shifted, flipped and shrunk while training; views when used.

Every random number is derived from the seed and the epoch, and drawn on the CPU: any step can be repeated without those
before it, and all devices see the same pictures.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .params import Recipe


def derive_seed(*key: int) -> int:
    """A seed that depends on ``key`` alone, such as (seed, epoch)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def generator(*key: int) -> torch.Generator:
    """Random numbers that depend on ``key`` alone."""
    return torch.Generator().manual_seed(derive_seed(*key))


@dataclass(frozen=True)
class Augmentation:
    """What is done to each picture of the training set in one epoch."""

    moves: tuple[Tensor, Tensor] | None  # int64 (count, 2): pixels down and right; bool (count,): mirrored
    size: int | None  # pixels, to which pictures are shrunk

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """New pictures from those with these indices, int64 (n,) on the CPU: uint8 (n, 3, H, W), or smaller float32."""
        if self.moves is not None:
            images = move(images, *(part[indices].to(images.device) for part in self.moves))
        if self.size is not None and self.size < images.shape[2]:
            images = interpolate(images.float(), size=(self.size, self.size), mode="bilinear", antialias=True)
        return images


def draw_augmentation(recipe: Recipe, count: int, seed: int, epoch: int) -> Augmentation:
    """Draw what happens to ``count`` pictures in an epoch; the first one is 1."""
    numbers = generator(seed, epoch, 1)  # (seed, epoch) alone is the order of the pictures
    pad, sizes = recipe.crop_padding, recipe.train_sizes
    shifts = torch.randint(-pad, pad + 1, (count, 2), generator=numbers)
    flips = torch.zeros(count, dtype=torch.bool)
    if recipe.flip == "random":
        flips = torch.rand(count, generator=numbers) < 0.5
    elif recipe.flip == "alternate":
        flips = (torch.rand(count, generator=generator(seed, 0, 1)) < 0.5) ^ (epoch % 2 == 0)
    moves = None if pad == 0 and recipe.flip == "none" else (shifts, flips)
    return Augmentation(moves, sizes[(epoch - 1) * len(sizes) // recipe.epochs] if sizes else None)


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
