"""Augmentation for photographs against torchvision's, image by image, and as it is drawn."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as pil_functional
from torchvision.transforms.v2 import functional

from common.augment_options import Augmentations
from training.photo import (
    CROP_RATIO,
    ERASED_AREA,
    ERASED_RATIO,
    change_colors,
    draw_boxes,
    draw_colors,
    draw_erased,
    draw_maps,
    erase,
    sample,
)

COUNT = 4
NO_SHIFTS = torch.zeros(COUNT, 2, dtype=torch.int64)
# Top, left, height and width of a rectangle per image, in 32nds of its size.
BOXES = ([0, 3, 8, 5], [2, 0, 9, 6], [32, 20, 16, 24], [24, 32, 18, 25])
ADJUST = [
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
]
RESIZED, ERASING = transforms.RandomResizedCrop, transforms.RandomErasing


def photographs(size: int, kernel: int = 1) -> Tensor:
    """Return four parts of two photographs, blurred, uint8 (4, 3, size, size)."""
    parts = [
        np.asarray(Image.fromarray(image).resize((size, size), box=(left, 0, left + 300, 300)))
        for image in load_sample_images().images
        for left in (40, 300)
    ]
    images = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).contiguous()
    blurred: Tensor = functional.gaussian_blur(images, [kernel, kernel])
    return blurred


@pytest.fixture(params=[32, 224])
def images(request: pytest.FixtureRequest) -> Tensor:
    return photographs(request.param)


def uniform(count: int, columns: int) -> Tensor:
    numbers = torch.Generator().manual_seed(5)
    return torch.empty(count, columns).uniform_(-1, 1, generator=numbers)


def options(**values: float) -> Augmentations:
    return Augmentations(max_shift=0, flip="none", **values)


def test_a_crop_is_torchvision_s_resized_crop(images: Tensor) -> None:
    """But for its border, where ours goes on to the pixels beyond."""
    size = images.shape[3]
    tops, lefts, heights, widths = ([s * size // 32 for s in part] for part in BOXES)
    maps = torch.zeros(COUNT, 2, 3)
    for axis, (starts, lengths) in enumerate([(lefts, widths), (tops, heights)]):
        maps[:, axis, axis] = torch.tensor(lengths) / size
        maps[:, axis, 2] = (2 * torch.tensor(starts) + torch.tensor(lengths)) / size - 1
    found = sample(images, maps, NO_SHIFTS)
    for image, crop, *box in zip(images, found, tops, lefts, heights, widths, strict=True):
        expected = functional.resized_crop(image.float(), *box, [size, size], antialias=False)
        inside = (slice(None), slice(2, -2), slice(2, -2))
        torch.testing.assert_close(crop[inside], expected[inside], atol=0.02, rtol=0)


def test_rotation_and_zoom_are_those_of_pillow_with_reflected_edges(images: Tensor) -> None:
    """Pillow rounds the pixels; torchvision's affine calls it."""
    size = images.shape[3]
    numbers = uniform(COUNT, 6)
    maps = draw_maps(options(rotation=30, zoom=0.3), torch.zeros(COUNT, dtype=torch.bool), numbers)
    for image, found, (*_, zoom, angle) in zip(
        images, sample(images, maps, NO_SHIFTS), numbers.tolist(), strict=True
    ):
        padded = functional.pad(image, [size], padding_mode="symmetric")
        turned = pil_functional.affine(
            pil_functional.to_pil_image(padded),
            angle=-30 * angle,  # clockwise
            translate=[0, 0],
            scale=1 + 0.3 * zoom,
            shear=[0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        expected = pil_functional.pil_to_tensor(pil_functional.center_crop(turned, [size]))
        difference = (found - expected).abs()
        assert difference.mean() < 0.6
        assert difference.max() < 2.5


def test_shift_mirror_crop_and_rotation_follow_each_other() -> None:
    """Torchvision interpolates twice, so on smooth images; and away from what it fills."""
    images, size = photographs(224, kernel=31), 224
    shifts = torch.tensor([[9, -4], [0, 7], [-8, 0], [3, 3]])
    flips = torch.tensor([True, False, True, False])
    crops, numbers = torch.tensor([0.5, 0.6, 0.7, 0.8]), torch.zeros(COUNT, 6)
    numbers[:, 0], numbers[:, 5] = (crops - 0.5) * 4 - 1, torch.tensor([0.5, -1, 1, 0.2])
    maps = draw_maps(options(crop=0.5, rotation=20), flips, numbers)
    found = sample(images, maps, shifts)
    for image, (down, right), flip, crop, number, ours in zip(
        images, shifts.tolist(), flips, crops, numbers, found, strict=True
    ):
        moved = image.float().roll((down, right), dims=(1, 2))
        moved = moved.flip(2) if flip else moved
        side = round(math.sqrt(float(crop)) * size / 2) * 2
        start = (size - side) // 2
        cropped = functional.resized_crop(moved, start, start, side, side, [size, size])
        expected = functional.rotate(cropped, 20 * float(number[5]), InterpolationMode.BILINEAR)
        inside = (slice(None), slice(50, -50), slice(50, -50))
        torch.testing.assert_close(ours[inside], expected[inside], atol=2.5, rtol=0)
        assert (ours[inside] - expected[inside]).abs().mean() < 0.3


@pytest.mark.parametrize("number", [0, 1, 2])
def test_brightness_contrast_and_saturation_are_torchvision_s(number: int, images: Tensor) -> None:
    adjust = ADJUST[number]
    for factor in (0.0, 0.4, 1.0, 1.7):
        factors = torch.ones(COUNT, 3)
        factors[:, number] = factor
        expected = torch.stack([255 * adjust(image.float() / 255, factor) for image in images])
        torch.testing.assert_close(change_colors(images, factors), expected, atol=0.05, rtol=0)


def test_colors_change_in_the_order_of_the_keys_by_the_factors_of_each_image(
    images: Tensor,
) -> None:
    dull = (images.float() / 4 + 80).to(torch.uint8)  # no step clips
    factors = draw_colors(options(brightness=0.3, contrast=0.4, saturation=0.5), uniform(COUNT, 3))
    for image, found, amounts in zip(dull, change_colors(dull, factors), factors, strict=True):
        expected = image.float() / 255
        for adjust, factor in zip(ADJUST, amounts.tolist(), strict=True):
            expected = adjust(expected, factor)
        torch.testing.assert_close(found, 255 * expected, atol=0.05, rtol=0)


def test_erasing_fills_a_rectangle_as_torchvision_does(images: Tensor) -> None:
    size = images.shape[3]
    tops, lefts, heights, widths = (torch.tensor(part) * size // 32 for part in BOXES)
    boxes = torch.stack(
        [widths, heights, 2 * lefts + widths - size, 2 * tops + heights - size], dim=1
    )
    color = torch.tensor([120.0, 110.5, 3.25])
    found = erase(images, boxes / size, color)
    for image, erased, *box in zip(images, found, tops, lefts, heights, widths, strict=True):
        expected = functional.erase(image.float(), *map(int, box), v=color.view(3, 1, 1))
        assert torch.equal(erased, expected)


@pytest.mark.parametrize(
    ("area", "ratio", "get"),
    [
        ((0.2, 0.7), CROP_RATIO, lambda image, area, ratio: RESIZED.get_params(image, area, ratio)),
        (
            (0.02, 0.3),
            ERASED_RATIO,
            lambda image, area, ratio: ERASING.get_params(image, area, ratio, [0.0])[:4],
        ),
    ],
    ids=["crop", "erasing"],
)
def test_rectangles_are_drawn_as_torchvision_s_where_all_of_them_fit(
    area: tuple[float, float],
    ratio: float,
    get: Callable[[Tensor, list[float], list[float]], tuple[int, ...]],
) -> None:
    count, size = 4000, 1000
    boxes = draw_boxes(*area, ratio, uniform(count, 4))
    image = torch.empty(3, size, size)
    torch.manual_seed(0)
    theirs = np.array([get(image, list(area), [1 / ratio, ratio]) for _ in range(count)]) / size
    starts = (boxes[:, 2:] - boxes[:, :2] + 1) / 2  # left, top
    ours = torch.cat([starts.flip(1), boxes[:, :2].flip(1)], dim=1)  # top, left, height, width
    for column in range(4):
        assert kstest(ours[:, column], theirs[:, column]).pvalue > 1e-3
    assert kstest(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("area", "ratio"), [((0.35, 1.0), CROP_RATIO), (ERASED_AREA, ERASED_RATIO), ((1.0, 1.0), 2.0)]
)
def test_rectangles_lie_in_the_image_with_areas_that_are_uniform(
    area: tuple[float, float], ratio: float
) -> None:
    boxes = draw_boxes(*area, ratio, uniform(20_000, 4)).double()
    sides, centers = boxes[:, :2], boxes[:, 2:]
    assert ((centers.abs() + sides) <= 1 + 1e-6).all()
    assert (sides[:, 0] / sides[:, 1]).log().abs().max() <= math.log(ratio) + 1e-6
    areas = sides.prod(dim=1)
    if area[0] < area[1]:
        assert kstest(areas, "uniform", args=(area[0], area[1] - area[0])).pvalue > 1e-3
    else:
        torch.testing.assert_close(areas, torch.ones_like(areas))


def test_zoom_and_rotation_are_even_within_their_range() -> None:
    flips = torch.zeros(20_000, dtype=torch.bool)
    maps = draw_maps(options(zoom=0.2, rotation=15), flips, uniform(20_000, 6)).double()
    zooms = 1 / torch.linalg.det(maps[:, :, :2]).sqrt()
    degrees = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]).rad2deg()
    assert kstest(zooms, "uniform", args=(0.8, 0.4)).pvalue > 1e-3
    assert kstest(degrees, "uniform", args=(-15, 30)).pvalue > 1e-3
    assert maps[:, :, 2].abs().max() < 1e-6  # about the centre


def test_color_factors_are_even_around_one() -> None:
    factors = draw_colors(options(brightness=0.2, saturation=1.0), uniform(20_000, 3))
    assert kstest(factors[:, 0], "uniform", args=(0.8, 0.4)).pvalue > 1e-3
    assert (factors[:, 1] == 1).all()
    assert kstest(factors[:, 2], "uniform", args=(0, 2)).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_erasing_has_its_probability_and_erases_at_most_a_third(probability: float) -> None:
    boxes = draw_erased(probability, uniform(20_000, 5))
    erased = boxes[:, :2].prod(dim=1)
    assert (erased > 0).double().mean().item() == pytest.approx(probability, abs=0.01)
    assert 0.0199 < erased[erased > 0].min() < erased.max() < 0.3301
