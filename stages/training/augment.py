"""Augmentation of training images: shifts, mirror images and progressive resizing.

All random numbers of an epoch are drawn on the CPU, from the seed and the epoch alone: any step can
be repeated without those before it, and all devices see the same images.
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
    """What is done to each image of the training set in one epoch."""

    # Per image, pixels down and to the right, int64 (count, 2), and whether it is mirrored, bool
    # (count,).
    moves: tuple[Tensor, Tensor] | None
    size: int | None  # pixels to which images are shrunk

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """Augment the images with these indices.

        Args:
            images: uint8 (n, 3, H, W).
            indices: int64 (n,), on the CPU.

        Returns:
            uint8 (n, 3, H, W); float32 (n, 3, size, size) if they were shrunk.
        """
        if self.moves is not None:
            images = move(images, *(part[indices].to(images.device) for part in self.moves))
        if self.size is not None and self.size < images.shape[2]:
            size = (self.size, self.size)
            images = interpolate(images.float(), size=size, mode="bilinear", antialias=True)
        return images


@dataclass(frozen=True)
class ChoiceOfView:
    """Which of the features of each image of the training set are used in one epoch."""

    flips: Tensor  # whether those of its mirror image, bool (count,)

    def __call__(self, features: Tensor, indices: Tensor) -> Tensor:
        """Choose between the views of features, (n, views, features), of the images with these
        indices, int64 (n,), on the CPU; return (n, features).
        """
        view = self.flips[indices].long().to(features.device)
        return features[torch.arange(len(indices), device=features.device), view]


def draw_augmentation(
    recipe: Recipe, count: int, seed: int, epoch: int
) -> Augmentation | ChoiceOfView:
    """Draw the augmentation of ``count`` images in an epoch; the first epoch is 1."""
    numbers = generator(seed, epoch, 1)
    shift, flip, sizes = recipe.augment.max_shift, recipe.augment.flip, recipe.train_sizes
    shifts = torch.randint(-shift, shift + 1, (count, 2), generator=numbers)
    flips = torch.zeros(count, dtype=torch.bool)
    if flip == "random":
        flips = torch.rand(count, generator=numbers) < 0.5
    elif flip == "alternate":
        flips = (torch.rand(count, generator=generator(seed, 0, 1)) < 0.5) ^ (epoch % 2 == 0)
    if recipe.trainable == "head":
        return ChoiceOfView(flips)
    moves = None if shift == 0 and flip == "none" else (shifts, flips)
    return Augmentation(moves, sizes[(epoch - 1) * len(sizes) // recipe.epochs] if sizes else None)
