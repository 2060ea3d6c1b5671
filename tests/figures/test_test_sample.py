"""The grid of test images: which are shown, with their names, green or red as they are right."""

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.arrays import ImageFile
from figures.grid import Caption
from figures.style import GREEN, RED
from model.classifier import predict
from model.file import load_classifier, save_classifier
from project import Project

Pixels = np.ndarray[Any, Any]

# Pixels of an image's colour: every other column, each of its pixels ten wide and high.
AREA = 16 * 32 * 10 * 10


def drawn(project: Project) -> Pixels:
    """Return the figure that the stage draws, uint8 (H, W, 3)."""
    project.call("test_sample")
    with Image.open(project.reports / "test_sample.png") as image:
        return np.asarray(image.convert("RGB"))


def count(pixels: Pixels, color: str) -> int:
    """Return how many pixels have exactly this colour, #RRGGBB."""
    return int((pixels == np.frombuffer(bytes.fromhex(color[1:]), np.uint8)).all(axis=-1).sum())


def colors_in(pixels: Pixels) -> set[str]:
    return {"#" + bytes(color).hex() for color in np.unique(pixels.reshape(-1, 3), axis=0)}


def predicted(project: Project) -> Pixels:
    images = ImageFile(project.images / "test_images.npy")
    found: Pixels = (
        predict(load_classifier(project.model), images, range(len(images)), 500)
        .argmax(dim=1)
        .numpy()
    )
    return found


@pytest.mark.parametrize("right", [True, False])
def test_all_right_is_green_only_and_all_wrong_red_only(right: bool, trained: Project) -> None:
    labels = predicted(trained) if right else (predicted(trained) + 1) % 10
    np.save(trained.images / "test_labels.npy", labels.astype(np.int64))
    pixels = drawn(trained)
    there, not_there = (GREEN, RED) if right else (RED, GREEN)
    assert count(pixels, there) > 10 * 5  # captions of ten images
    assert count(pixels, not_there) == 0


def paint(project: Project) -> list[str]:
    """Make each test image black with every other column in its own colour; return the colours."""
    images = np.load(project.images / "test_images.npy")
    colors = [(200, 40 + index // 16, 10 * (index % 16)) for index in range(len(images))]
    images[:] = 0
    images[..., ::2] = np.array(colors, np.uint8)[:, :, None, None]
    np.save(project.images / "test_images.npy", images)
    return ["#" + bytes(color).hex() for color in colors]


def test_each_image_has_the_colour_of_its_own_verdict_above_it(trained: Project) -> None:
    """The labels of images with an even index are what the model predicts, the others are not."""
    colors = paint(trained)
    labels = predicted(trained)
    labels[1::2] = (labels[1::2] + 1) % 10
    np.save(trained.images / "test_labels.npy", labels.astype(np.int64))
    pixels = drawn(trained)
    there = colors_in(pixels)
    shown = [index for index, color in enumerate(colors) if color in there]
    assert len(shown) == 10
    assert len({index % 2 for index in shown}) == 2
    for index in shown:
        rows, columns = (
            (pixels == np.frombuffer(bytes.fromhex(colors[index][1:]), np.uint8))
            .all(axis=-1)
            .nonzero()
        )
        assert len(rows) == AREA
        above = pixels[rows.min() - 52 : rows.min(), columns.min() : columns.max()]
        assert (count(above, GREEN) > 0) == (index % 2 == 0)
        assert (count(above, RED) > 0) == (index % 2 == 1)


def test_as_many_images_as_asked_for_and_others_with_another_seed(trained: Project) -> None:
    colors = paint(trained)
    shown = {}
    for seed in (0, 1):
        trained.change(test_sample__seed=seed, test_sample__images=7)
        shown[seed] = colors_in(drawn(trained)) & set(colors)
    assert len(shown[0]) == len(shown[1]) == 7
    assert shown[0] != shown[1]


def test_the_same_seed_gives_the_same_bytes_and_needs_no_training_images(
    trained: Project,
) -> None:
    path = trained.reports / "test_sample.png"
    trained.call("test_sample")
    first = path.read_bytes()
    for file in trained.images.glob("train_*"):
        file.unlink()
    trained.call("test_sample")
    assert path.read_bytes() == first


def test_more_images_than_there_are_shows_all(trained: Project) -> None:
    colors = paint(trained)[:3]
    images, labels = (
        np.load(trained.images / f"test_{what}.npy")[:3] for what in ("images", "labels")
    )
    np.save(trained.images / "test_images.npy", images)
    np.save(trained.images / "test_labels.npy", labels)
    described = trained.images / "dataset.json"
    dataset = json.loads(described.read_text())
    dataset["counts"]["test"] = 3
    described.write_text(json.dumps(dataset))
    pixels = drawn(trained)
    assert all(count(pixels, color) == AREA for color in colors)


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[Caption]:
    """What is written above the images from now on."""
    written: list[Caption] = []
    monkeypatch.setattr(
        "figures.grid.write_caption", lambda figure, caption, *place: written.append(caption)
    )
    return written


def test_each_image_has_its_name_and_verdict(trained: Project, captions: list[Caption]) -> None:
    guesses, labels = predicted(trained), np.load(trained.images / "test_labels.npy")
    labels[::2] = (labels[::2] + 1) % 10
    np.save(trained.images / "test_labels.npy", labels)
    trained.change(test_sample__images=len(labels))
    trained.call("test_sample")
    files = [json.loads(line) for line in (trained.images / "test_files.jsonl").open()]
    expected = {
        (file, str(label) if guess == label else f"({guess}) is {label}")
        for file, label, guess in zip(files, labels, guesses, strict=True)
    }
    assert {(caption.name, caption.text) for caption in captions} == expected


def test_long_names_of_classes_are_shortened_and_stand_on_two_lines(
    trained: Project, captions: list[Caption]
) -> None:
    described = trained.images / "dataset.json"
    dataset = json.loads(described.read_text())
    dataset["classes"] = [f"{'long ' * 20}{name}" for name in dataset["classes"]]
    described.write_text(json.dumps(dataset))
    with contextlib.chdir(trained.path):
        classifier = load_classifier()
        about = classifier.description.model_copy(update={"classes": dataset["classes"]})
        classifier.description = about
        save_classifier(classifier)
    labels = (predicted(trained) + 1) % 10
    np.save(trained.images / "test_labels.npy", labels.astype(np.int64))
    trained.call("test_sample")
    for caption in captions:
        first, second = caption.text.split("\n")
        assert first.startswith("(long") and first.endswith(")") and len(first) == 26
        assert second.startswith("is long") and len(second) == 27
