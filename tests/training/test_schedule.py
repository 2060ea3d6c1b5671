"""Schedules against torch's, for one learning rate and for two."""

import warnings

import pytest
import torch
from helpers import ROOT
from torch import nn
from torch.optim import lr_scheduler

from common.params import load_params
from common.recipes import Recipe
from training.optimizers import build_optimizer, build_schedule

RECIPES = load_params(ROOT / "params.yaml").recipes
STEPS = 20


def rates(recipe: Recipe, steps: int = STEPS) -> list[list[float]]:
    """Of each step, each group's learning rate as a share of the recipe's."""
    network = nn.Sequential(nn.Linear(3, 3))
    optimizer = build_optimizer(recipe, network)
    schedule = build_schedule(recipe, optimizer, steps)
    full = [recipe.learning_rate, recipe.sgd_learning_rate or recipe.learning_rate]
    rows = []
    for _ in range(steps):
        rows.append(
            [group["lr"] / rate for group, rate in zip(optimizer.param_groups, full, strict=False)]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimizer never steps
            schedule.step()
    return rows


@pytest.mark.parametrize("name", ["quick", "accurate"])
def test_one_cycle(name: str) -> None:
    recipe = RECIPES[name].model_copy(update={"schedule": "one_cycle"})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=STEPS, cycle_momentum=False)
    for row in rates(recipe):
        assert row == pytest.approx(reference.get_last_lr() * len(row))
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("name", ["quick", "accurate"])
def test_linear(name: str) -> None:
    recipe = RECIPES[name].model_copy(update={"schedule": "linear"})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.LinearLR(
        optimizer, start_factor=1.0, end_factor=0.0, total_iters=STEPS
    )
    for row in rates(recipe):
        assert row == pytest.approx(reference.get_last_lr() * len(row))
        optimizer.step()
        reference.step()


def test_constant() -> None:
    assert rates(RECIPES["tutorial"]) == [[1.0]] * STEPS


@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "linear"])
def test_one_step_is_enough(schedule: str) -> None:
    assert rates(RECIPES["quick"].model_copy(update={"schedule": schedule}), steps=1)[0][0] >= 0
