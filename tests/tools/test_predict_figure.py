"""tools/predict.py --figure draws each image with its name and its class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import predict
import prediction.figure
from figures.style import save_figure
from helpers import lay_out, solid
from models import rewrite, save_whitened
from predictions import expected, pngs_of, run
from project import Project


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    drawn: list[Any] = []

    def keep_and_save(figure: Any, path: Path) -> None:
        drawn.append(figure)
        save_figure(figure, path)

    monkeypatch.setattr(prediction.figure, "save_figure", keep_and_save)
    return drawn


def test_the_figure_holds_each_image_with_its_name_and_class(
    trained: Project, monkeypatch: pytest.MonkeyPatch, figures: list[Any]
) -> None:
    lay_out(trained.path / "images", pngs_of(trained, 7))
    run(monkeypatch, "images", "--figure", "out.png")
    with Image.open("out.png") as image:
        assert image.format == "PNG"
        assert image.height < image.width  # rows of five
    probabilities = expected(trained.model, trained.images / "test_images.npy", 7)
    texts = [text.get_text() for text in figures[0].texts]
    for index, row in enumerate(probabilities):
        assert f"{row.argmax()}: {100 * row.max():.1f} %" in texts
        assert f"{index:03}.png" in texts
    images = np.load(trained.images / "test_images.npy")
    assert len(figures[0].images) == 7
    for index, drawn in enumerate(figures[0].images):
        pixels = drawn.get_array().transpose(2, 0, 1)
        times = pixels.shape[-1] // images.shape[-1]
        assert (pixels == images[index].repeat(times, 1).repeat(times, 2)).all()


def test_a_figure_of_very_many_images_says_how_many_are_left_out(
    trained: Project, monkeypatch: pytest.MonkeyPatch, figures: list[Any]
) -> None:
    lay_out(trained.path / "images", pngs_of(trained, 5))
    monkeypatch.setattr(predict, "MOST_DRAWN", 2)
    run(monkeypatch, "images", "--figure", "out.png")
    assert len(figures[0].images) == 2
    assert figures[0].texts[1].get_text() == "digits, recipe quick; 3 more images left out"


def test_names_of_the_data_cannot_break_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: list[Any]
) -> None:
    path = save_whitened(tmp_path / "m.safetensors", "float32")
    names = {"classes": ["a\nb"] * 3, "dataset": "data\n\x1b[31m"}
    rewrite(path, lambda _, description: description.update(names))
    lay_out(tmp_path, {"image\n.png": solid(0)})
    run(monkeypatch, path, tmp_path / "image\n.png", "--figure", tmp_path / "out.png")
    texts = [text.get_text() for text in figures[0].texts]
    assert all("\n" not in text and "\x1b" not in text for text in texts)
    assert r"data\n\x1b[31m, recipe quick" in texts
    assert any(text.startswith(r"a\nb: ") for text in texts)
