"""Schedules against torch's, for one learning rate and for two."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from common.recipes import Recipe
from models import make_recipe
from training.optimizers import build_optimizer, build_schedule

STEPS = 20
SGD = {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.0}
REST = {"learning_rate": 100.0, "momentum": 0.85, "weight_decay": 0.0}
MUON = {"name": "muon", "momentum": 0.6, "nesterov": True, "sgd": REST}
OPTIMIZERS = pytest.mark.parametrize("optimizer", [SGD, MUON], ids=["one rate", "two rates"])


def rates(recipe: Recipe, steps: int = STEPS) -> list[list[float]]:
    """Return each group's learning rate at each step, as a share of the recipe's."""
    optimizer = build_optimizer(recipe, nn.Sequential(nn.Linear(3, 3)))
    schedule = build_schedule(recipe, optimizer, steps)
    full = [recipe.learning_rate, REST["learning_rate"]]
    rows = []
    for _ in range(steps):
        pairs = zip(optimizer.param_groups, full, strict=False)
        rows.append([group["lr"] / rate for group, rate in pairs])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimizer never steps
            schedule.step()
    return rows


def check(recipe: Recipe, optimizer: torch.optim.Optimizer, reference: Any) -> None:
    for row in rates(recipe):
        assert row == pytest.approx(reference.get_last_lr() * len(row))
        optimizer.step()
        reference.step()


@OPTIMIZERS
def test_one_cycle_is_torchs(optimizer: dict[str, Any]) -> None:
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.OneCycleLR(sgd, 1.0, total_steps=STEPS, cycle_momentum=False)
    check(make_recipe(optimizer=optimizer, schedule="one_cycle"), sgd, reference)


@OPTIMIZERS
def test_linear_is_torchs(optimizer: dict[str, Any]) -> None:
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.LinearLR(sgd, start_factor=1.0, end_factor=0.0, total_iters=STEPS)
    check(make_recipe(optimizer=optimizer, schedule="linear"), sgd, reference)


@OPTIMIZERS
def test_constant_stays(optimizer: dict[str, Any]) -> None:
    for row in rates(make_recipe(optimizer=optimizer, schedule="constant")):
        assert row == pytest.approx([1.0] * len(row))


@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "linear"])
def test_one_step_is_enough(schedule: str) -> None:
    assert rates(make_recipe(schedule=schedule), steps=1)[0][0] >= 0
