"""Augmentation against a slow version per image, and against what its names promise."""

import signal

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from common.recipes import Normalization, Recipe
from model.networks import Normalize
from model.views import move
from models import WHITENED, make_recipe
from project import Project
from training.augment import Augmentation, draw_augmentation
from training.photo import change_colors, erase, sample
from training.seeds import generator
from trainings import Trainings, posix, ranks

COUNT = 40
MEAN = [0.5, 0.4, 0.3]
NORMALIZATION = Normalization(mean=MEAN, std=[0.2, 0.3, 0.4])


def augmenting(
    max_shift: int = 0,
    flip: str = "none",
    sizes: list[int] | None = None,
    photo: dict[str, float] | None = None,
) -> Recipe:
    return make_recipe(
        network=WHITENED,
        augment={"max_shift": max_shift, "flip": flip, **(photo or {})},
        progressive_resizing={"sizes": sizes} if sizes else None,
        epochs=6,
    )


SIZES = [5, 7, 9]
PHOTO = {
    "crop": 0.4,
    "zoom": 0.2,
    "rotation": 20.0,
    "brightness": 0.2,
    "contrast": 0.3,
    "saturation": 0.4,
    "erasing": 0.5,
}
BOTH_KINDS = pytest.mark.parametrize(
    "recipe",
    [
        augmenting(max_shift=2, flip="alternate", sizes=SIZES),
        augmenting(max_shift=2, flip="alternate", sizes=SIZES, photo=PHOTO),
    ],
    ids=["moved", "photo"],
)


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


def moves(recipe: Recipe, count: int, seed: int, epoch: int) -> tuple[Tensor, ...]:
    """Return the shifts and the flips, of which alone the recipe has some."""
    ((step, amounts),) = drawn(recipe, count, seed, epoch).steps
    assert step is move
    return amounts


