"""Which images are trained on, in which order and batches, and how they get to the device."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from common.arrays import LabelledImages, Rows, read_keys
from common.errors import UserError
from common.files import ARRAYS
from common.params import Train
from common.recipes import Recipe
from common.split import hold_out
from training.seeds import derive_seed, generator


@dataclass(frozen=True)
class TrainingData:
    """The images of the training set, those of them that are trained on, and those held out for
    validation.
    """

    images: Rows  # uint8 (N, 3, H, W); or features, float32 (N, views, features)
    labels: Tensor  # int64 (N,)
    train: Tensor  # indices, int64, ascending
    validation: Tensor  # indices, int64, ascending


def split_data(loaded: LabelledImages, options: Train) -> TrainingData:
    """Hold out ``validation_fraction`` of the images for validation, by their keys and the seed.

    Raises:
        UserError: The keys are missing or damaged, or a class has too few images to be divided.
    """
    keys, labels = read_keys("train"), loaded.labels
    if len(keys) != len(labels):
        raise UserError(
            f"{ARRAYS}: {len(keys)} keys for {len(labels)} images; run the download stage again"
        )
    train, validation = torch.arange(len(labels)), torch.arange(0)
    if options.validation_fraction > 0:
        # Not the seed itself: download may have held out the test images by the same number.
        seed = derive_seed(options.seed, 0, 2)
        classes, fraction = loaded.dataset.classes, options.validation_fraction
        split = hold_out(keys, labels, classes, fraction, seed)
        train, validation = (torch.from_numpy(indices) for indices in split)
    return TrainingData(loaded.images, torch.from_numpy(labels), train, validation)


def class_weights(
    data: TrainingData, classes: int, recipe: Recipe, device: torch.device
) -> Tensor | None:
    """Return how much an image of each class counts in the loss, float32 (classes,).

    That is the class's number of training images to the power of minus the recipe's ``balance``,
    times what makes the mean over the training images 1. None if all images count alike.
    """
    if recipe.balance == 0:
        return None
    counts = data.labels[data.train].bincount(minlength=classes).double()
    weights = counts.clamp_min(1) ** -recipe.balance
    return (weights * counts.sum() / (weights * counts).sum()).float().to(device)


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the permutation, int64 (count,), for (seed, epoch), independent of earlier epochs."""
    return torch.randperm(count, generator=generator(seed, epoch))


def split_evenly(indices: Tensor, size: int | None) -> tuple[Tensor, ...]:
    """Split (n,) into the fewest parts of at most ``size`` whose lengths differ by one at most;
    None: into one part.

    So no batch is left with a single image, from which batch norm could learn nothing.
    """
    return indices.tensor_split(math.ceil(len(indices) / (size or len(indices))))


def image_reader(images: Rows, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a function from indices, int64 (n,), to images or their features on ``device``.

    All of them stay on a GPU if they fill less than half of its free memory; otherwise each batch
    is read from the file.
    """
    size = images.dtype.itemsize * math.prod(images.shape)  # bytes
    if device.type == "cuda" and 2 * size < torch.cuda.mem_get_info(device)[0]:
        resident = torch.from_numpy(images.read(range(len(images)))).to(device)
        return lambda indices: resident[indices.to(device)]
    return lambda indices: torch.from_numpy(images.read(indices.tolist())).to(device)
