"""The images that are held out for validation, and what is decided by them."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torchvision.models import mnasnet0_5

from common.arrays import load_images
from common.params import load_params
from helpers import arrays
from model import classifier
from model.networks import load_weights
from project import Project
from training import loop
from training.batches import TrainingData, split_data
from training.early_stopping import EarlyStopping
from trainings import described


def split(fraction: float, seed: int) -> TrainingData:
    changes = {"validation_fraction": fraction, "seed": seed}
    return split_data(load_images("train"), load_params().train.model_copy(update=changes))


def test_no_image_is_both_trained_and_validated_on(prepared: Project) -> None:
    data = split(0.1, seed=3)
    count = len(data.labels)
    assert sorted([*data.train.tolist(), *data.validation.tolist()]) == list(range(count))
    assert len(data.validation) / count == pytest.approx(0.1, abs=0.03)
    assert np.unique(data.labels[data.validation]).tolist() == list(range(10))
    assert torch.equal(split(0.1, seed=3).validation, data.validation)
    assert not torch.equal(split(0.1, seed=4).validation, data.validation)


def test_the_seed_of_the_test_images_holds_out_as_many_as_another(prepared: Project) -> None:
    """Images below 0.2 by the same numbers are test images: then none would be below 0.1 here."""
    assert load_params().download.seed == 0
    assert load_params().download.test_fraction == 0.2
    data = split(0.1, seed=0)
    assert len(data.validation) / len(data.labels) == pytest.approx(0.1, abs=0.03)


def test_images_with_one_key_are_on_one_side(prepared: Project) -> None:
    keys = np.arange(len(arrays(prepared.images)["train_labels"]), dtype=np.uint64) // 3
    np.save(prepared.images / "train_keys.npy", keys)
    data = split(0.3, seed=0)
    assert not set(keys[data.train]) & set(keys[data.validation])


def test_without_a_fraction_every_image_is_trained_on(prepared: Project) -> None:
    data = split(0.0, seed=0)
    assert data.train.tolist() == list(range(len(data.labels)))
    assert len(data.validation) == 0


def test_validation_reports_the_loss_and_accuracy_of_the_held_out_images(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the probabilities that were predicted, and NumPy's logarithm."""
    seen: list[tuple[Tensor, list[int]]] = []
    predict = classifier.predict

    def watched(
        model: object, images: object, indices: np.ndarray, size: object, title: str
    ) -> Tensor:
        probabilities: Tensor = predict(model, images, indices, size, title)  # type: ignore[arg-type]
        seen.append((probabilities, indices.tolist()))
        return probabilities

    monkeypatch.setattr(loop, "predict", watched)
    prepared.change(train__validation_fraction=0.25, recipes__quick__epochs=1)
    prepared.call("train")
    probabilities, indices = seen[0]
    assert len(seen) == 1
    assert indices == split(0.25, seed=0).validation.tolist()
    truth = arrays(prepared.images)["train_labels"][indices]
    of_the_truth = probabilities.numpy()[np.arange(len(truth)), truth].astype(float)
    correct = (probabilities.argmax(dim=1).numpy() == truth).mean()
    row = pd.read_csv(prepared.reports / "history.csv").iloc[0]
    assert row["validation_loss"] == pytest.approx(-np.log(of_the_truth).mean(), rel=1e-4)
    assert row["validation_accuracy"] == pytest.approx(100 * correct, rel=1e-4)


def test_a_loss_that_is_not_finite_is_never_the_best() -> None:
    network = torch.nn.Linear(1, 1)
    stopping = EarlyStopping(patience=2)
    best, stops = [], []
    for epoch, loss in enumerate([math.nan, math.inf, 3.0, -math.nan, 2.0, 2.0, math.inf], start=1):
        stopping.update(epoch, loss, network)
        best.append(stopping.best_epoch)
        stops.append(stopping.should_stop(epoch))
    assert best == [0, 0, 3, 3, 5, 5, 5]
    assert stops == [False, True, False, False, False, False, True]


def test_the_best_weights_are_a_copy() -> None:
    network, stopping = torch.nn.Linear(1, 1), EarlyStopping(patience=2)
    before = network.weight.item()
    stopping.update(1, 1.0, network)
    torch.nn.init.constant_(network.weight, 7.0)
    assert stopping.best_weights["weight"].item() == before


def test_the_best_weights_of_any_network_can_be_loaded() -> None:
    """Mnasnet takes weights without the metadata of state_dict for those of an older version."""
    network, stopping = mnasnet0_5(), EarlyStopping(patience=2)
    stopping.update(1, 1.0, network)
    load_weights(network, stopping.best_weights)


def test_an_epoch_without_finite_validation_is_survived(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([math.nan, 1.0, math.nan])
    monkeypatch.setattr(loop, "validate", lambda setup: (next(losses), 0.0))
    prepared.change(
        train__validation_fraction=0.1, train__early_stopping=5, recipes__quick__epochs=3
    )
    prepared.call("train")
    assert described(prepared.model)["best_epoch"] == 2
