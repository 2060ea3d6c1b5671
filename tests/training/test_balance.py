"""Class weights in the loss, against torch's weighted cross-entropy in double precision."""

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from torch.nn.functional import cross_entropy

from common.arrays import load_images
from common.params import load_params
from helpers import arrays, refused
from model.networks import Normalize, build_network
from models import make_recipe
from project import Project
from training.batches import TrainingData, class_weights
from trainings import described

LEARNING_RATE = 0.5


@pytest.fixture
def unbalanced(prepared: Project) -> Project:
    """The digits as two classes, of which one has nine times as many images; one step of SGD."""
    labels = (arrays(prepared.images)["train_labels"] == 3).astype(np.int64)
    np.save(prepared.images / "train_labels.npy", labels)
    prepared.change(
        recipes__quick__optimizer={
            "name": "sgd",
            "momentum": 0.0,
            "nesterov": False,
            "weight_decay": 0.0,
        },
        recipes__quick__schedule="constant",
        recipes__quick__learning_rate=LEARNING_RATE,
        recipes__quick__epochs=1,
        recipes__quick__batch_size=5000,
    )
    return prepared


@pytest.mark.parametrize(("balance", "smoothing"), [(0.5, 0.0), (1.0, 0.0), (1.0, 0.1)])
def test_loss_and_step_are_those_of_weighted_cross_entropy(
    unbalanced: Project, balance: float, smoothing: float
) -> None:
    unbalanced.change(recipes__quick__balance=balance, recipes__quick__label_smoothing=smoothing)
    unbalanced.call("train")

    loaded, recipe = load_images("train"), load_params().recipe
    count, labels = len(loaded.labels), torch.from_numpy(loaded.labels)
    images = torch.from_numpy(loaded.images.read(range(count)))
    numbers = np.bincount(loaded.labels, minlength=10).astype(float)
    weights = np.where(numbers > 0, np.maximum(numbers, 1) ** -balance, 1)
    weights /= weights[loaded.labels].mean()
    network = build_network(recipe, 32, 10, seed=0).double()
    normalized = Normalize(recipe.normalize.mean, recipe.normalize.std)(images).double()
    loss = cross_entropy(
        network(normalized),
        labels,
        torch.from_numpy(weights),
        reduction="sum",
        label_smoothing=smoothing,
    )
    (loss / count).backward()  # type: ignore[no-untyped-call]

    history = pd.read_csv(unbalanced.reports / "history.csv")
    assert history["train_loss"].iloc[0] == pytest.approx(loss.item() / count, rel=1e-4)
    trained = safetensors.torch.load_file(unbalanced.model)
    for name, before in network.named_parameters():
        assert before.grad is not None
        after = (before - LEARNING_RATE * before.grad).detach()
        torch.testing.assert_close(trained[name].double(), after, rtol=1e-3, atol=1e-5)
    assert described(unbalanced.model)["recipe"]["balance"] == balance


def test_with_balance_1_each_class_counts_alike_and_the_mean_is_1() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10 + [0] * 7)
    indices = torch.arange(100)  # the rest is held out
    data = TrainingData(None, labels, indices, torch.arange(100, 107))  # type: ignore[arg-type]
    cpu = torch.device("cpu")
    assert class_weights(data, 2, make_recipe(), cpu) is None
    weights = class_weights(data, 2, make_recipe(balance=1.0), cpu)
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([100 / 180, 100 / 20]))


@pytest.mark.parametrize("balance", [-0.1, 1.1])
def test_a_balance_outside_0_to_1_is_refused(project: Project, balance: float) -> None:
    project.change(recipes__quick__balance=balance)
    assert "balance" in refused(load_params)
