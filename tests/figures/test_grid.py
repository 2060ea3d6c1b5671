"""The grid of images: crisp where images are small, resized where they are large, captioned."""

from pathlib import Path
from typing import cast

import matplotlib
import numpy as np
import pytest
from matplotlib.image import FigureImage
from PIL import Image

from common.arrays import Array
from figures.grid import Caption, image_grid
from figures.style import DPI, GREY, POINTS, RED, heading, save_figure, shorten, shrink_to, width_of


def noise(count: int, size: int) -> Array:
    """Return images without white, so that they can be found on white."""
    return np.random.default_rng(size).integers(0, 200, (count, 3, size, size), np.uint8)


def drawn(images: Array, captions: list[Caption], path: Path) -> Array:
    """Return the pixels of a grid, uint8 (H, W, 3)."""
    save_figure(image_grid(images, captions, "Title", "subtitle"), path / "grid.png")
    with Image.open(path / "grid.png") as image:
        return np.asarray(image.convert("RGB"))


def find(pixels: Array, side: int, columns: int, rows: int, above: int) -> Array:
    """Return what lies where the layout puts the images, (N, side, side, 3)."""
    gap, header = round(17 * DPI / POINTS), round(60 * DPI / POINTS)
    return np.stack(
        [
            pixels[y : y + side, x : x + side]
            for row in range(rows)
            for column in range(columns)
            for y in [header + row * (side + above) + above]
            for x in [gap + column * (side + gap)]
        ]
    )


@pytest.mark.parametrize(("size", "side"), [(1, 320), (8, 320), (28, 308), (32, 320), (150, 300)])
def test_pixels_of_small_images_become_squares_of_whole_pixels(
    size: int, side: int, tmp_path: Path
) -> None:
    images = noise(7, size)
    pixels = drawn(images, [Caption("a")] * 7, tmp_path)
    found = find(pixels, side, columns=5, rows=2, above=round((10 + 14.5) * DPI / POINTS))
    expected = images.transpose(0, 2, 3, 1).repeat(side // size, 1).repeat(side // size, 2)
    assert (found[:7] == expected).all()
    assert (found[7:] == 255).all()


@pytest.mark.parametrize("size", [161, 224, 512])
def test_large_images_are_resized_to_their_cell(size: int, tmp_path: Path) -> None:
    images = np.full((2, 3, size, size), 100, np.uint8)
    images[:, 0, :, : size // 2] = 200
    pixels = drawn(images, [Caption("a")] * 2, tmp_path)
    found = find(pixels, 320, columns=2, rows=1, above=round((10 + 14.5) * DPI / POINTS))
    assert (found[:, :, 5:150] == [200, 100, 100]).all()
    assert (found[:, :, 170:315] == [100, 100, 100]).all()


def test_the_name_stands_in_grey_above_the_text_in_its_colour() -> None:
    caption = Caption("first\nsecond", RED, name="folder/" + "long" * 20 + "/image.jpg")
    figure = image_grid(noise(1, 32), [caption], "Title", "subtitle")
    lines = {text.get_text(): text for text in figure.texts[2:]}
    name = "folder/longlo…ongong/image.jpg"
    assert shorten(caption.name, 30) in lines
    assert len(lines) == 3 and len(name) == 30
    ordered = sorted(lines.values(), key=lambda text: -text.get_position()[1])
    assert [text.get_color() for text in ordered] == [GREY, RED, RED]
    assert [text.get_text() for text in ordered[1:]] == ["first", "second"]
    (image,) = cast("list[FigureImage]", figure.images)
    top = image.get_extent()[3] / figure.bbox.height
    assert all(text.get_position()[1] > top for text in ordered)


def test_an_empty_grid_is_a_figure_with_its_title() -> None:
    figure = image_grid(noise(1, 8)[:0], [], "Title", "subtitle")
    assert [text.get_text() for text in figure.texts] == ["Title", "subtitle"]
    assert [text.get_fontsize() for text in figure.texts] == [17, 12]


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("short", 5, "short"),
        ("abcdefghij", 9, "abcd…ghij"),
        ("abcdefghij", 4, "a…ij"),
        ("line\nbreak", 20, r"line\nbreak"),
        ("\x1b[31mred", 20, r"\x1b[31mred"),
        ("a\u202eb", 20, r"a\u202eb"),
        ("a猫é", 20, "a□é"),
    ],
)
def test_names_are_shortened_in_the_middle_and_made_printable(
    text: str, length: int, expected: str
) -> None:
    with matplotlib.rc_context({"font.family": ["DejaVu Sans"]}):
        assert shorten(text, length) == expected
    assert len(expected) <= length


@pytest.mark.parametrize("letters", [10, 100, 300])
def test_titles_never_leave_the_figure(letters: int) -> None:
    figure = image_grid(noise(1, 8), [Caption("a")], "W" * letters, "$\n" * letters)
    width = figure.get_figwidth() * POINTS
    assert all(width_of(text) <= width * 0.94 + 0.01 for text in figure.texts[:2])


def test_a_text_that_fits_keeps_its_size() -> None:
    figure = image_grid(noise(1, 8), [Caption("a")], "Title", "subtitle")
    text = figure.texts[0]
    shrink_to(text, 1000)
    assert text.get_fontsize() == 17
    heading(figure, "Title", "subtitle")
    assert {text.get_fontsize() for text in figure.texts[-2:]} == {17, 12}


def test_a_figure_has_200_dots_per_inch_and_neither_date_nor_version(tmp_path: Path) -> None:
    drawn(noise(1, 8), [Caption("a")], tmp_path)
    with Image.open(tmp_path / "grid.png") as image:
        image.load()
        assert image.info.keys() == {"dpi"}
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)


@pytest.mark.filterwarnings("error")
def test_letters_that_no_font_has_cause_no_warnings(tmp_path: Path) -> None:
    drawn(noise(1, 8), [Caption("собака 猫 🐶", name="猫.jpg")], tmp_path)
