"""The look of every figure."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from common.files import replacing

# Okabe and Ito's colours, which survive colour blindness.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
GREEN, RED = "#007A3D", "#C00000"

DPI = 100  # so that sizes below are pixels / 100
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
