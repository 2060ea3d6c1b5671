"""The surest mistakes with heat maps, of networks that have them and of those that have none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.arrays import ImageFile
from evaluation.explained import draw_explained, explain_mistakes
from evaluation.gradcam import blend, grad_cam
from figures.style import shorten
from made_predictions import make_images
from model.classifier import Classifier
from models import CLASSES, make_description, make_recipe, torchvision


def predictions(count: int, wrong: int) -> pd.DataFrame:
    """Return predictions, every third of them wrong until there are ``wrong``."""
    labels = np.arange(count) % 3
    mistaken = (np.arange(count) % 3 == 1) & (np.arange(count) < 3 * wrong)
    names = np.array(CLASSES, object)
    return pd.DataFrame(
        {
            "file": [f"{number}.jpg" for number in range(count)],
            "actual": names[labels],
            "predicted": names[(labels + mistaken) % 3],
            "confidence": 0.5 + np.arange(count) / 1000,
            "actual_probability": np.where(mistaken, 0.25, 0.5),
        }
    )


@pytest.fixture
def images(tmp_path: Path) -> ImageFile:
    return make_images(tmp_path, 60)


def test_each_mistake_stands_beside_the_maps_of_both_classes(images: ImageFile) -> None:
    classifier = Classifier(make_description(image_size=32))
    explained = explain_mistakes(classifier, images, predictions(60, wrong=20))
    figure = draw_explained(explained, "Title")
    surest = list(range(58, 58 - 30, -3))  # 1, 4, ... 58 are wrong
    rows = images.read(np.array(surest))
    maps = [grad_cam(classifier, rows, [label] * 10) for label in (2, 1)]
    cells = [np.asarray(image.get_array()).transpose(2, 0, 1) for image in figure.images]
    assert len(cells) == 30
    times = cells[0].shape[-1] // 32
    for number in range(10):
        shown = [cell[:, ::times, ::times] for cell in cells[3 * number : 3 * number + 3]]
        assert (shown[0] == rows[number]).all()
        for cell, heat in zip(shown[1:], maps, strict=True):
            assert (cell == blend(rows, heat)[number]).all()
    texts = [text.get_text() for text in figure.texts[2:]]
    assert texts[:6] == ["öre", "58.jpg", "55.8 %", "→ sou", "25.0 %", "öre"]


@pytest.mark.parametrize("wrong", [0, 5])
def test_a_network_without_rows_and_columns_has_a_figure_without_images(
    wrong: int, images: ImageFile
) -> None:
    recipe = make_recipe(network=torchvision("vit_b_32"))
    classifier = Classifier(make_description(recipe, image_size=32))
    explained = explain_mistakes(classifier, images, predictions(60, wrong))
    reason = "network vit_b_32 has no rows and columns" if wrong else "no prediction is wrong"
    assert explained.missing.startswith(reason)
    figure = draw_explained(explained, "Title")
    assert not figure.images
    assert figure.texts[1].get_text() == shorten("Title: no heat maps, report.html says why", 120)
