"""The grid of images."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from common.arrays import Array
from figures.style import DPI, heading, shrink_to

CELL = 160  # pixels: about the width of a picture in a grid
COLUMNS = 5


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
