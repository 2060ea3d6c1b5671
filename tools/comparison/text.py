"""Both comparisons as text of at most 100 columns."""

import textwrap
from collections.abc import Iterator

from common.errors import printable
from comparison.models import Comparison, Pairs
from comparison.statistics import FEWEST, SIGNIFICANT
from comparison.verdicts import Row, Table
from figures.style import shorten

COLUMNS = 100
LONGEST_NAME = 36  # of a class or a revision; longer ones lose their middle


def models_as_text(
    a: str, b: str, overall: Comparison, moved: dict[str, Comparison], pairs: Pairs, unknown: str
) -> str:
    """Return what is known about two models, and what is not known about the change."""
    names = [shorten(name, LONGEST_NAME) for name in (a, b, *moved)]
    width = max(map(len, [*names, "difference"]))
    differ = "differ" if overall.p_value < SIGNIFICANT else "are not shown to differ"
    verdict = f"these two models {differ} on these test images"
    lines = [
        f"{names[0]:{width}}  {overall.accuracy_a:6.2f} % of {in_common(pairs, overall.n)}",
        f"{names[1]:{width}}  {overall.accuracy_b:6.2f} %",
        f"{'difference':{width}}  {interval_of(overall)}",
        f"{'McNemar':{width}}  p = {overall.p_value:.3g}: {verdict}",
        "classes that moved:" if moved else "no class moved by more than chance would make it",
    ]
    for name, one in zip(names[2:], moved.values(), strict=True):
        change = f"{one.accuracy_a:6.2f} to {one.accuracy_b:.2f} %: {interval_of(one)}"
        lines.append(f"{name:{width}}  {change}")
    return "\n".join([*lines, *about_interval(overall), *wrapped(pairs.note), "", unknown])


def about_interval(one: Comparison) -> list[str]:
    """Return which of test and interval counts where only one of them speaks for a difference."""
    without_0 = one.difference_low > 0 or one.difference_high < 0
    if without_0 == (one.p_value < SIGNIFICANT):
        return []
    return wrapped(
        "The interval and the test disagree. The test is exact, so believe it; the interval is "
        "approximate, above all where few predictions changed."
    )


def in_common(pairs: Pairs, n: int) -> str:
    if n == pairs.total_a == pairs.total_b:
        return f"{n:,} test images"
    other_label = f"; {pairs.relabelled:,} changed labels" if pairs.relabelled else ""
    return f"{n:,} test images in common (of {pairs.total_a:,} and {pairs.total_b:,}{other_label})"


def interval_of(one: Comparison) -> str:
    low, high = one.difference_low, one.difference_high
    return f"{one.difference:+6.2f} (95 % interval {low:+.2f} to {high:+.2f})"


def groups_as_text(table: Table) -> str:
    """Return the groups, their differences from the baseline, how to read them, and the notes."""
    lines = [*means(table), ""]
    if len(table.rows) == 1:
        lines += wrapped(
            "One group: nothing to compare it with. Vary something beside the seed, such as "
            "-S 'recipes.quick.label_smoothing=0.0,0.1'."
        )
    else:
        lines += [*differences(table), "", *legend(table)]
    return "\n".join([*lines, *(line for note in table.notes for line in wrapped(note))])


def means(table: Table) -> Iterator[str]:
    """Yield a line per group: seeds, mean, standard deviation, interval of the mean."""
    unit = "in nats" if table.is_loss else "in %"
    better = "lower" if table.lower_is_better else "higher"
    yield f"{table.metric} {unit}, {better} is better"
    yield ""
    heads = f"{'n':>3}  {'mean':>8}  {'sd':>7}  {'95 % interval of the mean':>25}"
    width = name_width(table, COLUMNS - len(heads) - 2 - len("  baseline"))
    yield f"{'group':{width}}  {heads}"
    for row in table.rows:
        interval = ends(table, row.mean_low, row.mean_high, "")
        cells = (
            f"{len(row.values):3}  {number(table, row.mean):>8}  {number(table, row.sd):>7}"
            f"  {interval:>25}{'  baseline' if row.baseline else ''}"
        )
        yield from named(row, cells, width)


def differences(table: Table) -> Iterator[str]:
    """Yield a line per group but the baseline: difference, interval, p, power, verdict."""
    heads = f"{'difference':>10}  {'95 % interval':>20}  {'p':>7}  {'could show':>10}  verdict"
    width = name_width(table, COLUMNS - len(heads) - 2 - 14)  # the longest verdict has 21 letters
    yield f"{'from baseline':{width}}  {heads}"
    mixed = len(tests(table)) > 1
    for row in table.rows[1:]:
        interval = ends(table, row.difference_low, row.difference_high, "+")
        star = "*" if mixed and row.test == "Welch" else " " if mixed else ""
        cells = (
            f"{number(table, row.difference, '+'):>10}  {interval:>20}  {p_value(row) + star:>7}"
            f"  {number(table, row.smallest_difference):>10}  {row.verdict}"
        )
        yield from named(row, cells, width)


def name_width(table: Table, room: int) -> int:
    longest = max(len(printable(row.group.name)) for row in table.rows)
    return max(len("from baseline"), min(longest, room))


def named(row: Row, cells: str, width: int) -> Iterator[str]:
    """Yield a row's cells after its name, on a line of their own if the name is too long."""
    name = printable(row.group.name)
    if len(name) > width:
        yield from wrapped(name)
        name = ""
    yield f"{name:{width}}  {cells}".rstrip()


def ends(table: Table, low: float | None, high: float | None, sign: str) -> str:
    return "" if low is None else f"{number(table, low, sign)} to {number(table, high, sign)}"


def number(table: Table, value: float | None, sign: str = "") -> str:
    """Return a number with 2 digits after the point, 4 of a loss; nothing for None."""
    return "" if value is None else format(value, f"{sign}.{4 if table.is_loss else 2}f")


def p_value(row: Row) -> str:
    if row.p_holm is None:
        return ""
    return f"{row.p_holm:.3f}" if row.p_holm >= 0.001 else "<0.001"


def tests(table: Table) -> set[str]:
    return {row.test for row in table.rows if row.test is not None}


def legend(table: Table) -> Iterator[str]:
    """Yield what the columns mean, as far as they have entries."""
    which = tests(table)
    if which:
        by = {
            frozenset({"paired t"}): "paired t-test by seeds that both groups have",
            frozenset({"Welch"}): "Welch's t-test, since the groups have other seeds",
        }.get(frozenset(which), "paired t-test by seeds that both have, or * Welch's, other seeds")
        shared = (
            f"; adjusted for {table.comparisons} comparisons (Holm), the intervals are not"
            if table.comparisons > 1
            else ""
        )
        yield from wrapped(f"p: {by}{shared}. A verdict needs p below 0.05.")
    if any(row.pairs and row.pairs < len(table.rows[0].values) for row in table.rows):
        yield "Where a group has fewer seeds than the baseline, the difference is over those."
    if any(row.smallest_difference is not None for row in table.rows):
        level = f" divided by {table.comparisons}" if table.comparisons > 1 else ""
        yield from wrapped(
            "could show: the true difference, up or down, that so many seeds with this spread show "
            f"with 80 % power at 5 %{level}."
        )
    if any(len(row.values) < FEWEST for row in table.rows):
        yield from wrapped(
            f"Fewer than {FEWEST} seeds on either side: no verdict. More: dvc exp run --queue "
            "-S 'train.seed=range(0,5)' with the group's parameters, then dvc exp run --run-all."
        )


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(printable(text), COLUMNS, break_on_hyphens=False, subsequent_indent="  ")
