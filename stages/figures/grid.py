"""The look of every figure, and the grid of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from common.arrays import Array
from common.files import replacing

# Okabe and Ito's colours, which survive colour blindness.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
GREEN, RED = "#007A3D", "#C00000"

DPI = 100  # so that sizes below are pixels / 100
CELL = 160  # pixels: about the width of a picture in a grid
COLUMNS = 5

STYLE: Any = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E0E0E0",
    "text.parse_math": False,  # a class may be called $5
}


@dataclass(frozen=True)
class Caption:
    """What stands above a picture of the grid."""

    text: str
    color: str = "black"


def picture_grid(
    images: Array,
    captions: Sequence[Caption],
    title: str,
    subtitle: str,
    columns: int = COLUMNS,
    cell: int = CELL,
) -> Figure:
    """Draw uint8 pictures, (N, 3, H, W), so many to a row, each under its caption.

    A pixel of a picture becomes a whole number of the figure's pixels, so that none is smoothed or uneven.
    """
    side = images.shape[-1] * max(1, round(cell / images.shape[-1]))
    lines = max((caption.text.count("\n") + 1 for caption in captions), default=1)
    gap, above, header = 24, 14 + 20 * lines, 84
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    width = max(columns * (side + gap) + gap, 640)
    height = header + rows * (side + above) + gap
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    left = (width - columns * (side + gap) + gap) / 2
    heading(figure, title, subtitle, left / width)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, columns)
        x, y = left + column * (side + gap), height - header - (row + 1) * (side + above)
        axes = figure.add_axes((x / width, y / height, side / width, side / height))
        axes.imshow(image.transpose(1, 2, 0), interpolation="none", aspect="auto")
        axes.set_axis_off()
        text = figure.text(
            (x + side / 2) / width,
            (y + side + 6) / height,
            caption.text,
            ha="center",
            va="bottom",
            fontsize=12,
        )
        text.set_color(caption.color)
        text.set_parse_math(False)
        shrink_to(text, side + gap - 8)
    return figure


def heading(figure: Figure, title: str, subtitle: str, left: float = 0.03) -> None:
    """Title and, smaller below it, the subtitle; ``left`` as a share of the figure's width."""
    height = figure.get_figheight() * DPI
    for text, below, size, weight, color in (
        (title, 14, 17, "bold", "black"),
        (subtitle, 44, 12, "normal", GREY),
    ):
        line = figure.text(
            left, 1 - below / height, text, va="top", fontsize=size, fontweight=weight, color=color
        )
        line.set_parse_math(False)
        shrink_to(line, (1 - 2 * left) * figure.get_figwidth() * DPI)


def shrink_to(text: Text, width: float) -> None:
    """Make a text's font smaller until it is at most ``width`` pixels wide."""
    extent = text.get_window_extent().width
    if extent > width:
        text.set_fontsize(float(text.get_fontsize()) * width / extent)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG without a date or a version in it, so that the same figure has the same bytes."""
    with replacing(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})
