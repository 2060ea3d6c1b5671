"""The groups as a figure: a dot per seed, each group's mean and its 95 % interval."""

import textwrap

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.errors import printable
from comparison.statistics import BETTER, FEWEST, WORSE
from comparison.text import ends, number
from comparison.verdicts import Row, Table
from figures.style import BLUE, GREEN, GREY, HEADER, POINTS, RED, STYLE, heading

WIDTH = 640  # points
LINE = 17  # points per line of a name
BELOW = 60  # points for the axis and its label
LETTERS = 34  # per line of a name
LINES = 4  # of a name; what is longer ends in an ellipsis
COLORS = {BETTER: GREEN, WORSE: RED}


def group_figure(table: Table) -> Figure:
    """Draw a row per group, the baseline at the top."""
    names = [label(table, row) for row in table.rows]
    heights = [max(46, 14 + LINE * (name.count("\n") + 1)) for name in names]
    height = HEADER + sum(heights) + BELOW
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / POINTS, height / POINTS))
        bottom, top = BELOW / height, 1 - HEADER / height
        axes = figure.add_axes((0.42, bottom, 0.55, top - bottom))
        centers = [sum(heights[:index]) + each / 2 for index, each in enumerate(heights)]
        for row, center in zip(table.rows, centers, strict=True):
            draw_row(axes, row, center)
        axes.axvline(table.rows[0].mean, color=GREY, linestyle=":", linewidth=1.5, zorder=1)
        axes.set_yticks(centers, names, fontsize=11)
        axes.set_ylim(sum(heights), 0)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.set_xlabel(table.metric if table.is_loss else f"{table.metric}, %")
        counted = f"{len(names)} group{'s' if len(names) > 1 else ''} of runs"
        better = "lower" if table.lower_is_better else "higher"
        heading(
            figure,
            f"{counted} by {table.metric}",
            f"dot: a seed; bar: mean and 95 % interval; {better} is better; "
            "numbers: difference from the baseline",
        )
    return figure


def label(table: Table, row: Row) -> str:
    """Return a group's name in short lines, its number of seeds, verdict and difference."""
    lines = textwrap.wrap(
        printable(row.group.name), LETTERS, max_lines=LINES, placeholder="…", break_on_hyphens=False
    )
    said = "baseline" if row.baseline else row.verdict or ""
    lines.append(f"n = {len(row.values)}, {said}")
    if interval := ends(table, row.difference_low, row.difference_high, "+"):
        lines.append(f"{number(table, row.difference, '+')} ({interval})")
    return "\n".join(lines)


def draw_row(axes: Axes, row: Row, center: float) -> None:
    """Draw the seeds a little above ``center`` and the mean a little below."""
    color = COLORS.get(row.verdict or "", BLUE)
    axes.plot(
        row.values, [center - 7] * len(row.values), "o", color=color, alpha=0.5, markersize=7, mew=0
    )
    if len(row.values) < FEWEST:
        return  # of two seeds the interval is so wide that nothing else could be seen
    assert row.mean_low is not None and row.mean_high is not None
    ends = [[row.mean - row.mean_low], [row.mean_high - row.mean]]
    axes.errorbar(row.mean, center + 7, xerr=ends, fmt="D", color=color, capsize=4, markersize=6)
