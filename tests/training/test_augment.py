"""Augmentation against a slow version per image, and against what its names promise."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from common.recipes import Recipe
from model.views import move
from models import WHITENED, make_recipe
from training.augment import Augmentation, draw_augmentation
from training.seeds import generator

COUNT = 40


def augmenting(
    max_shift: int = 0, flip: str = "none", sizes: list[int] | None = None, epochs: int = 6
) -> Recipe:
    return make_recipe(
        network=WHITENED,
        augment={"max_shift": max_shift, "flip": flip},
        progressive_resizing={"sizes": sizes} if sizes else None,
        epochs=epochs,
    )


EVERYTHING = augmenting(max_shift=2, flip="alternate", sizes=[5, 7, 9])


@pytest.fixture
def images() -> Tensor:
    return torch.randint(
        0, 256, (COUNT, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def slowly(image: Tensor, down: int, right: int, flip: bool) -> Tensor:
    """Shift and mirror one image, with NumPy's padding and slicing."""
    pad = 4
    _, height, width = image.shape
    padded = np.pad(image.numpy(), ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    moved = padded[:, pad - down : pad - down + height, pad - right : pad - right + width]
    return torch.from_numpy((moved[:, :, ::-1] if flip else moved).copy())


def test_a_batch_is_moved_as_its_images_one_by_one(images: Tensor) -> None:
    shifts = torch.randint(-4, 5, (COUNT, 2), generator=torch.Generator().manual_seed(1))
    flips = torch.arange(COUNT) % 3 == 0
    expected = [
        slowly(image, down, right, flip)
        for image, (down, right), flip in zip(images, shifts.tolist(), flips.tolist(), strict=True)
    ]
    assert torch.equal(move(images, shifts, flips), torch.stack(expected))


def drawn(recipe: Recipe, count: int, seed: int, epoch: int) -> Augmentation:
    augmentation = draw_augmentation(recipe, count, seed, epoch)
    assert isinstance(augmentation, Augmentation)
    return augmentation


def test_shifts_are_even_and_not_above_max_shift() -> None:
    augmentation = drawn(augmenting(max_shift=2), 50_000, seed=0, epoch=1)
    assert augmentation.moves is not None
    values, counts = torch.unique(augmentation.moves[0], return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert (counts / 100_000).tolist() == pytest.approx([0.2] * 5, abs=0.01)


def test_alternate_flip_shows_each_image_both_ways_in_two_epochs() -> None:
    flips = []
    for epoch in (1, 2, 3):
        augmentation = drawn(augmenting(flip="alternate"), 10_000, seed=3, epoch=epoch)
        assert augmentation.moves is not None
        flips.append(augmentation.moves[1])
    assert torch.equal(flips[0], ~flips[1])
    assert torch.equal(flips[0], flips[2])
    assert flips[0].double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_random_flip_is_another_draw_in_each_epoch() -> None:
    first, second = (drawn(augmenting(flip="random"), 10_000, 0, epoch).moves for epoch in (1, 2))
    assert first is not None
    assert second is not None
    assert (first[1] ^ second[1]).double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_the_draw_depends_on_seed_and_epoch_alone(images: Tensor) -> None:
    def augmented(seed: int, epoch: int) -> Tensor:
        return drawn(EVERYTHING, COUNT, seed, epoch)(images, torch.arange(COUNT))

    reference = augmented(0, 5)
    torch.rand(7)  # the global generator has no part in it
    assert torch.equal(reference, augmented(0, 5))
    assert not torch.equal(reference, augmented(0, 6))
    assert not torch.equal(reference, augmented(1, 5))


def test_an_image_is_augmented_alike_in_any_batch(images: Tensor) -> None:
    augment = drawn(EVERYTHING, COUNT, seed=0, epoch=1)
    order = torch.randperm(COUNT, generator=generator(0, 1))
    whole = augment(images, torch.arange(COUNT))
    for batch in torch.split(order, 7):
        assert torch.equal(augment(images[batch], batch), whole[batch])


def test_without_augmentation_images_stay_as_they_are(images: Tensor) -> None:
    unchanged = drawn(augmenting(), COUNT, 0, 1)
    assert unchanged(images, torch.arange(COUNT)) is images


def test_progressive_resizing_takes_equal_parts_of_the_epochs(images: Tensor) -> None:
    recipe = augmenting(sizes=[5, 7, 9])
    augmentations = [drawn(recipe, COUNT, 0, epoch) for epoch in range(1, 7)]
    assert [augmentation.size for augmentation in augmentations] == [5, 5, 7, 7, 9, 9]
    small = augmentations[0](images, torch.arange(COUNT))
    expected = interpolate(images.double(), size=(5, 5), mode="bilinear", antialias=True)
    assert torch.allclose(small.double(), expected, atol=1e-3)
    assert augmentations[5](images, torch.arange(COUNT)) is images


def test_each_key_gives_other_numbers() -> None:
    draws = {
        tuple(torch.rand(2, generator=generator(*key)).tolist())
        for key in [(0, 1), (1, 0), (0, 1, 1), (0, 2)]
    }
    assert len(draws) == 4
