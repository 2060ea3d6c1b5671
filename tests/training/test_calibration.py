"""The temperature: fitted on the validation images, applied wherever there are probabilities."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from torch import Tensor

from common.arrays import ImageFile, load_images
from common.params import load_params
from model.classifier import predict, predict_logits
from model.file import load_classifier
from project import Project
from training.batches import split_data
from training.calibration import fit_temperature
from trainings import Trainings, described, posix, ranks


def drawn(scale: float, count: int = 500, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Return logits and labels that are drawn by their probabilities at the temperature `scale`."""
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(count, classes))
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = [random.choice(classes, p=row) for row in odds]
    return torch.from_numpy(scale * logits).float(), torch.tensor(labels)


def best_of_a_grid(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature of the highest posterior: of a grid of 1 % steps, and then of one of
    0.02 % steps around the best of that.
    """
    values, rows = logits.double().numpy(), np.arange(len(labels))

    def best(logarithms: "np.ndarray") -> float:
        losses = []
        for logarithm in logarithms:
            scaled = (values - values.max(axis=1, keepdims=True)) / np.exp(logarithm)
            losses.append((np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]).sum())
        posterior = losses - scipy.stats.norm(0, 0.5).logpdf(logarithms)
        return float(logarithms[posterior.argmin()])

    coarse = best(np.arange(np.log(0.02), np.log(50), 1e-2))
    return float(np.exp(best(np.arange(coarse - 1e-2, coarse + 1e-2, 2e-4))))


@pytest.mark.parametrize("scale", [0.1, 1.0, 7.0])
def test_the_temperature_is_the_best_of_a_grid(scale: float) -> None:
    logits, labels = drawn(scale)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(best_of_a_grid(logits, labels), rel=5e-4)
    assert found == pytest.approx(scale, rel=0.2)  # by which the labels were drawn


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], [0, 1]),  # every temperature is as good
        ([[np.inf, 1.0], [1.0, 2.0]], [1, 1]),
        ([[np.nan, 1.0], [1.0, 2.0]], [1, 1]),
        ([[1.0], [2.0]], [0, 0]),  # a single class
    ],
)
def test_images_that_do_not_determine_a_temperature_leave_it_at_1(
    logits: list[list[float]], labels: list[int]
) -> None:
    assert fit_temperature(torch.tensor(logits), torch.tensor(labels)) == 1.0


@pytest.mark.parametrize("labels", [[0, 1], [1, 0]])  # all right; all wrong
def test_a_few_images_do_not_move_the_temperature_far_from_1(labels: list[int]) -> None:
    """Without the prior, it would be 0 or infinity."""
    logits = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    found = fit_temperature(logits, torch.tensor(labels))
    assert found == pytest.approx(best_of_a_grid(logits, torch.tensor(labels)), rel=5e-4)
    assert (0.5 < found < 1) if labels == [0, 1] else (1 < found < 2)


def test_the_model_has_the_temperature_of_its_validation_images_at_their_views(
    prepared: Project,
) -> None:
    prepared.change(
        train__validation_fraction=0.25,
        recipes__quick__test_time_augmentation="mirror",
        recipes__quick__epochs=8,
    )
    prepared.call("train")
    loaded = load_images("train")
    data = split_data(loaded, load_params().train)
    classifier = load_classifier(prepared.model).eval()
    images = torch.from_numpy(loaded.images.read(data.validation.tolist()))
    with torch.inference_mode():
        plain, mirrored = classifier(images), classifier(images.flip(3))
    probabilities = plain.softmax(dim=1).sort(dim=1).values
    doubtful = probabilities[:, -1] - probabilities[:, -2] < 0.5
    assert 0 < doubtful.sum() < len(images)
    logits = torch.where(doubtful[:, None], (plain + mirrored) / 2, plain)
    temperature = described(prepared.model)["temperature"]
    best = best_of_a_grid(logits, data.labels[data.validation])
    assert temperature == pytest.approx(best, rel=1e-3)
    assert abs(temperature - 1) > 0.01

    found = predict(classifier, loaded.images, data.validation.numpy(), batch_size=100)
    expected = (logits.double() / temperature).softmax(dim=1)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_the_accuracy_stays_and_the_confidences_change(trained: Project) -> None:
    assert described(trained.model)["temperature"] == 1.0
    classifier = load_classifier(trained.model)
    images = ImageFile(trained.images / "test_images.npy")
    before = predict(classifier, images, range(len(images)), 500)
    logits = predict_logits(classifier, images, range(len(images)), 500)
    classifier.describe(temperature=3.0)
    after = predict(classifier, images, range(len(images)), 500)
    assert torch.equal(before.argmax(dim=1), after.argmax(dim=1))
    torch.testing.assert_close(after, torch.softmax(logits / 3, dim=1))
    assert after.amax() < before.amax()


def test_evaluate_and_the_report_tell_the_temperature(prepared: Project) -> None:
    prepared.change(train__validation_fraction=0.25)
    for stage in ("preview", "train", "test_sample", "evaluate"):
        prepared.call(stage)
    temperature = described(prepared.model)["temperature"]
    classifier = load_classifier(prepared.model)
    test = load_images("test")
    found = predict(classifier, test.images, range(len(test.images)), 500).double().numpy()
    truth = found[np.arange(len(test.labels)), test.labels]
    metrics = json.loads((prepared.reports / "metrics.json").read_text())
    assert metrics["loss"] == pytest.approx(-np.log(truth).mean(), abs=1e-4)
    page = (prepared.reports / "report.html").read_text()
    images = described(prepared.model)["validation_images"]
    assert images == len(split_data(load_images("train"), load_params().train).validation)
    fitted = f"the logits are divided by {temperature:g}, a temperature fitted on {images} valid"
    assert f"Confidences are calibrated: {fitted}" in page
    card = (prepared.reports / "model_card.md").read_text()
    assert fitted in card
    assert f"{images} of the training images were held out for validation." in card


@posix
def test_two_processes_fit_the_temperature_of_one(trainings: Trainings) -> None:
    project = Project(trainings.path)
    project.change(train__validation_fraction=0.25)
    assert trainings.run() == [0]
    alone = described(project.model)["temperature"]
    assert trainings.run(ranks(2)) == [0, 0]
    assert described(project.model)["temperature"] == pytest.approx(alone, rel=2e-2)
    assert len(pd.read_csv(project.reports / "history.csv")) == 2
