"""The state of a training goes through a file and comes back the same."""

import io
from typing import Any

import pytest
import torch

from model.classifier import Classifier
from models import make_description, make_recipe
from training.history import EpochRow, TimingRow
from training.state import TrainingState, new_state

STEPS = 3
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005},
    "sgd without momentum": {
        "name": "sgd",
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 0.0,
    },
    "adamw": {"name": "adamw", "momentum": 0.9, "weight_decay": 0.0005},
    "muon": {
        "name": "muon",
        "momentum": 0.6,
        "nesterov": True,
        "sgd": {"learning_rate": 0.1, "momentum": 0.85, "weight_decay": 0.0},
    },
}


def begin(optimizer: dict[str, Any], schedule: str, seed: int) -> TrainingState:
    recipe = make_recipe(optimizer=optimizer, schedule=schedule)
    classifier = Classifier(make_description(recipe, seed=seed))
    return new_state(classifier, STEPS, patience=2)


def step(state: TrainingState, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    state.optimizer.zero_grad()
    loss = state.network(torch.rand(4, 3, 16, 16, generator=generator)).square().mean()
    loss.backward()
    state.optimizer.step()
    state.schedule.step()
    state.sums.add(loss.detach(), torch.tensor(2), float(state.schedule.get_last_lr()[0]))


def through_a_file(content: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "linear"])
@pytest.mark.parametrize("best", [True, False], ids=["with best weights", "without"])
def test_a_loaded_state_goes_on_as_the_saved_one(
    optimizer: dict[str, Any], schedule: str, best: bool
) -> None:
    saved, loaded = (begin(optimizer, schedule, seed) for seed in (0, 1))
    for number in range(STEPS):
        step(saved, number)
    if best:
        saved.early_stopping.update(1, 1.5, saved.network)
    saved.history.epochs.append(EpochRow(1, 0.1, 2.0, 50.0))
    saved.history.timing.append(TimingRow(1, 3.5, 100.0))
    saved.sums.reset()
    step(saved, STEPS)

    loaded.load_state_dict(through_a_file(saved.state_dict()))
    assert (loaded.epoch, loaded.step) == (2, 1)
    for state in (saved, loaded):
        step(state, STEPS + 1)
    ours, theirs = (through_a_file(state.state_dict()) for state in (loaded, saved))
    assert ours.pop("schedule") == theirs.pop("schedule")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    assert loaded.early_stopping.best_epoch == int(best)
