"""Optimizers and learning rates, against their formulas in double precision."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from common.recipes import Recipe
from models import make_recipe
from training.optimizers import build_optimizer, build_schedule

STEPS = 12
Floats = np.ndarray[Any, np.dtype[np.float64]]


def draw() -> tuple[Floats, Floats]:
    """Return five weights, and the gradient of each step."""
    random = np.random.default_rng(0)
    return random.normal(size=5), random.normal(size=(STEPS, 5))


def trained(recipe: Recipe) -> tuple[Any, list[float]]:
    """Return the five weights after those steps, in float64, and the learning rate of each step."""
    weights, gradients = draw()
    network = nn.Linear(5, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        network.weight.copy_(torch.from_numpy(weights))
    optimizer = build_optimizer(recipe, network)
    schedule = build_schedule(recipe, optimizer, STEPS)
    rates = []
    for gradient in gradients:
        network.weight.grad = torch.from_numpy(gradient).reshape(1, 5).clone()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return network.weight.detach().numpy()[0], rates


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_sgd_is_its_formula(momentum: float, nesterov: bool, decay: float) -> None:
    weights, gradients = draw()
    velocity = np.zeros(5)
    for gradient in gradients:
        gradient = gradient + decay * weights
        velocity = momentum * velocity + gradient
        weights = weights - 0.1 * (gradient + momentum * velocity if nesterov else velocity)
    sgd = {"name": "sgd", "momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    recipe = make_recipe(optimizer=sgd, learning_rate=0.1, schedule="constant")
    np.testing.assert_allclose(trained(recipe)[0], weights, rtol=1e-10)


@pytest.mark.parametrize("beta", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_adamw_is_its_formula(beta: float, decay: float) -> None:
    weights, gradients = draw()
    first, second = np.zeros(5), np.zeros(5)
    for step, gradient in enumerate(gradients, start=1):
        first = beta * first + (1 - beta) * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weights = weights * (1 - 0.1 * decay)  # decoupled: not through the gradient
        weights = weights - 0.1 * (first / (1 - beta**step)) / (
            np.sqrt(second / (1 - 0.999**step)) + 1e-8
        )
    adamw = {"name": "adamw", "momentum": beta, "weight_decay": decay}
    recipe = make_recipe(optimizer=adamw, learning_rate=0.1, schedule="constant")
    np.testing.assert_allclose(trained(recipe)[0], weights, rtol=1e-6)


def one_cycle(step: int, steps: int, highest: float) -> float:
    """Return the rate of a cosine from a 25th of the highest rate up to it in 30 % of the steps,
    and of one down to a 250,000th of it.
    """

    def cosine(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    peak = 0.3 * steps - 1
    if step <= peak:
        return cosine(highest / 25, highest, step / peak)
    return cosine(highest, highest / 25e4, (step - peak) / (steps - 1 - peak))


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
        {"name": "adamw", "momentum": 0.9, "weight_decay": 0.0},
    ],
    ids=["sgd", "adamw"],
)
def test_one_cycle_is_its_curve(optimizer: dict[str, Any]) -> None:
    recipe = make_recipe(optimizer=optimizer, learning_rate=0.2, schedule="one_cycle")
    _, rates = trained(recipe)
    expected = [one_cycle(step, STEPS, 0.2) for step in range(STEPS)]
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
    assert rates[0] == pytest.approx(0.2 / 25)
    assert rates[-1] == pytest.approx(0.2 / 25 / 1e4)
    assert max(rates) <= 0.2


def test_one_cycle_leaves_momentum_alone() -> None:
    """Torch's own default would cycle it too, against what params.yaml says."""
    sgd = {"name": "sgd", "momentum": 0.77, "nesterov": True, "weight_decay": 0.0}
    recipe = make_recipe(optimizer=sgd, schedule="one_cycle")
    optimizer = build_optimizer(recipe, nn.Linear(2, 2))
    schedule = build_schedule(recipe, optimizer, STEPS)
    for _ in range(STEPS - 1):
        assert optimizer.param_groups[0]["momentum"] == 0.77
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10])
def test_one_cycle_over_few_steps_is_finite_and_not_above_its_highest(steps: int) -> None:
    """A data set smaller than a batch, and one epoch: a single step."""
    recipe = make_recipe(schedule="one_cycle", learning_rate=0.2)
    optimizer = build_optimizer(recipe, nn.Linear(2, 2))
    schedule = build_schedule(recipe, optimizer, steps)
    for _ in range(steps):
        assert 0 < optimizer.param_groups[0]["lr"] <= 0.2
        optimizer.step()
        schedule.step()


def test_constant_is_constant() -> None:
    assert trained(make_recipe(schedule="constant", learning_rate=0.3))[1] == [0.3] * STEPS
