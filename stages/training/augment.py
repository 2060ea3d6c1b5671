"""Augmentation of training images: shifts, mirror images, that for photographs and progressive
resizing.

All random numbers of an epoch are drawn on the CPU, from the seed and the epoch alone: any step can
be repeated without those before it, and all devices see the same images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from common.recipes import Recipe
from model.views import move
from training.photo import change_colors, draw_colors, draw_erased, draw_maps, erase, sample
from training.seeds import generator

Step = tuple[Callable[..., Tensor], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Augmentation:
    """What is done to each image of the training set in one epoch."""

    # In this order: a function of images and of amounts per image, and the amounts of all images of
    # the training set, (count, ...) each.
    steps: list[Step]

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """Augment the images with these indices.

        Args:
            images: uint8 (n, 3, H, W).
            indices: int64 (n,), on the images' device.

        Returns:
            uint8 or float32 (n, 3, H, W), pixels in 0..255; float32 (n, 3, size, size) if they
            were shrunk.
        """
        for apply, amounts in self.steps:
            images = apply(images, *(part[indices] for part in amounts))
        return images

    def to(self, device: torch.device) -> "Augmentation":
        """Return this augmentation for images on ``device``.

        Its amounts are copied to a GPU once, since each copy waits for the work before it.
        """
        steps = [(apply, tuple(part.to(device) for part in parts)) for apply, parts in self.steps]
        return Augmentation(steps)


@dataclass(frozen=True)
class View:
    """Which of the views of each image have the features that are used in one epoch."""

    number: int

    def __call__(self, features: Tensor, indices: Tensor) -> Tensor:
        """Choose from features, (n, views, features); return (n, features)."""
        return features[:, self.number]

    def to(self, device: torch.device) -> "View":
        """Return this view, which is the same on all devices."""
        return self


def augment_epoch(recipe: Recipe, count: int, seed: int, epoch: int) -> Augmentation | View:
    """Return what is done to ``count`` images in an epoch; the first epoch is 1.

    If only the last layer is trained, the images were augmented as in the first epochs, once for
    each of ``recipe.views``, and the epochs use these views in turn.
    """
    if recipe.trainable == "head":
        return View((epoch - 1) % recipe.views)
    return draw_augmentation(recipe, count, seed, epoch)


def draw_augmentation(recipe: Recipe, count: int, seed: int, epoch: int) -> Augmentation:
    """Draw the augmentation of ``count`` images in an epoch; the first epoch is 1."""
    numbers = generator(seed, epoch, 1)
    shift, flip = recipe.augment.max_shift, recipe.augment.flip
    shifts = torch.randint(-shift, shift + 1, (count, 2), generator=numbers)
    flips = torch.zeros(count, dtype=torch.bool)
    if flip == "random":
        flips = torch.rand(count, generator=numbers) < 0.5
    elif flip == "alternate":
        flips = (torch.rand(count, generator=generator(seed, 0, 1)) < 0.5) ^ (epoch % 2 == 0)
    return Augmentation(draw_steps(recipe, shifts, flips, numbers, epoch))


def draw_steps(
    recipe: Recipe, shifts: Tensor, flips: Tensor, numbers: torch.Generator, epoch: int
) -> list[Step]:
    """Draw what is done to the images beside shifts, (count, 2), and mirroring, (count,)."""
    options, sizes = recipe.augment, recipe.train_sizes
    # Drawn for all keys, so that none changes the numbers of another.
    count = len(flips) if options.given else 0
    uniform = torch.empty(count, 14).uniform_(-1, 1, generator=numbers)
    of_maps, of_colors, of_erased = torch.split(uniform, [6, 3, 5], dim=1)
    steps: list[Step] = []
    if options.given & {"crop", "zoom", "rotation"}:
        steps.append((sample, (draw_maps(options, flips, of_maps), shifts)))
    elif options.max_shift > 0 or options.flip != "none":
        steps.append((move, (shifts, flips)))
    if sizes:
        steps.append((partial(shrink, size=sizes[(epoch - 1) * len(sizes) // recipe.epochs]), ()))
    if options.given & {"brightness", "contrast", "saturation"}:
        steps.append((change_colors, (draw_colors(options, of_colors),)))
    if options.erasing > 0:
        color = 255 * torch.tensor(recipe.normalize.mean)
        steps.append((partial(erase, color=color), (draw_erased(options.erasing, of_erased),)))
    return steps


def shrink(images: Tensor, size: int) -> Tensor:
    """Shrink images, (n, 3, H, W), to float32 (n, 3, size, size), unless they have that size."""
    if size == images.shape[2]:
        return images
    return interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
