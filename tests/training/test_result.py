"""A training whose last update ruined the network saves nothing."""

import math
from typing import Any

import pytest
import torch

from helpers import refused
from model.classifier import Classifier
from models import make_description
from project import Project
from training.history import EpochRow
from training.result import check_result
from training.state import TrainingState, new_state

# One step over all images at this rate leaves finite weights, but no finite logits.
RUINOUS = {
    "recipes__quick__epochs": 1,
    "recipes__quick__batch_size": 2000,
    "recipes__quick__learning_rate": 1e12,
    "recipes__quick__schedule": "constant",
}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"train__validation_fraction": 0.2, "train__early_stopping": 1},
            "no epoch has had a finite validation loss",
        ),
        ({"train__validation_fraction": 0.2}, "the validation loss is nan"),
        ({}, "the network's outputs are not finite"),
    ],
    ids=["early stopping", "validation", "neither"],
)
def test_a_ruinous_last_update_leaves_the_previous_model(
    changes: dict[str, Any], fault: str, trained: Project
) -> None:
    before = trained.model.read_bytes()
    trained.change(**RUINOUS, **changes)
    line = trained.fails("train")
    assert line == (
        f"error: after the last update (epoch 1, learning rate 1e+12) {fault}, so no model is "
        "saved; choose a lower learning_rate"
    )
    assert trained.model.read_bytes() == before


def ended() -> tuple[Classifier, TrainingState, torch.Tensor]:
    """Return a classifier after one epoch, and images for it."""
    classifier = Classifier(make_description())
    state = new_state(classifier, steps=1, patience="never")
    state.history.epochs.append(EpochRow(1, 0.1, 2.0, 50.0))
    return classifier, state, torch.zeros(2, 3, 16, 16, dtype=torch.uint8)


def test_a_good_result_passes() -> None:
    check_result(*ended())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_is_named(value: float) -> None:
    classifier, state, images = ended()
    with torch.no_grad():
        classifier.network.get_parameter("conv2.bias")[3] = value
    line = refused(lambda: check_result(classifier, state, images))
    assert "conv2.bias holds NaN or infinity, so no model is saved" in line
