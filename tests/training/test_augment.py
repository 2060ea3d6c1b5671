"""Augmentation against a slow version a picture at a time, and against what its names promise."""

import numpy as np
import pytest
import torch
from helpers import ROOT
from torch import Tensor
from torch.nn.functional import interpolate

from common.params import load_params
from common.recipes import Recipe
from model.views import move, views
from training.augment import draw_augmentation
from training.seeds import generator

RECIPE = load_params(ROOT / "params.yaml").recipes["accurate"]
COUNT = 40


def recipe(**changes: object) -> Recipe:
    return RECIPE.model_copy(update=changes)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(
        0, 256, (COUNT, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def slowly(image: Tensor, down: int, right: int, flip: bool) -> Tensor:
    """One picture, with NumPy's padding and slicing."""
    pad = 4
    _, height, width = image.shape
    padded = np.pad(image.numpy(), ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    moved = padded[:, pad - down : pad - down + height, pad - right : pad - right + width]
    return torch.from_numpy((moved[:, :, ::-1] if flip else moved).copy())


def test_move_is_what_a_picture_at_a_time_gives(images: Tensor) -> None:
    shifts = torch.randint(-4, 5, (COUNT, 2), generator=torch.Generator().manual_seed(1))
    flips = torch.arange(COUNT) % 3 == 0
    wanted = [
        slowly(image, down, right, flip)
        for image, (down, right), flip in zip(images, shifts.tolist(), flips.tolist(), strict=True)
    ]
    assert torch.equal(move(images, shifts, flips), torch.stack(wanted))


def test_shifts_are_even_and_within_the_padding() -> None:
    augmentation = draw_augmentation(recipe(crop_padding=2), 50_000, seed=0, epoch=1)
    assert augmentation.moves is not None
    values, counts = torch.unique(augmentation.moves[0], return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert (counts / 100_000).tolist() == pytest.approx([0.2] * 5, abs=0.01)


def test_alternate_flip_shows_each_picture_both_ways_in_two_epochs() -> None:
    flips = []
    for epoch in (1, 2, 3):
        augmentation = draw_augmentation(recipe(flip="alternate"), 10_000, seed=3, epoch=epoch)
        assert augmentation.moves is not None
        flips.append(augmentation.moves[1])
    assert torch.equal(flips[0], ~flips[1])
    assert torch.equal(flips[0], flips[2])
    assert flips[0].double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_random_flip_is_another_draw_each_epoch() -> None:
    first, second = (
        draw_augmentation(recipe(flip="random"), 10_000, 0, epoch).moves for epoch in (1, 2)
    )
    assert first is not None
    assert second is not None
    assert (first[1] ^ second[1]).double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_the_draw_depends_on_seed_and_epoch_alone(images: Tensor) -> None:
    def augmented(seed: int, epoch: int) -> Tensor:
        return draw_augmentation(RECIPE, COUNT, seed, epoch)(images, torch.arange(COUNT))

    reference = augmented(0, 5)
    torch.rand(7)  # the global generator has no part in it
    assert torch.equal(reference, augmented(0, 5))
    assert not torch.equal(reference, augmented(0, 6))
    assert not torch.equal(reference, augmented(1, 5))


def test_a_picture_gets_its_own_draw_in_any_batch(images: Tensor) -> None:
    augment = draw_augmentation(RECIPE, COUNT, seed=0, epoch=1)
    order = torch.randperm(COUNT, generator=generator(0, 1))
    whole = augment(images, torch.arange(COUNT))
    for batch in torch.split(order, 7):
        assert torch.equal(augment(images[batch], batch), whole[batch])


def test_nothing_asked_for_changes_nothing(images: Tensor) -> None:
    still = draw_augmentation(recipe(crop_padding=0, flip="none", train_sizes=None), COUNT, 0, 1)
    assert still(images, torch.arange(COUNT)) is images


def test_train_sizes_are_even_parts_of_the_epochs(images: Tensor) -> None:
    growing = recipe(crop_padding=0, flip="none", train_sizes=[5, 7, 9], epochs=6)
    augmentations = [draw_augmentation(growing, COUNT, 0, epoch) for epoch in range(1, 7)]
    assert [augmentation.size for augmentation in augmentations] == [5, 5, 7, 7, 9, 9]
    small = augmentations[0](images, torch.arange(COUNT))
    wanted = interpolate(images.double(), size=(5, 5), mode="bilinear", antialias=True)
    assert torch.allclose(small.double(), wanted, atol=1e-3)
    assert augmentations[5](images, torch.arange(COUNT)) is images


def test_generator_tells_keys_apart() -> None:
    draws = {
        tuple(torch.rand(2, generator=generator(*key)).tolist())
        for key in [(0, 1), (1, 0), (0, 1, 1), (0, 2)]
    }
    assert len(draws) == 4


def test_views_of_test_time_averaging(images: Tensor) -> None:
    assert [view is images for view in views(images, "none")] == [True]
    mirror = views(images, "mirror")
    assert len(mirror) == 2
    assert torch.equal(mirror[0], images)
    assert torch.equal(mirror[1], images.flip(3))
    wanted = [
        torch.stack([slowly(image, by, by, flip) for image in images])
        for by in (0, -1, 1)
        for flip in (False, True)
    ]
    for view, expected in zip(views(images, "mirror_shift"), wanted, strict=True):
        assert torch.equal(view, expected)
