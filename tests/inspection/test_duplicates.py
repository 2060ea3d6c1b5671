"""Planted duplicates are found, and nothing else; compared with a comparison of all with all."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.arrays import load_images
from helpers import encode, lay_out
from inspection.duplicates import Duplicates, find_duplicates
from inspection.images import Images
from inspection.similarity import all_distances
from made_up import Pixels, photographs, write_arrays
from project import Project, new_project

SIZE = 64  # pixels of the images in files; the arrays have 32
ODD_NAME = 'train/a/ü, "q" =1.png'


def as_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels.transpose(1, 2, 0))


def shifted(pixels: Pixels) -> bytes:
    """Return a file whose image is moved by a pixel of a thumbnail, and the edge repeated."""
    padded = np.pad(pixels, ((0, 0), (2, 0), (0, 2)), mode="edge")
    return encode(as_image(padded[:, :SIZE, 2:]))


# Each makes another file of an image.
CHANGES: list[Callable[[Pixels], bytes]] = [
    lambda pixels: encode(as_image(pixels), "JPEG", quality=80),
    lambda pixels: encode(as_image(pixels).resize((48, 48))),
    lambda pixels: encode(as_image(pixels).resize((100, 100))),
    shifted,
    lambda pixels: encode(Image.eval(as_image(pixels), lambda value: min(255, value + 25))),
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder of 300 images, 10 exact and 10 near duplicates across the splits, 5 mislabelled.

    The copy of train/X/N.png is test/X/copy-N, where X is another class for the last five.
    """
    project = new_project(tmp_path_factory.mktemp("planted"))
    images = photographs(300, SIZE)
    files = {}
    for number, pixels in enumerate(images):
        split = "train" if number < 200 else "test"
        files[f"{split}/{'abc'[number % 3]}/{number}.png"] = encode(as_image(pixels))
    for number in range(25):
        exact = number < 10 or number in (20, 21)
        content = encode(as_image(images[number]))
        if not exact:
            content = CHANGES[number % len(CHANGES)](images[number])
        label = "abc"[(number + (number >= 20)) % 3]
        kind = "jpg" if content.startswith(b"\xff\xd8") else "png"
        files[f"test/{label}/copy-{number}.{kind}"] = content
    files[ODD_NAME] = files.pop("train/a/0.png")
    lay_out(project.path / "images", files)
    project.change(download__dataset="folder", download__source="images")
    project.succeeds("download")
    return project


