"""The figures hold what they are about, with few and many classes and with hostile names."""

from typing import Any

import pytest

from inspection.charts import draw_class_counts


def texts(figure: Any) -> list[str]:
    axes = figure.axes[0]
    return [text.get_text() for text in [*axes.texts, *axes.get_yticklabels()]]


@pytest.mark.parametrize("count", [2, 10, 30])
def test_every_class_has_two_bars_as_long_as_its_counts(count: int) -> None:
    classes: Any = {f"c{n}": {"train": 1000 * n + 7, "test": 100 * n} for n in range(count)}
    figure = draw_class_counts(classes, "")
    axes: Any = figure.axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    largest_first = list(reversed(range(count)))
    assert widths == [1000 * n + 7 for n in largest_first] + [100 * n for n in largest_first]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"c{n}" for n in largest_first]
    assert axes.yaxis_inverted()  # the first is on top
    assert f"{1000 * (count - 1) + 7:,}" in texts(figure)


def test_of_a_thousand_classes_the_largest_and_smallest_are_shown() -> None:
    classes: Any = {f"c{n}": {"train": n, "test": 1} for n in range(1, 1001)}
    shown = texts(draw_class_counts(classes, ""))
    assert {"c1000", "c986", "c15", "c1"} <= set(shown)
    assert not {"c985", "c16"} & set(shown)
    assert any("970 classes" in text for text in shown)


def test_names_are_drawn_as_they_are_and_shortened() -> None:
    classes: Any = {"$5^2$": {"train": 1, "test": 1}, "x" * 200: {"train": 1, "test": 0}}
    figure = draw_class_counts(classes, "$a$")
    assert "$5^2$" in texts(figure)
    assert max(map(len, texts(figure))) < 40
    assert all(not text.get_parse_math() for text in figure.axes[0].get_yticklabels())
    figure.canvas.draw()
