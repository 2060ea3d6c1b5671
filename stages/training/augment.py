"""What happens to pictures on their way into the network: shifted, flipped and shrunk while training; views when used.

Every random number is derived from the seed and the epoch, and drawn on the CPU: any step can be repeated without those
before it, and all devices see the same pictures.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from common.recipes import Recipe
from model.views import move
from training.seeds import generator


@dataclass(frozen=True)
class Augmentation:
    """What is done to each picture of the training set in one epoch."""

    moves: (
        tuple[Tensor, Tensor] | None
    )  # int64 (count, 2): pixels down and right; bool (count,): mirrored
    size: int | None  # pixels, to which pictures are shrunk

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """New pictures from those with these indices, int64 (n,) on the CPU: uint8 (n, 3, H, W), or smaller float32."""
        if self.moves is not None:
            images = move(images, *(part[indices].to(images.device) for part in self.moves))
        if self.size is not None and self.size < images.shape[2]:
            images = interpolate(
                images.float(), size=(self.size, self.size), mode="bilinear", antialias=True
            )
        return images


def draw_augmentation(recipe: Recipe, count: int, seed: int, epoch: int) -> Augmentation:
    """Draw what happens to ``count`` pictures in an epoch; the first one is 1."""
    numbers = generator(seed, epoch, 1)  # (seed, epoch) alone is the order of the pictures
    pad, flip, sizes = recipe.augment.max_shift, recipe.augment.flip, recipe.train_sizes
    shifts = torch.randint(-pad, pad + 1, (count, 2), generator=numbers)
    flips = torch.zeros(count, dtype=torch.bool)
    if flip == "random":
        flips = torch.rand(count, generator=numbers) < 0.5
    elif flip == "alternate":
        flips = (torch.rand(count, generator=generator(seed, 0, 1)) < 0.5) ^ (epoch % 2 == 0)
    moves = None if pad == 0 and flip == "none" else (shifts, flips)
    return Augmentation(moves, sizes[(epoch - 1) * len(sizes) // recipe.epochs] if sizes else None)
