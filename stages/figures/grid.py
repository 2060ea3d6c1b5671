"""The grid of images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from common.arrays import Array
from figures.style import DPI, GREY, HEADER, POINTS, heading, shorten, shrink_to

CELL = 115.2  # points: about the width of an image in a grid
COLUMNS = 5
GAP = 17  # points between images
LINE = 14.5  # points per line of a caption
LEAST_WIDTH = 460  # points of a figure, so that its title has room
NAME_LENGTH = 30  # characters of a name that are shown
TEXT_LENGTH = 60  # characters of a line of a text


@dataclass(frozen=True)
class Caption:
    """What stands above an image: a text in a colour and, above it in grey, the image's name."""

    text: str
    color: str = "black"
    name: str = ""

    @property
    def lines(self) -> list[tuple[str, str, int]]:
        """Text, colour and font size of each line, from the bottom up."""
        words = reversed(self.text.split("\n"))
        lines = [(shorten(line, TEXT_LENGTH), self.color, 12) for line in words]
        return [*lines, (shorten(self.name, NAME_LENGTH), GREY, 9)] if self.name else lines


def image_grid(
    images: Array,
    captions: Sequence[Caption],
    title: str,
    subtitle: str,
    columns: int = COLUMNS,
    cell: float = CELL,
) -> Figure:
    """Draw uint8 images, (N, 3, H, H), ``columns`` per row, each about ``cell`` points wide.

    A small image is enlarged by a whole number and lies on whole pixels, so that none of its own
    pixels is smoothed or uneven; a large one is resized to the cell.
    """
    images = fit_cell(images, pixels(cell))
    side = enlarged(images.shape[-1], pixels(cell))
    gap, header = pixels(GAP), pixels(HEADER)
    above = pixels(10 + LINE * max((len(caption.lines) for caption in captions), default=1))
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    width = max(columns * (side + gap) + gap, pixels(LEAST_WIDTH))
    height = header + rows * (side + above) + gap
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)  # without it, each text keeps a renderer as large as the figure
    heading(figure, title, subtitle, gap / width)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, columns)
        x, y = gap + column * (side + gap), height - header - (row + 1) * (side + above)
        times = side // image.shape[-1]
        cell_pixels = image.transpose(1, 2, 0).repeat(times, axis=0).repeat(times, axis=1)
        figure.figimage(cell_pixels, x, y, origin="upper")  # axes would take 15 ms each
        write_caption(figure, caption, x + side // 2, y + side, side + gap - pixels(6))
    return figure


def pixels(points: float) -> int:
    return round(points * DPI / POINTS)


def enlarged(size: int, wanted: int) -> int:
    """Return the multiple of ``size`` that is nearest to ``wanted``."""
    return size * max(1, round(wanted / size))


def fit_cell(images: Array, wanted: int) -> Array:
    """Resize images, (N, 3, H, H), to ``wanted`` pixels unless they are small."""
    size = images.shape[-1]
    if 2 * size <= wanted:
        return images
    resized = [
        Image.fromarray(image.transpose(1, 2, 0)).resize((wanted, wanted), Image.Resampling.LANCZOS)
        for image in images
    ]
    return np.array(resized, np.uint8).reshape(-1, wanted, wanted, 3).transpose(0, 3, 1, 2)


def write_caption(figure: Figure, caption: Caption, x: int, y: int, width: int) -> None:
    """Write the lines of a caption upwards from ``y``, centred at ``x``; arguments in pixels."""
    figure_width, figure_height = figure.get_size_inches() * DPI
    for number, (line, color, size) in enumerate(caption.lines):
        bottom = y + pixels(4 + number * LINE)
        text = figure.text(
            x / figure_width, bottom / figure_height, line, ha="center", va="bottom", color=color
        )
        text.set(fontsize=size, parse_math=False)
        shrink_to(text, width * POINTS / DPI)