def pairs_in_csv(project: Project) -> list[dict[str, str]]:
    with (project.reports / "duplicates.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_planted_duplicates_are_found_and_nothing_else(planted: Project) -> None:
    printed = planted.succeeds("preview")
    rows = pairs_in_csv(planted)
    found = {(row["file_1"], Path(row["file_2"]).stem): row for row in rows}
    names = [f"train/{'abc'[number % 3]}/{number}.png" for number in range(25)]
    names[0] = ODD_NAME
    assert found.keys() == {(name, f"copy-{number}") for number, name in enumerate(names)}
    for number, name in enumerate(names):
        row = found[name, f"copy-{number}"]
        assert (row["split_1"], row["split_2"]) == ("train", "test")
        assert row["kind"] == ("exact" if number < 10 or number in (20, 21) else "near")
        assert (float(row["distance"]) == 0) == (row["kind"] == "exact")
        assert row["label_1"] == "abc"[number % 3]
        assert (row["label_1"] != row["label_2"]) == (number >= 20)
    assert all(row["label_1"] != row["label_2"] for row in rows[:5])  # these come first
    data = json.loads((planted.reports / "data.json").read_text(encoding="utf-8"))
    assert data["duplicates"]["exact"] == {"within_train": 0, "across": 12, "within_test": 0}
    assert data["duplicates"]["near"] == {"within_train": 0, "across": 13, "within_test": 0}
    assert data["duplicates"]["labels_disagree"] == 5
    assert data["test_images_in_train"] == 25
    assert "25 test images are also in the training set" in printed
    assert "by up to 20.0 points" in printed  # 25 of 125
    assert "The labels of 5 pairs" in printed


def test_the_first_drawn_duplicates_are_those_with_two_labels(planted: Project) -> None:
    planted.succeeds("preview")
    with Image.open(planted.reports / "duplicates.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 1:] < 60).all(axis=-1)
    rows = np.flatnonzero(red.any(axis=1))
    assert len(rows) > 0
    assert rows.max() < 0.6 * len(pixels)


def test_digits_hold_no_duplicates(prepared: Project) -> None:
    """Ones look much like each other, but none of the 1,797 images is there twice."""
    printed = prepared.succeeds("preview")
    assert pairs_in_csv(prepared) == []
    assert "also in the training set" not in printed


def search(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    train: tuple[Pixels, Any],
    test: tuple[Pixels, Any],
) -> Duplicates:
    """Return the duplicates in arrays that are written first."""
    monkeypatch.chdir(directory)
    write_arrays(directory, ["a", "b"], train, test)
    return find_duplicates(Images(load_images("train"), load_images("test")))


def test_the_same_pairs_as_by_comparing_all_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are more or less alike, so that many distances lie around the largest."""
    generator = np.random.default_rng(0)
    images = photographs(300, 32).astype(float)
    for number in range(0, 200, 2):
        share = generator.uniform(0, 0.6)
        images[number + 1] = (1 - share) * images[number] + share * images[number + 1]
    pixels = images.round().astype(np.uint8)
    found = search(tmp_path, monkeypatch, (pixels[:150], [0] * 150), (pixels[150:], [0] * 150))
    first, second = np.triu_indices(300, 1)
    by_force = all_distances(pixels.astype(np.float32))
    near = by_force < found.largest_distance
    expected = set(zip(first[near].tolist(), second[near].tolist(), strict=True))
    assert {(pair.first, pair.second) for pair in found.pairs} == expected
    assert 30 < len(expected) < 100
    assert set(found.in_train.tolist()) == {
        second for first, second in expected if first < 150 <= second
    }


def test_copies_of_copies_count_as_leaked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test image that equals another one whose near duplicate is in train, and the like."""
    images = photographs(100, 32)
    brighter = np.minimum(images, 245) + 10
    train = np.concatenate([images[:50], images[:1]])
    test = np.concatenate([images[50:], images[:1], brighter[:1], brighter[:2], images[60:61]])
    found = search(tmp_path, monkeypatch, (train, [0] * 51), (test, [0] * 55))
    size = len(train)
    assert found.in_train.tolist() == [size + 50, size + 51, size + 52, size + 53]
    pairs = {(pair.first, pair.second, pair.kind) for pair in found.pairs}
    assert pairs == {
        (0, 50, "exact"),
        (0, size + 50, "exact"),
        (0, size + 51, "near"),
        (size + 51, size + 52, "exact"),
        (1, size + 53, "near"),
        (size + 10, size + 54, "exact"),
    }


def test_images_of_one_colour_are_duplicates_only_if_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photographs(60, 32)
    for number, grey in enumerate([0, 0, 1, 200]):
        images[number] = grey
    images[4] = np.array([255, 0, 0])[:, None, None]
    found = search(tmp_path, monkeypatch, (images[:50], [0] * 50), (images[50:], [1] * 10))
    assert found.one_colour.tolist() == [0, 1, 2, 3, 4]
    assert [pair[:2] for pair in found.pairs] == [(0, 1)]


def test_a_thousand_equal_images_make_a_pair_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.concatenate([photographs(50, 8), photographs(1, 8, seed=1).repeat(1000, axis=0)])
    found = search(tmp_path, monkeypatch, (images, [0] * 1050), (images[:5], [1] * 5))
    assert len(found.pairs) == 999 + 5
    assert {pair.first for pair in found.pairs if pair.first >= 50} == {50}


@pytest.mark.parametrize("count", [1, 2, 10])
def test_few_images_are_searched_for_equal_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    images = photographs(count, 32)
    found = search(tmp_path, monkeypatch, (images, [0] * count), (images, [1] * count))
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        (number, count + number) for number in range(count)
    ]


@pytest.mark.parametrize("count", [2, 6, 10, 30])
@pytest.mark.parametrize("copies", [1, 2, "half"])
def test_few_images_are_searched_for_near_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, copies: int | str
) -> None:
    """Also where half of all images are copies, labelled otherwise."""
    planted = min(count // 2, count if copies == "half" else int(copies))
    images = photographs(count - planted, SIZE, seed=count)
    changed = [
        np.asarray(Image.open(io.BytesIO(CHANGES[number % len(CHANGES)](image))).resize((32, 32)))
        for number, image in enumerate(images[:planted])
    ]
    small = [np.asarray(as_image(image).resize((32, 32))) for image in images]
    train, test = (np.stack(each).transpose(0, 3, 1, 2) for each in (small, changed))
    found = search(tmp_path, monkeypatch, (train, [0] * len(train)), (test, [1] * planted))
    assert {pair[:2] for pair in found.pairs} == {(n, len(train) + n) for n in range(planted)}


def test_many_frames_of_one_scene_are_all_found_and_not_all_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(0, 3, (600, 3, 32, 32))
    frames = (photographs(1, 32) * 0.8 + 20 + noise).clip(0, 255).astype(np.uint8)
    others = photographs(400, 32, seed=1)
    train = np.concatenate([frames[:500], others])
    found = search(tmp_path, monkeypatch, (train, [0] * 900), (frames[500:], [0] * 100))
    assert found.crowded == 600
    assert found.in_train.tolist() == list(range(900, 1000))
    ends = np.array([pair[:2] for pair in found.pairs])
    assert set(ends.ravel().tolist()) == {*range(500), *range(900, 1000)}
    assert len(ends) < 600 * 130


def test_the_search_does_not_depend_on_the_size_of_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photographs(80, 32)
    train, test = (images, [0] * 80), (np.minimum(images[:20], 245) + 10, [0] * 20)
    whole = search(tmp_path, monkeypatch, train, test)
    monkeypatch.setattr("inspection.images.BLOCK_BYTES", 1)
    monkeypatch.setattr("inspection.duplicates.PAIRS_AT_A_TIME", 3)
    blocks = search(tmp_path, monkeypatch, train, test)
    assert [pair[:2] for pair in blocks.pairs] == [pair[:2] for pair in whole.pairs]
    assert len(whole.pairs) == 20
