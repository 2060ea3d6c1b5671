"""Predictions do not depend on how images are batched, and fit the images they are asked for."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.arrays import Dataset, ImageFile
from helpers import refused
from model.classifier import Classifier, predict, predict_batches
from model.file import check_fits, load_classifier
from models import CLASSES, make_description, make_recipe, random_images, save_whitened
from project import Project


def test_any_batch_size_gives_the_same_predictions(trained: Project) -> None:
    """Batches of 7 and of all but one leave a smaller last batch; 500 is more than there are."""
    classifier = load_classifier(trained.model)
    images = ImageFile(trained.images / "test_images.npy")
    count = len(images)
    assert 300 < count < 500
    found = [predict(classifier, images, range(count), size) for size in (1, 7, count - 1, 500)]
    for probabilities in found[1:]:
        assert torch.equal(probabilities.argmax(dim=1), found[0].argmax(dim=1))
        torch.testing.assert_close(probabilities, found[0], rtol=0, atol=1e-5)


def test_probabilities_are_those_of_the_images_asked_for_in_that_order(tmp_path: Path) -> None:
    images = random_images(23)
    np.save(tmp_path / "images.npy", images)
    classifier = Classifier(make_description()).eval()
    wanted = [22, 0, 5, 5, 17]
    found = predict(classifier, ImageFile(tmp_path / "images.npy"), wanted, batch_size=2)
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(images))[wanted].double().softmax(dim=1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_batches_are_taken_one_at_a_time_and_may_have_any_size() -> None:
    taken = 0

    def batches() -> "Iterator[np.ndarray[Any, Any]]":
        nonlocal taken
        for count in (3, 1, 5):
            taken += 1
            yield random_images(count)

    classifier = Classifier(make_description())
    seen = [(taken, len(rows)) for rows in predict_batches(classifier, batches())]
    assert seen == [(1, 3), (2, 1), (3, 5)]


def test_batch_norm_uses_what_it_learned_and_not_the_batch(tmp_path: Path) -> None:
    classifier = load_classifier(save_whitened(tmp_path / "m.safetensors", "float32")).train()
    before = {name: buffer.clone() for name, buffer in classifier.network.named_buffers()}
    (rows,) = predict_batches(classifier, [random_images(8)])
    (first,) = predict_batches(classifier, [random_images(8)[:1]])
    torch.testing.assert_close(first, rows[:1], rtol=0, atol=1e-5)
    for name, buffer in classifier.network.named_buffers():
        assert torch.equal(buffer, before[name])


def test_test_time_augmentation_is_the_mean_over_the_views_of_images_in_doubt() -> None:
    """The views are made by NumPy: mirrored, and shifted by a pixel with edges reflected."""
    images = random_images(3)

    def moved(by: int) -> "np.ndarray[Any, Any]":
        padded = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="reflect")
        return padded[:, :, 1 - by : 17 - by, 1 - by : 17 - by]

    plain, shifted = [moved(0)], [moved(0), moved(-1), moved(1)]
    for kind, views in [("mirror", plain), ("mirror_shift", shifted)]:
        recipe = make_recipe(test_time_augmentation=kind)
        classifier = Classifier(make_description(recipe)).eval()
        with torch.inference_mode():
            logits = [
                classifier(torch.from_numpy(each.copy()))
                for view in views
                for each in (view, view[:, :, :, ::-1])
            ]
            found = classifier.average(torch.from_numpy(images))
        torch.testing.assert_close(found, sum(logits) / len(logits), rtol=0, atol=1e-6)


def dataset(**changes: object) -> Dataset:
    fields: dict[str, object] = {
        "name": "coins",
        "classes": CLASSES,
        "image_size": 16,
        "fit": "squash",
        "counts": {"train": 2, "test": 2},
        "source": "here",
        "sha256": None,
    }
    return Dataset.model_validate({**fields, **changes})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", ["cent", "öre"]),
        ("classes", ["öre", "cent", "sou"]),
        ("image_size", 20),
        ("fit", "crop"),
    ],
)
def test_a_model_for_other_data_is_refused_with_both_values(key: str, value: object) -> None:
    classifier = Classifier(make_description())
    check_fits(classifier, dataset())
    line = refused(lambda: check_fits(classifier, dataset(**{key: value})))
    ours = getattr(classifier.description, key)
    assert line == f"the model's {key}: {ours}, the data's: {value}; run the train stage again"


@pytest.mark.parametrize("stage", ["test_sample", "evaluate"])
def test_the_stages_refuse_a_model_that_does_not_fit_the_data(stage: str, trained: Project) -> None:
    content = json.loads((trained.images / "dataset.json").read_text())
    content["classes"][3] = "three"
    (trained.images / "dataset.json").write_text(json.dumps(content))
    assert "three" in refused(lambda: trained.call(stage))
    assert not list(trained.reports.glob("*.json"))
    assert not (trained.reports / "test_sample.png").exists()


def test_a_broken_model_ends_a_stage_with_one_line_and_status_1(trained: Project) -> None:
    trained.model.write_bytes(b"broken")
    line = trained.fails("evaluate").replace(os.sep, "/")
    assert "models/classifier.safetensors: not a safetensors file" in line
    assert not (trained.reports / "metrics.json").exists()


@pytest.mark.parametrize(("size", "most"), [(32, 500), (64, 500), (128, 125), (192, 55)])
def test_a_batch_of_large_images_has_no_more_pixels_than_one_of_64_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    np.save(tmp_path / "images.npy", np.zeros((600, 3, size, size), np.uint8))
    taken: list[int] = []

    def predict_nothing(_: Classifier, batches: Iterator[Any]) -> Iterator[torch.Tensor]:
        for batch in batches:
            taken.append(len(batch))
            yield torch.zeros(len(batch), 3)

    monkeypatch.setattr("model.classifier.predict_batch_logits", predict_nothing)
    classifier = Classifier(make_description())
    predict(classifier, ImageFile(tmp_path / "images.npy"), range(600), batch_size=500)
    assert max(taken) == most
    assert sum(taken) == 600
