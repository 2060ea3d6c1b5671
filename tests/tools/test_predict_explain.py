"""tools/predict.py --figure --explain draws where the network looked beside each image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import prediction.figure
from evaluation.gradcam import blend, grad_cam
from figures.grid import Caption, image_grid
from helpers import lay_out, refused, snapshot, solid
from model.classifier import Classifier
from model.file import load_classifier, save_classifier
from models import (
    four_coloured_images,
    make_description,
    make_recipe,
    rewrite,
    save_whitened,
    torchvision,
)
from predictions import Capture, as_png, expected, run
from project import Project


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, list[Caption], str]]:
    """The images, captions and subtitles of the figures that are drawn."""
    drawn: list[tuple[Any, list[Caption], str]] = []

    def keep_and_draw(
        images: Any, captions: list[Caption], title: str, subtitle: str, *arguments: Any
    ) -> Any:
        drawn.append((images, captions, subtitle))
        return image_grid(images, captions, title, subtitle, *arguments)

    monkeypatch.setattr(prediction.figure, "image_grid", keep_and_draw)
    return drawn


def test_beside_each_image_is_the_heat_map_of_its_predicted_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grids: list[Any], capsys: Capture
) -> None:
    """Of the class, not of the first one with its name."""
    monkeypatch.chdir(tmp_path)
    images, names = four_coloured_images(6), [f"{number}.png" for number in range(6)]
    lay_out(tmp_path, dict(zip(names, map(as_png, images), strict=True)))
    np.save("images.npy", images)
    path = save_whitened(tmp_path / "m.safetensors", "float32")
    rewrite(path, lambda _, description: description.update(classes=["coin"] * 3))
    run(monkeypatch, path, *names, "--figure", "f.png", "--explain")
    with Image.open("f.png") as image:
        assert image.format == "PNG"
    ((drawn, captions, subtitle),) = grids
    labels = expected(path, Path("images.npy"), 6).argmax(axis=1)
    assert len(set(labels)) > 1
    maps = grad_cam(load_classifier(path), images, labels)
    assert (drawn[0::2] == images).all()
    assert (drawn[1::2] == blend(images, maps)).all()
    assert [caption.name for caption in captions[0::2]] == names
    assert {caption.text for caption in captions[1::2]} == {"where it looked"}
    assert subtitle.endswith("(Grad-CAM)")
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_only_the_images_that_are_drawn_are_explained(
    trained: Project, monkeypatch: pytest.MonkeyPatch, grids: list[Any]
) -> None:
    monkeypatch.setattr("predict.MOST_DRAWN", 2)
    lay_out(trained.path, {f"{number}.png": solid(9 * number) for number in range(4)})
    run(monkeypatch, *(f"{number}.png" for number in range(4)), "--figure", "f.png", "--explain")
    ((drawn, _, subtitle),) = grids
    assert len(drawn) == 4
    assert "2 more images left out" in subtitle


def test_a_network_that_cannot_be_explained_is_refused_before_anything_is_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Of images of two pixels, nothing is left at its last layers."""
    monkeypatch.chdir(tmp_path)
    recipe = make_recipe(network=torchvision("shufflenet_v2_x0_5"))
    path = tmp_path / "m.safetensors"
    save_classifier(Classifier(make_description(recipe, image_size=2)), path)
    lay_out(tmp_path, {"a.png": solid(0)})
    before = snapshot(tmp_path)
    options = ["--figure", "f.png", "--explain", "--csv", "o.csv"]
    line = refused(lambda: run(monkeypatch, path, "a.png", *options))
    assert "shufflenet_v2_x0_5" in line
    assert "Grad-CAM" in line
    assert capsys.readouterr().out == ""
    assert snapshot(tmp_path) == before


def test_without_a_figure_there_is_nothing_to_draw_into(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(trained.path, {"a.png": solid(0)})
    line = refused(lambda: run(monkeypatch, "a.png", "--explain"))
    assert line == "--explain: draws into the figure; add --figure OUT.png"