def test_shifts_are_even_and_not_above_max_shift() -> None:
    shifts, _ = moves(augmenting(max_shift=2), 50_000, seed=0, epoch=1)
    values, counts = torch.unique(shifts, return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert (counts / 100_000).tolist() == pytest.approx([0.2] * 5, abs=0.01)


def test_alternate_flip_shows_each_image_both_ways_in_two_epochs() -> None:
    recipe = augmenting(flip="alternate")
    flips = [moves(recipe, 10_000, seed=3, epoch=epoch)[1] for epoch in (1, 2, 3)]
    assert torch.equal(flips[0], ~flips[1])
    assert torch.equal(flips[0], flips[2])
    assert flips[0].double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_random_flip_is_another_draw_in_each_epoch() -> None:
    first, second = (moves(augmenting(flip="random"), 10_000, 0, epoch)[1] for epoch in (1, 2))
    assert (first ^ second).double().mean().item() == pytest.approx(0.5, abs=0.02)


@BOTH_KINDS
def test_the_draw_depends_on_seed_and_epoch_alone(recipe: Recipe, images: Tensor) -> None:
    def augmented(seed: int, epoch: int) -> Tensor:
        return drawn(recipe, COUNT, seed, epoch)(images, torch.arange(COUNT))

    reference = augmented(0, 5)
    torch.rand(7)  # the global generator has no part in it
    assert torch.equal(reference, augmented(0, 5))
    assert not torch.equal(reference, augmented(0, 6))
    assert not torch.equal(reference, augmented(1, 5))


@BOTH_KINDS
def test_an_image_is_augmented_alike_in_any_batch(recipe: Recipe, images: Tensor) -> None:
    augment = drawn(recipe, COUNT, seed=0, epoch=1)
    order = torch.randperm(COUNT, generator=generator(0, 1))
    whole = augment(images, torch.arange(COUNT))
    for batch in torch.split(order, 7):
        assert torch.equal(augment(images[batch], batch), whole[batch])


def test_without_augmentation_images_stay_as_they_are(images: Tensor) -> None:
    unchanged = drawn(augmenting(), COUNT, 0, 1)
    assert unchanged(images, torch.arange(COUNT)) is images


def test_progressive_resizing_takes_equal_parts_of_the_epochs(images: Tensor) -> None:
    recipe = augmenting(sizes=SIZES)
    resized = [drawn(recipe, COUNT, 0, epoch)(images, torch.arange(COUNT)) for epoch in range(1, 7)]
    assert [each.shape[2] for each in resized] == [5, 5, 7, 7, 9, 9]
    expected = interpolate(images.double(), size=(5, 5), mode="bilinear", antialias=True)
    assert torch.allclose(resized[0].double(), expected, atol=1e-3)
    assert resized[5] is images


def amounts_of(*keys: str) -> list[Tensor]:
    """Return what is drawn per image with these keys, without the shifts beside the maps."""
    recipe = augmenting(flip="random", photo={key: PHOTO[key] for key in keys})
    return [amounts[0] for _, amounts in drawn(recipe, COUNT, 0, 1).steps]


def test_a_key_for_photographs_changes_no_number_of_another() -> None:
    maps, factors, boxes = amounts_of(*PHOTO)
    assert torch.equal(amounts_of("crop", "zoom", "rotation")[0], maps)
    assert torch.equal(amounts_of("brightness")[1][:, 0], factors[:, 0])
    assert torch.equal(amounts_of("crop", "contrast", "saturation")[1][:, 1:], factors[:, 1:])
    assert torch.equal(amounts_of("erasing")[1], boxes)
    flips = moves(augmenting(flip="random"), COUNT, 0, 1)[1]
    assert torch.equal(amounts_of("rotation")[0][:, 0, 0] < 0, flips)


def test_photographs_are_sampled_then_shrunk_then_coloured_then_erased(images: Tensor) -> None:
    recipe = augmenting(sizes=[5], photo=PHOTO | {"erasing": 1.0})
    recipe = recipe.model_copy(update={"normalize": NORMALIZATION})
    (_, (maps, shifts)), _, (_, (factors,)), (_, (boxes,)) = drawn(recipe, COUNT, 0, 1).steps
    small = interpolate(sample(images, maps, shifts), size=(5, 5), mode="bilinear", antialias=True)
    coloured = change_colors(small, factors)
    found = drawn(recipe, COUNT, 0, 1)(images, torch.arange(COUNT))
    assert found.dtype == torch.float32
    erased = (found != coloured).any(dim=1, keepdim=True).expand_as(found)
    assert erased.any()
    torch.testing.assert_close(found, erase(coloured, boxes, 255 * torch.tensor(MEAN)))
    normalized = Normalize(MEAN, [0.2, 0.3, 0.4])(found)
    assert normalized[erased].abs().max() < 1e-5  # the mean colour
    assert normalized[~erased].abs().max() > 1


def test_any_single_key_leaves_the_shape_and_the_range_of_the_pixels(images: Tensor) -> None:
    for key, value in PHOTO.items():
        found = drawn(augmenting(photo={key: value}), COUNT, 0, 1)(images, torch.arange(COUNT))
        assert found.shape == images.shape
        assert found.dtype == torch.float32
        assert not torch.equal(found, images.float())
        assert 0 <= found.min() < found.max() <= 255


@posix
def test_a_training_on_augmented_photographs_resumes_in_the_same_bytes(
    trainings: Trainings,
) -> None:
    project = Project(trainings.path)
    project.change(
        train__validation_fraction=0.1,
        recipes__quick__micro_batch=25,
        recipes__quick__learning_rate=0.001,  # too low for last bits to matter
        recipes__quick__epochs=1,
        **{f"recipes__quick__augment__{key}": PHOTO[key] for key in PHOTO},
    )
    assert trainings.run() == [0]
    alone = pd.read_csv(project.reports / "history.csv")
    assert trainings.run(ranks(2)) == [0, 0]
    history = pd.read_csv(project.reports / "history.csv")
    np.testing.assert_allclose(history["train_loss"], alone["train_loss"], rtol=0, atol=1e-5)
    undisturbed = trainings.outputs()
    trainings.remove_outputs()
    assert trainings.run_until_saved(ranks(2), 1, signal.SIGKILL) == [1, -signal.SIGKILL]
    assert trainings.run(ranks(2)) == [0, 0]
    assert "resuming after epoch" in trainings.stderr()
    assert trainings.outputs() == undisturbed


def test_each_key_gives_other_numbers() -> None:
    draws = {
        tuple(torch.rand(2, generator=generator(*key)).tolist())
        for key in [(0, 1), (1, 0), (0, 1, 1), (0, 2)]
    }
    assert len(draws) == 4
