"""The distance of images, compared with Pillow and SciPy, and what it does not mind."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from inspection.fingerprints import perceptual_hash
from inspection.images import thumbnails
from inspection.similarity import SHIFTS, all_distances, distances
from made_up import Pixels, photographs


def apart(one: Pixels, other: Pixels) -> Pixels:
    """Return the distance of each image to the one at the same place."""
    small = np.concatenate([thumbnails(one), thumbnails(other)])
    return distances(small, np.arange(len(one)), len(one) + np.arange(len(one)))


def through_pillow(images: Pixels, size: int) -> Pixels:
    resized = [
        np.asarray(
            Image.fromarray(image.transpose(1, 2, 0)).resize((size, size), Image.Resampling.BOX)
        )
        for image in images
    ]
    return np.stack(resized).transpose(0, 3, 1, 2)


def encoded(images: Pixels) -> Pixels:
    """Return the images after a JPEG file of quality 80."""
    decoded = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=80)
        decoded.append(np.asarray(Image.open(file)).transpose(2, 0, 1))
    return np.stack(decoded)


@pytest.mark.parametrize("size", [1, 8, 28, 32, 48, 100])
def test_a_pixel_of_a_thumbnail_is_the_mean_over_its_area(size: int) -> None:
    images = photographs(2, size)
    fine = images.repeat(32, axis=2).repeat(32, axis=3)  # each pixel of both is a whole number
    means = fine.reshape(2, 3, 32, size, 32, size).mean(axis=(3, 5))
    assert thumbnails(images) == pytest.approx(means, abs=1e-3)


def test_the_hash_is_the_signs_of_the_cosine_transform() -> None:
    grey = thumbnails(photographs(5, 32)).mean(axis=1)
    for shift in [(0, 0), (1, 0), (0, -1)]:
        down, right = 1 + shift[0], 1 + shift[1]
        for image, found in zip(grey, perceptual_hash(grey, shift), strict=True):
            spectrum = dctn(image[down : down + 30, right : right + 30], norm="ortho")
            order = sorted((row + column, row, column) for row in range(9) for column in range(9))
            signs = [spectrum[row, column] > 0 for _, row, column in order[1:65]]
            assert int(found) == sum(1 << place for place, sign in enumerate(signs) if sign)


def test_the_same_image_is_at_0_and_others_are_far() -> None:
    images = photographs(50, 32)
    assert apart(images, images) == pytest.approx(0, abs=1e-5)
    assert all_distances(thumbnails(images)).min() > 0.3


def test_all_pairs_at_once_are_as_pair_by_pair() -> None:
    small = thumbnails(photographs(70, 32))
    first, second = np.triu_indices(len(small), 1)
    assert all_distances(small) == pytest.approx(distances(small, first, second), abs=1e-4)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_by_a_pixel_is_no_distance(shift: tuple[int, int]) -> None:
    images = photographs(10, 34)
    down, right = (1 + pixels for pixels in shift)
    one, other = images[:, :, 1:33, 1:33], images[:, :, down : down + 32, right : right + 32]
    assert apart(one, other) == pytest.approx(0, abs=1e-5)
    assert apart(other, one) == pytest.approx(0, abs=1e-5)


def test_brightness_and_contrast_are_little_distance() -> None:
    images = photographs(20, 32)
    assert apart(images, (images * 0.7 + 20).astype(np.uint8)).max() < 0.01
    assert apart(images, np.minimum(images, 225) + 30).max() < 0.03


def test_encoding_and_resizing_are_little_distance() -> None:
    images = photographs(20, 64)
    assert apart(images, encoded(images)).max() < 0.03
    for size in (24, 48, 100):
        assert apart(images, through_pillow(images, size)).max() < 0.03


def test_a_frame_or_a_sky_in_common_makes_no_duplicate() -> None:
    """Most pixels of these are equal, and only a quarter differs."""
    images = photographs(40, 32, seed=1)
    framed = photographs(1, 32, seed=2).repeat(len(images), axis=0)
    framed[:, :, 8:24, 8:24] = images[:, :, 8:24, 8:24]
    assert all_distances(thumbnails(framed)).min() > 0.1
    sky = np.full_like(images, 200)
    sky[:, :, 8:24, 8:24] = images[:, :, 8:24, 8:24]
    assert all_distances(thumbnails(sky)).min() > 0.1
