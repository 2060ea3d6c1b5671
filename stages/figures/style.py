"""The look of every figure. Sizes are in points, so that the resolution does not change them."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text

from common.errors import printable
from common.files import replacing

# Okabe and Ito's colours, which survive colour blindness.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
GREEN, RED = "#007A3D", "#C00000"

DPI = 200
POINTS = 72  # per inch
HEADER = 60  # points that title and subtitle take at the top of a figure
STYLE: Any = {
    "figure.dpi": DPI,
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
    """Write title and subtitle; ``left`` is the margin as a share of the figure's width."""
    height = figure.get_figheight() * POINTS
    for text, below, size, weight, color in (
        (title, 10, 17, "bold", "black"),
        (subtitle, 32, 12, "normal", GREY),
    ):
        line = figure.text(
            left,
            1 - below / height,
            shorten(text, 120),
            va="top",
            fontsize=size,
            fontweight=weight,
            color=color,
            parse_math=False,
        )
        shrink_to(line, (1 - 2 * left) * figure.get_figwidth() * POINTS)


def width_of(text: Text) -> float:
    """Return the width of a text in points."""
    figure = text.get_figure(root=True)
    assert figure is not None
    return float(text.get_window_extent(dpi=figure.dpi).width) * POINTS / figure.dpi


def shrink_to(text: Text, width: float) -> None:
    """Make a font smaller, to 1 point at least, until its text is at most ``width`` points wide."""
    while (actual := width_of(text)) > width and float(text.get_fontsize()) > 1:
        # The width is not in proportion to the size, since letters are fitted to pixels.
        text.set_fontsize(float(text.get_fontsize()) * min(0.99, width / actual))


def shorten(text: str, length: int) -> str:
    """Return ``text`` on one line of ``length`` characters or fewer, without its middle if long.

    A letter that no configured font has becomes a box. For Chinese, say, put
    ``font.family: DejaVu Sans, Noto Sans CJK SC`` into a matplotlibrc file.
    """
    line = drawable(printable(text))
    if len(line) <= length:
        return line
    end = length // 2
    return f"{line[: length - end - 1]}…{line[-end:]}"


def drawable(text: str) -> str:
    """Return ``text`` with a box for each character that matplotlib could only warn about."""
    families = FontProperties().get_family()
    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in families]
    return "".join(
        character if any(font.get_char_index(ord(character)) for font in fonts) else "□"
        for character in text
    )


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG without a date or a version in it, so that the same figure has the same bytes."""
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=DPI, metadata={"Software": None})
