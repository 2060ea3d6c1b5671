"""The part of the training pictures that is set apart to validate on, and what is decided by it."""

import numpy as np
import pytest
import torch
from project import Project
from torch import Tensor

import train
from common.arrays import load_images
from common.params import load_params
from model import classifier


def test_50_no_picture_is_both_trained_and_validated_on(prepared: Project) -> None:
    pictures = load_images("train")
    options = load_params().train.model_copy(update={"validation_fraction": 0.1, "seed": 3})
    members, validation = train.set_apart(pictures, options)
    assert sorted([*members.tolist(), *validation.tolist()]) == list(range(len(pictures.labels)))
    of_each_class = np.bincount(pictures.labels[validation])
    np.testing.assert_allclose(of_each_class, 0.1 * np.bincount(pictures.labels), atol=0.5)

    again, other = (
        train.set_apart(pictures, options.model_copy(update={"seed": seed}))[1] for seed in (3, 4)
    )
    assert torch.equal(again, validation)
    assert not torch.equal(other, validation)


def test_without_a_fraction_every_picture_is_trained_on(prepared: Project) -> None:
    pictures = load_images("train")
    members, validation = train.set_apart(pictures, load_params().train)
    assert members.tolist() == list(range(len(pictures.labels)))
    assert len(validation) == 0


def test_what_validation_reports_is_right(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against probabilities and labels that were seen on the way."""
    seen: list[tuple[Tensor, list[int]]] = []
    predict = classifier.predict

    def watched(model: object, images: object, indices: np.ndarray, *rest: object) -> Tensor:
        probabilities: Tensor = predict(model, images, indices, *rest)  # type: ignore[arg-type]
        seen.append((probabilities, indices.tolist()))
        return probabilities

    monkeypatch.setattr(train, "predict", watched)
    prepared.change(train__validation_fraction=0.25, recipes__quick__epochs=1)
    prepared.call("train")
    (probabilities, indices), labels = seen[0], np.load(prepared.images / "train_labels.npy")
    truth = labels[indices]
    loss = -np.mean(
        [np.log(float(row[label])) for row, label in zip(probabilities, truth, strict=True)]
    )
    correct = sum(
        int(row.argmax()) == label for row, label in zip(probabilities, truth, strict=True)
    )
    names, row = (
        line.split(",") for line in (prepared.reports / "history.csv").read_text().split()
    )
    values = dict(zip(names, map(float, row), strict=True))
    assert values["validation_loss"] == pytest.approx(loss, rel=1e-4)
    assert values["validation_accuracy"] == pytest.approx(100 * correct / len(truth), rel=1e-4)


def test_40_an_epoch_that_is_not_finite_on_validation_is_never_the_best(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def validate(self: train.Training) -> train.Row:
        epoch = len(self.history) + 1
        return {
            "validation_loss": {1: float("nan"), 2: 1.0, 3: float("-nan")}[epoch],
            "validation_accuracy": 0.0,
        }

    monkeypatch.setattr(train.Training, "validate", validate)
    best = []
    finish = train.Training.finish_epoch

    def finish_and_note(self: train.Training) -> None:
        finish(self)
        best.append(self.best.epoch)

    monkeypatch.setattr(train.Training, "finish_epoch", finish_and_note)
    prepared.change(
        train__validation_fraction=0.1, train__early_stopping=5, recipes__quick__epochs=3
    )
    prepared.call("train")
    assert best == [0, 2, 2]
