"""The grid of training images: the data's own pixels, crisp, with labels and names, by the seed."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import preview
from helpers import refused, write_params
from made_up import Pixels, photographs, write_arrays
from project import Project

SIZE = 16  # pixels of an image


def lay_out_images(directory: Path, count: int) -> Pixels:
    """Write noise, so that no two images are alike and no pixel is white; return that for train."""
    images = np.random.default_rng(count).integers(0, 200, (count, 3, SIZE, SIZE), np.uint8)
    test = (photographs(3, SIZE), [0, 1, 2])
    write_arrays(directory, ["a", "b", "c"], (images, np.arange(count) % 3), test)
    return images


def shown(directory: Path, **changes: int) -> Pixels:
    """Return the figure, uint8 (height, width, 3)."""
    folder = {"dataset": "folder", "image_size": SIZE}
    write_params(directory, {"download": folder, "preview": changes})
    preview.main()
    with Image.open(directory / "reports" / "preview.png") as image:
        return np.asarray(image.convert("RGB"))


def cells(figure: Pixels) -> list[Pixels]:
    """Return the images in a figure, uint8 (3, SIZE, SIZE) each, in reading order.

    Fails unless each is crisp: a square of k x k blocks of one colour each. Captions are grey or
    black letters outside of them.
    """
    coloured = (figure < 200).all(axis=2) & (figure.max(axis=2) > figure.min(axis=2))
    found = []
    for top, bottom in runs(coloured.sum(axis=1) > 20):
        for left, right in runs(coloured[top:bottom].sum(axis=0) > 20):
            assert bottom - top == right - left
            block, rest = divmod(bottom - top, SIZE)
            assert rest == 0
            assert block >= 5  # large enough to be seen
            cell = figure[top:bottom, left:right]
            blocks = cell.reshape(SIZE, block, SIZE, block, 3)
            assert (blocks == blocks[:, :1, :, :1]).all()
            found.append(blocks[:, 0, :, 0].transpose(2, 0, 1))
    return found


def runs(mask: Pixels) -> list[tuple[int, int]]:
    """Return start and end of each run of True that is as long as an image is at least."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    ends = zip(edges[::2], edges[1::2], strict=True)
    return [(int(start), int(end)) for start, end in ends if end - start >= 4 * SIZE]


def indices(found: list[Pixels], images: Pixels) -> list[int]:
    """Return which of ``images`` each found one is, pixel by pixel."""
    matches = [np.flatnonzero((images == image).all(axis=(1, 2, 3))).tolist() for image in found]
    assert all(len(match) == 1 for match in matches)
    return [match[0] for match in matches]


def test_pixels_are_the_datas_own_and_crisp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = lay_out_images(tmp_path, 60)
    chosen = indices(cells(shown(tmp_path, images=10)), images)
    assert len(chosen) == 10
    assert max(Counter(chosen).values()) == 1
    assert chosen != sorted(chosen)[:10]  # at random, not the first


def test_the_seed_chooses_and_0_is_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = lay_out_images(tmp_path, 60)
    by_seed = [indices(cells(shown(tmp_path, images=10, seed=seed)), images) for seed in [0, 1, 0]]
    assert by_seed[0] == by_seed[2]
    assert set(by_seed[0]) != set(by_seed[1])


@pytest.mark.parametrize(("count", "asked"), [(3, 10), (7, 7), (9, 6)])
def test_fewer_images_than_asked_for_are_all_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, asked: int
) -> None:
    monkeypatch.chdir(tmp_path)
    images = lay_out_images(tmp_path, count)
    chosen = indices(cells(shown(tmp_path, images=asked)), images)
    assert len(set(chosen)) == len(chosen) == min(count, asked)


def test_labels_and_names_stand_above_their_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = lay_out_images(tmp_path, 30)
    figures: dict[str, Figure] = {}
    monkeypatch.setattr(
        preview, "save_figure", lambda figure, path: figures.update({path.name: figure})
    )
    with pytest.raises(FileNotFoundError):  # nothing is saved
        shown(tmp_path)
    figure = figures["preview.png"]
    texts: list[Any] = list(figure.texts)
    assert texts[0].get_text() == "Preview of Training Data"
    grid: list[Any] = list(figure.images)
    drawn = [np.asarray(image.get_array()).transpose(2, 0, 1) for image in grid]
    times = drawn[0].shape[-1] // SIZE
    pixels = [image[:, ::times, ::times] for image in drawn]
    width, height = figure.bbox.size
    for image, index in zip(grid, indices(pixels, images), strict=True):
        left, right, _, top = image.get_extent()
        above = [
            text.get_text()
            for text in texts[2:]
            if text.get_position()[0] == pytest.approx((left + right) / 2 / width, abs=0.01)
            and top / height < text.get_position()[1] < top / height + 0.15
        ]
        assert sorted(above) == sorted(["abc"[index % 3], f"train/{index}.png"])


def test_the_same_data_gives_the_same_bytes(prepared: Project) -> None:
    names = ["preview.png", "class_counts.png", "duplicates.png", "duplicates.csv", "data.json"]
    prepared.call("preview")
    before = {name: (prepared.reports / name).read_bytes() for name in names}
    prepared.call("preview")
    assert {name: (prepared.reports / name).read_bytes() for name in names} == before


@pytest.mark.parametrize("missing", ["data/arrays/test_files.jsonl", "reports/skipped.csv"])
def test_a_file_that_download_writes_and_that_is_missing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.chdir(tmp_path)
    images = photographs(20, SIZE)
    write_arrays(tmp_path, ["a", "b"], (images, np.arange(20) % 2), (images[:2], [0, 1]))
    (tmp_path / missing).unlink()
    line = refused(lambda: shown(tmp_path))
    assert line == f"{missing}: no such file; run the download stage first"
