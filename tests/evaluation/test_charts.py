"""Figures whose texts neither overlap nor leave the picture, whatever the classes are called and however many."""

import itertools
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image
from torch import nn

import evaluate
from common.arrays import Array, Dataset, ImageFile, LabelledImages
from evaluation import charts
from figures.style import save_figure

TITLE = "a data set with a long name of its own, recipe tutorial"
CLASSES = [2, 3, 10, 20, 21, 50, 100]


def long_names(count: int) -> list[str]:
    """25 letters each, wide ones, and a sign that starts a formula."""
    return [f"{number:03d}${'Wm' * 11}"[:25] for number in range(count)]


def texts_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """What is written in a figure, and where, in pixels."""
    figure.draw_without_rendering()
    texts = cast("list[Text]", figure.findobj(Text))
    written = [text for text in texts if text.get_visible() and text.get_text().strip()]
    return [
        (text.get_text(), text.get_window_extent())
        for text in written
        if text.get_window_extent().width
    ]


def check_texts(figure: Figure, least: int) -> None:
    texts = texts_of(figure)
    assert len(texts) >= least
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 0.5 and box.y1 <= height + 0.5, (
            f"{text} is cut off"
        )
    for (one, box), (other, other_box) in itertools.combinations(texts, 2):
        across = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
        down = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
        assert min(across, down) <= 1, f"{one!r} and {other!r} overlap"


def made(classes: int, n: int = 12_000) -> tuple[Array, Array]:
    random = np.random.default_rng(classes)
    labels = np.arange(n) % classes
    predicted = np.where(random.random(n) < 0.6, labels, random.integers(0, classes, n))
    predicted[labels == 0] = 0  # 100.0 %, the widest number
    logits = random.normal(size=(n, classes))
    logits[np.arange(n), predicted] += 4
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


def matrix_of(probabilities: Array, labels: Array) -> Array:
    matrix = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(matrix, (labels, probabilities.argmax(axis=1)), 1)
    return matrix


def pictures(directory: Path, classes: list[str], labels: Array, size: int = 32) -> LabelledImages:
    path = directory / "images.npy"
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 3, size, size), np.uint8)
    np.save(path, images)
    counts = {"train": 1, "test": len(labels)}
    dataset = Dataset.model_validate(
        {
            "name": "made",
            "classes": classes,
            "image_size": size,
            "counts": counts,
            "source": "here",
            "sha256": None,
        }
    )
    return LabelledImages(dataset, ImageFile(path), labels)


@pytest.mark.parametrize("classes", CLASSES)
def test_class_accuracy(classes: int) -> None:
    probabilities, labels = made(classes)
    matrix = matrix_of(probabilities, labels)
    per_class = evaluate.measure_classes(probabilities, labels, matrix, long_names(classes))
    check_texts(charts.draw_class_accuracy(per_class, TITLE), least=2 * classes + 8)


@pytest.mark.parametrize("classes", CLASSES)
def test_confusion(classes: int) -> None:
    matrix = matrix_of(*made(classes))
    numbers = classes**2 if classes <= charts.MANY else 0
    check_texts(
        charts.draw_confusion(matrix, long_names(classes), TITLE), least=2 * classes + numbers + 5
    )


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_reliability(classes: int) -> None:
    bins = evaluate.calibrate(*made(classes))
    check_texts(charts.draw_reliability(bins, TITLE), least=evaluate.BINS + 10)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_mistakes(classes: int, tmp_path: Path) -> None:
    probabilities, labels = made(classes, n=500)
    predictions = evaluate.tabulate_predictions(probabilities, labels, long_names(classes))

    figure = charts.draw_mistakes(
        pictures(tmp_path, long_names(classes), labels), predictions, TITLE
    )

    check_texts(figure, least=charts.MISTAKES + 2)
    captions = [text for text, _ in texts_of(figure)][2:]
    wrong = predictions[predictions["actual"] != predictions["predicted"]]
    actual, predicted, confidence = max(
        wrong[["actual", "predicted", "confidence"]].to_numpy().tolist(),
        key=lambda row: float(row[2]),
    )
    assert captions[0] == f"{actual}\n→ {predicted}, {100 * confidence:.1f} %"
    assert all(
        actual != predicted for actual, predicted in (caption.split("\n→ ") for caption in captions)
    )


def test_no_mistakes(tmp_path: Path) -> None:
    labels = np.array([0, 1])
    predictions = evaluate.tabulate_predictions(np.eye(2), labels, ["a", "b"])
    figure = charts.draw_mistakes(pictures(tmp_path, ["a", "b"], labels), predictions, TITLE)
    assert "0 of 0 wrong answers" in texts_of(figure)[1][0]


@pytest.mark.parametrize("filters", [1, 6, 24, 96])
def test_filters(filters: int) -> None:
    figure = charts.draw_filters(
        nn.Sequential(nn.Conv2d(3, filters, 3), nn.Conv2d(filters, 2, 1)), TITLE
    )
    check_texts(figure, least=min(filters, charts.FILTERS) + 2)


def test_filters_are_scaled_one_by_one() -> None:
    weight = torch.zeros(3, 3, 1, 1)
    weight[0, :, 0, 0] = torch.tensor([0.5, -0.5, 0.0])
    weight[1, :, 0, 0] = torch.tensor([0.0, 0.002, -0.001])
    images = charts.visible(weight)
    assert images[:, :, 0, 0].tolist() == [[255, 0, 128], [128, 255, 64], [128, 128, 128]]


def test_same_figure_same_bytes(tmp_path: Path) -> None:
    matrix = matrix_of(*made(3))
    for name in ("one.png", "two.png"):
        save_figure(charts.draw_confusion(matrix, ["a", "b", "c"], TITLE), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert 600 <= Image.open(tmp_path / "one.png").width <= 1000
