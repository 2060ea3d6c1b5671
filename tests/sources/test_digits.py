"""The digits are scikit-learn's, pixel by pixel, and are split by what they show."""

import io
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from downloads import ARRAYS, bring, in_test

pytestmark = pytest.mark.usefixtures("project")


def test_digits_are_scikit_learns_pixel_by_pixel() -> None:
    found = bring(dataset="digits")
    bundle = load_digits()
    # 0 to 16 become 0 to 255, to the nearest: 16 * 15.9375 = 255.
    grey = np.floor(bundle.images * 15.9375 + 0.5).astype(int)
    images = np.concatenate([found["train_images"], found["test_images"]])
    labels = np.concatenate([found["train_labels"], found["test_labels"]])
    numbers = [int(name) for name in found["train_files"] + found["test_files"]]
    assert sorted(numbers) == list(range(1797))
    assert images.dtype == np.uint8
    assert (images == grey[numbers, None]).all()
    assert (labels == bundle.target[numbers]).all()
    assert found["dataset"]["classes"] == list("0123456789")
    assert found["dataset"]["counts"] == {
        "train": len(found["train_labels"]),
        "test": len(found["test_labels"]),
    }
    assert found["dataset"]["image_size"] == 8
    assert found["dataset"]["fit"] == "squash"


def test_files_of_arrays_are_as_numpy_writes_them() -> None:
    bring(dataset="digits")
    paths = sorted(ARRAYS.glob("*.npy"))
    assert len(paths) == 6
    for path in paths:
        expected = io.BytesIO()
        np.save(expected, np.load(path))
        assert path.read_bytes() == expected.getvalue()


def test_keys_are_hashes_of_the_images() -> None:
    found = bring(dataset="digits")
    assert found["test_keys"].dtype == np.uint64
    for key, image in zip(found["test_keys"], found["test_images"], strict=True):
        digest = blake2b(image[0].tobytes(), digest_size=8).digest()
        assert int(key) == int.from_bytes(digest, "little")


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_the_share_for_testing_is_right_within_what_chance_allows(fraction: float) -> None:
    found = bring(dataset="digits", test_fraction=fraction)
    totals = np.bincount(load_digits().target)
    test = np.bincount(found["test_labels"])
    deviation = np.sqrt(totals * fraction * (1 - fraction))  # binomial
    assert (np.abs(test - fraction * totals) <= 4 * deviation).all()
    assert (np.bincount(found["train_labels"]) + test == totals).all()


def test_digits_are_split_by_the_seed_and_0_is_a_seed() -> None:
    splits = [in_test(bring(dataset="digits", seed=seed)) for seed in [0, 1, 0]]
    assert splits[0] == splits[2] != splits[1]


def test_digits_of_another_size_look_the_same_and_are_split_alike() -> None:
    small, large = bring(dataset="digits"), bring(dataset="digits", image_size=32)
    assert large["test_images"].shape[1:] == (3, 32, 32)
    means = large["test_images"].reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5))
    assert np.corrcoef(means.ravel(), small["test_images"].ravel())[0, 1] > 0.98
    assert small["test_files"] == large["test_files"]


def test_digits_need_no_source(project: Path) -> None:
    bring(dataset="digits", source="nowhere")
    assert not (project / "nowhere").exists()
