"""Figures whose texts neither overlap nor leave them, whatever the classes are called."""

import itertools
import math
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image
from torch import nn

from common.arrays import Array
from evaluation import charts, galleries
from evaluation.coverage import at_thresholds, coverage_curve
from evaluation.curves import draw_history
from evaluation.history import Row
from evaluation.metrics import BINS
from figures.style import DPI, save_figure, shorten
from made_predictions import class_names, long_names, make_images, make_measurements

TITLE = "a data set with a long name of its own, recipe tutorial"
CLASSES = [2, 3, 10, 25, 26, 30, 31, 100]


def texts_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return what is written in a figure, and where, in pixels."""
    drawn: list[Text] = []
    draw = Text.draw

    def record(text: Text, renderer: RendererBase) -> None:
        drawn.append(text)
        draw(text, renderer)

    with patch.object(Text, "draw", record):
        figure.draw_without_rendering()
    return [
        (text.get_text(), text.get_window_extent()) for text in drawn if text.get_text().strip()
    ]


def check_texts(figure: Figure, least: int) -> list[str]:
    """Check that no text is cut off or overlaps another one, and return all of them."""
    texts = texts_of(figure)
    assert len(texts) >= least
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 1 and box.y1 <= height + 1, (
            f"{text} is cut off"
        )
    for (one, box), (other, other_box) in itertools.combinations(texts, 2):
        across = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
        down = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
        assert min(across, down) <= 2, f"{one!r} and {other!r} overlap"
    return [text for text, _ in texts]


@pytest.mark.parametrize("classes", CLASSES)
def test_class_accuracy_is_readable(classes: int) -> None:
    measured = make_measurements(long_names(classes))
    figure = charts.draw_class_accuracy(measured.per_class, TITLE)
    check_texts(figure, least=2 * min(classes, 30) + 8)


def test_class_accuracy_shows_the_15_best_and_worst_of_many_classes() -> None:
    measured = make_measurements(class_names(100), n=5000)
    figure = charts.draw_class_accuracy(measured.per_class, TITLE)
    assert "70 classes between these" in check_texts(figure, least=60)
    ranked = measured.per_class.sort_values("percent", kind="stable")["class"].tolist()
    shown = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert shown == ranked[:15] + ranked[-15:]


def test_class_accuracy_marks_the_chance_of_each_class() -> None:
    measured = make_measurements(class_names(4))
    (axes,) = charts.draw_class_accuracy(measured.per_class, TITLE).axes
    (marks,) = (line for line in axes.lines if str(line.get_label()).startswith("chance"))
    ranked = measured.per_class.sort_values("percent", kind="stable")
    assert np.asarray(marks.get_xdata()).tolist() == ranked["chance"].tolist()
    assert np.asarray(marks.get_ydata()).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("classes", CLASSES)
def test_the_confusion_matrix_is_readable(classes: int) -> None:
    measured = make_measurements(long_names(classes), n=3000)
    figure = charts.draw_confusion(measured.matrix, long_names(classes), TITLE)
    check_texts(figure, least=3 * min(classes, 25) + 5)


def numbers_of(figure: Figure) -> dict[tuple[str, str], str]:
    """Return what stands in the cells of a confusion matrix: {(actual, predicted): text}."""
    axes = figure.axes[0]
    columns = [text.get_text() for text in axes.get_xticklabels()]
    rows = [text.get_text() for text in axes.get_yticklabels()]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "actual")
    cells = ((*text.get_position(), text.get_text()) for text in axes.texts)
    return {(rows[int(y)], columns[int(x)]): text for x, y, text in cells}


def test_the_confusion_matrix_has_percents_of_the_actual_class() -> None:
    figure = charts.draw_confusion(np.array([[6, 2, 0], [0, 5, 0], [1, 1, 0]]), list("abc"), TITLE)
    cells = {key: text for key, text in numbers_of(figure).items() if text}
    assert cells == {
        ("a", "a"): "75",
        ("a", "b"): "25",
        ("b", "b"): "100",
        ("c", "a"): "50",
        ("c", "b"): "50",
    }


def test_of_many_classes_the_25_confused_most_are_shown_and_the_others_summed() -> None:
    matrix = 100 * np.eye(40, dtype=np.int64)
    confused = [*range(1, 40, 2), 30, 32, 34, 36, 38]
    for label in confused:
        matrix[label, (label + 1) % 40] = 100  # and to 0, 2, ... as often: their rows are right
        matrix[label, 0] = 200
    figure = charts.draw_confusion(matrix, class_names(40), TITLE)
    cells = numbers_of(figure)
    shown = {actual for actual, _ in cells}
    assert len(shown) == 25
    assert len({predicted for _, predicted in cells}) == 26
    percents = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    for (actual, predicted), text in cells.items():
        row = percents[int(actual.split()[1])]
        others = sum(row[label] for label in range(40) if f"class {label}" not in shown)
        percent = others if predicted == "any other" else row[int(predicted.split()[1])]
        assert text == (f"{percent:.0f}" if percent else "")
    assert any(text for (_, predicted), text in cells.items() if predicted == "any other")
    hidden = [label for label in range(40) if f"class {label}" not in shown]
    mistakes = matrix - np.diag(matrix.diagonal())
    involved = mistakes.sum(axis=0) + mistakes.sum(axis=1)
    least_shown = min(involved[int(name.split()[1])] for name in shown)
    assert max(involved[label] for label in hidden) <= least_shown


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_reliability_is_readable(classes: int) -> None:
    measured = make_measurements(long_names(classes))
    check_texts(charts.draw_reliability(measured.bins, TITLE), least=BINS + 10)


@pytest.mark.parametrize("classes", [2, 3, 10, 30, 100])
def test_coverage_is_readable(classes: int) -> None:
    measured = make_measurements(long_names(classes))
    check_texts(charts.draw_coverage(measured.curve, measured.thresholds, TITLE), least=12)


def test_coverage_draws_the_curve_and_marks_thresholds_with_their_names() -> None:
    measured = make_measurements(class_names(10))
    (axes,) = charts.draw_coverage(measured.curve, measured.thresholds, TITLE).axes
    curve, marks, *_ = [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
    assert curve == measured.curve[["share", "percent"]].to_numpy().tolist()
    labels: list[Any] = list(axes.texts)
    assert len(labels) == len(marks) >= 4
    for label, mark in zip(labels, marks, strict=True):
        (row,) = measured.thresholds.query(f"confidence == {label.get_text()}").to_dict("records")
        assert label.xy == (row["share"], row["percent_high"])
        assert mark == [row["share"], row["percent"]]
    assert np.diff([share for share, _ in marks]).min() >= 5  # no label on another's interval


@pytest.mark.parametrize("confidence", [0.65, 0.999])
def test_coverage_is_drawn_whole_where_no_threshold_leaves_images_out(
    confidence: float,
) -> None:
    probabilities = np.array([[confidence, 1 - confidence]] * 20, np.float32)
    curve = coverage_curve(probabilities, np.arange(20) % 2)
    (axes,) = charts.draw_coverage(curve, at_thresholds(curve), TITLE).axes
    assert axes.get_xlim()[0] < 0


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_coverage_of_answers_that_are_all_right_or_all_wrong_is_readable(right: float) -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]], np.float32)
    curve = coverage_curve(probabilities, np.full(3, 1 - int(right)))
    assert set(curve["percent"]) == {100 * right}
    check_texts(charts.draw_coverage(curve, at_thresholds(curve), TITLE), least=10)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_mistakes_have_names_classes_and_confidence(classes: int, tmp_path: Path) -> None:
    names = long_names(classes)
    measured = make_measurements(names, n=500)
    images = make_images(tmp_path, 500)

    figure = galleries.draw_mistakes(images, measured.predictions, TITLE)

    check_texts(figure, least=3 * galleries.MISTAKES + 2)
    texts = [text.get_text() for text in figure.texts][2:]
    wrong = measured.predictions.query("actual != predicted")
    surest = wrong.sort_values("confidence", ascending=False, kind="stable").iloc[0]
    assert texts[:3] == [
        f"→ {shorten(surest['predicted'], 24)}, {100 * surest['confidence']:.1f} %",
        shorten(surest["actual"], 24),
        shorten(surest["file"], 30),
    ]
    drawn = np.asarray(figure.images[0].get_array()).transpose(2, 0, 1)
    first = images.read(np.array([surest.name]))[0]
    times = drawn.shape[-1] // 32
    assert (drawn == first.repeat(times, 1).repeat(times, 2)).all()


def test_without_mistakes_the_figure_says_so(tmp_path: Path) -> None:
    predictions = make_measurements(class_names(3)).predictions.query("actual == predicted")
    figure = galleries.draw_mistakes(make_images(tmp_path, 1), predictions, TITLE)
    assert "0 of 0 mistakes" in check_texts(figure, least=2)[1]


@pytest.mark.parametrize("filters", [1, 6, 24, 96])
def test_filters_are_numbered(filters: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, filters, 3), nn.Conv2d(filters, 2, 1))
    figure = galleries.draw_filters(network, TITLE)
    check_texts(figure, least=min(filters, galleries.FILTERS) + 2)


@pytest.mark.parametrize(
    "network", [nn.Linear(3, 2), nn.Conv2d(1, 5, 3), nn.Conv2d(3, 5, (1, 7)), nn.Sequential()]
)
def test_a_network_without_filters_over_colours_is_told(network: nn.Module) -> None:
    texts = check_texts(galleries.draw_filters(network, TITLE), least=2)
    assert "no convolution over red, green and blue" in texts[1]


def test_filters_are_scaled_one_by_one() -> None:
    weight = torch.zeros(3, 3, 1, 1)
    weight[0, :, 0, 0] = torch.tensor([0.5, -0.5, 0.0])
    weight[1, :, 0, 0] = torch.tensor([0.0, 0.002, -0.001])
    images = galleries.visible(weight)
    assert images[:, :, 0, 0].tolist() == [[255, 0, 128], [128, 255, 64], [128, 128, 128]]


def history(epochs: int, validation: float) -> list[Row]:
    return [
        {
            "epoch": float(epoch),
            "learning_rate": 0.1,
            "train_loss": 2 / epoch,
            "train_accuracy": 50.0,
            "validation_loss": validation,
            "validation_accuracy": 2 * validation,
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 5, 200])
def test_curves_have_whole_epochs(epochs: int) -> None:
    figure = draw_history(history(epochs, 1.0), TITLE)
    check_texts(figure, least=10)
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks and all(tick == round(tick) for tick in ticks)
        assert len(ticks) <= 7


def test_curves_show_validation_only_where_there_is_some() -> None:
    with_it, without = (
        draw_history(history(3, 1.5), TITLE),
        draw_history(history(3, math.nan), TITLE),
    )
    assert [len(axes.lines) for axes in with_it.axes] == [2, 2, 1]
    assert [len(axes.lines) for axes in without.axes] == [1, 1, 1]
    assert [line.get_label() for line in with_it.axes[0].lines] == ["train", "validation"]
    assert not any(axes.get_legend() for axes in without.axes)
    assert np.asarray(with_it.axes[1].lines[1].get_ydata()).tolist() == [3.0, 3.0, 3.0]


def test_the_same_figure_has_the_same_bytes_at_200_dots_per_inch(tmp_path: Path) -> None:
    matrix: Array = make_measurements(class_names(3)).matrix
    for name in ("one.png", "two.png"):
        save_figure(charts.draw_confusion(matrix, ["a", "b", "c"], TITLE), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        assert DPI == 200
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
        assert 1200 <= image.width <= 2000
