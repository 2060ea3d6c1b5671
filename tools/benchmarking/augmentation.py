"""Augmentation for photographs: in batches, and by torchvision's v2 transforms per image."""

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from benchmarking.comparisons import Row, read_recipes, report
from common.recipes import Recipe
from model.memory import keep_freed_memory
from training.augment import draw_augmentation

SIZES = {32: (20_000, 500), 224: (2_000, 32)}  # pixels: images and images per batch
AMOUNTS = {
    "crop": 0.35,
    "zoom": 0.1,
    "rotation": 15.0,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
    "erasing": 0.25,
}


class Images(Dataset[Tensor]):
    """Images in memory, uint8 (N, 3, H, W), each augmented as a tensor or as a Pillow image."""

    def __init__(self, images: Tensor, pillow: bool) -> None:
        self.images, self.pillow = images, pillow
        bounds = 1 - AMOUNTS["zoom"], 1 + AMOUNTS["zoom"]
        colors = (AMOUNTS[key] for key in ("brightness", "contrast", "saturation"))
        bilinear = InterpolationMode.BILINEAR
        self.augment = v2.Compose(
            [
                v2.RandomResizedCrop(images.shape[3], scale=(AMOUNTS["crop"], 1)),
                v2.RandomHorizontalFlip(),
                v2.RandomAffine(AMOUNTS["rotation"], scale=bounds, interpolation=bilinear),
                v2.ColorJitter(*colors),
                v2.PILToTensor() if pillow else v2.Identity(),
                v2.RandomErasing(AMOUNTS["erasing"]),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = self.images[index]
        pixels = np.ascontiguousarray(image.permute(1, 2, 0)) if self.pillow else None
        augmented: Tensor = self.augment(image if pixels is None else Image.fromarray(pixels))
        return augmented


def measure(repeats: int) -> list[Row]:
    """Compare an epoch of batches of ours with torchvision's, in turn, several times."""
    keep_freed_memory()  # as the training does
    rows = []
    for size, (count, batch_size) in SIZES.items():
        images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
        rows += compare(images, batch_size, repeats)
    return rows


def compare(images: Tensor, batch_size: int, repeats: int) -> list[Row]:
    """Return one row per way to augment these images."""
    ways: dict[str, Callable[[], object]] = {
        "torchvision's v2, DataLoader, from tensors": lambda: per_image(images, batch_size, False),
        "torchvision's v2, DataLoader, from Pillow": lambda: per_image(images, batch_size, True),
        "in batches": lambda: in_batches(images, batch_size),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, augment in ways.items():
            taken[name].append(time_of(augment))
        report(f"{images.shape[3]} pixels, repeat {repeat + 1} of {repeats}")
    seconds = {name: statistics.median(each[0] for each in taken[name]) for name in ways}
    first = next(iter(seconds.values()))
    return [
        {
            "pixels": images.shape[3],
            "augmentation": name,
            "images per second": round(len(images) / seconds[name]),
            "CPU ms per image": round(
                1e3 * statistics.median(each[1] for each in taken[name]) / len(images), 3
            ),
            "times as fast": round(first / seconds[name], 2),
        }
        for name in ways
    ]


def per_image(images: Tensor, batch_size: int, pillow: bool) -> None:
    loader = DataLoader(Images(images, pillow), batch_size, shuffle=True, num_workers=2)
    for _ in loader:
        pass


def in_batches(images: Tensor, batch_size: int) -> None:
    content = read_recipes()["quick"]
    content["augment"] = {"max_shift": 0, "flip": "random", **AMOUNTS}
    augment = draw_augmentation(Recipe.model_validate(content), len(images), seed=0, epoch=1)
    for indices in torch.split(torch.randperm(len(images)), batch_size):
        augment(images[indices], indices)


def time_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that pass, and those that processors work, worker processes included."""
    began, worked = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - began, sum(os.times()[:4]) - worked
