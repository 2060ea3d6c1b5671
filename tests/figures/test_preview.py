"""The preview shows the data's own pixels, crisp, and chosen by the seed."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import write_params
from PIL import Image

import preview

SIZE = 16  # pixels of a picture


def lay_out_images(directory: Path, count: int) -> Any:
    """Noise, so that no two pictures are alike and no pixel is white; uint8 (count, 3, SIZE, SIZE)."""
    images = np.random.default_rng(count).integers(0, 200, (count, 3, SIZE, SIZE), np.uint8)
    directory.mkdir(parents=True)
    np.save(directory / "train_images.npy", images)
    np.save(directory / "train_labels.npy", np.arange(count) % 3)
    (directory / "dataset.json").write_text(
        f'{{"name": "noise", "classes": ["a", "b", "c"], "image_size": {SIZE}, '
        f'"counts": {{"train": {count}, "test": 1}}, "source": "here", "sha256": null}}'
    )
    return images


def shown(directory: Path, **changes: int) -> Any:
    """The figure, uint8 (height, width, 3)."""
    write_params(directory, {"preview": changes})
    preview.main()
    return np.asarray(Image.open(directory / "reports" / "preview.png").convert("RGB"))


def cells(figure: Any) -> list[Any]:
    """The pictures found in a figure, uint8 (3, SIZE, SIZE) each, in reading order; fails unless each is crisp.

    A picture is a square of k x k blocks, each of one colour. Captions are grey or black letters outside of them.
    """
    dark = (figure < 200).all(axis=2) & (
        (figure.max(axis=2) - figure.min(axis=2)) > 0
    )  # coloured, as letters are not
    found = []
    rows = runs(dark.sum(axis=1) > 20)
    for top, bottom in rows:
        for left, right in runs(dark[top:bottom].sum(axis=0) > 20):
            assert bottom - top == right - left
            block, rest = divmod(bottom - top, SIZE)
            assert rest == 0
            assert block >= 5  # large enough to be seen
            cell = figure[top:bottom, left:right]
            blocks = cell.reshape(SIZE, block, SIZE, block, 3)
            assert (blocks == blocks[:, :1, :, :1]).all()
            found.append(blocks[:, 0, :, 0].transpose(2, 0, 1))
    return found


def runs(mask: Any) -> list[tuple[int, int]]:
    """Start and end of each run of True that is as long as a picture is at least."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [
        (int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 4 * SIZE
    ]


def indices(found: list[Any], images: Any) -> list[int]:
    """Which of ``images`` each found picture is, pixel by pixel."""
    matches = [
        np.flatnonzero((images == picture).all(axis=(1, 2, 3))).tolist() for picture in found
    ]
    assert all(len(match) == 1 for match in matches)
    return [match[0] for match in matches]


def test_pixels_are_the_datas_own_and_crisp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = lay_out_images(tmp_path / "data" / "images", 60)
    chosen = indices(cells(shown(tmp_path, images=10)), images)
    assert len(chosen) == 10
    assert max(Counter(chosen).values()) == 1
    assert chosen != sorted(chosen)[:10]  # at random, not the first


def test_27_the_seed_chooses_and_0_is_a_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = lay_out_images(tmp_path / "data" / "images", 60)
    by_seed = [indices(cells(shown(tmp_path, images=10, seed=seed)), images) for seed in [0, 1, 0]]
    assert by_seed[0] == by_seed[2]
    assert set(by_seed[0]) != set(by_seed[1])


@pytest.mark.parametrize(("count", "asked"), [(3, 10), (1, 10), (7, 7), (9, 6)])
def test_fewer_pictures_than_asked_for_are_all_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, asked: int
) -> None:
    monkeypatch.chdir(tmp_path)
    images = lay_out_images(tmp_path / "data" / "images", count)
    chosen = indices(cells(shown(tmp_path, images=asked)), images)
    assert len(set(chosen)) == len(chosen) == min(count, asked)


def test_labels_stand_above_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = lay_out_images(tmp_path / "data" / "images", 30)
    figures: list[Any] = []
    monkeypatch.setattr(preview, "save_figure", lambda figure, path: figures.append(figure))
    write_params(tmp_path)
    preview.main()
    figure = figures[0]
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "Preview of Training Data"
    pictures = [axes.images[0].get_array().transpose(2, 0, 1) for axes in figure.axes]
    assert texts[2:] == ["abc"[index % 3] for index in indices(pictures, images)]
    for axes, text in zip(figure.axes, figure.texts[2:], strict=True):
        box = axes.get_position()
        x, y = text.get_position()
        assert x == pytest.approx((box.x0 + box.x1) / 2)
        assert box.y1 < y < box.y1 + 0.05
