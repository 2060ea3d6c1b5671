"""Optimizers and learning rates, against their formulas in double precision."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT
from torch import nn

from common.params import load_params
from common.recipes import Recipe
from training.optimizers import build_optimizer, build_schedule

STEPS = 12


def recipe(**changes: Any) -> Recipe:
    return load_params(ROOT / "params.yaml").recipes["quick"].model_copy(update=changes)


def start() -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Five weights, and the gradient of each step."""
    random = np.random.default_rng(0)
    return random.normal(size=5), random.normal(size=(STEPS, 5))


def trained(chosen: Recipe) -> tuple[Any, list[float]]:
    """The five weights after those steps, in float64, and the learning rate of each step."""
    weights, gradients = start()
    network = nn.Linear(5, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        network.weight.copy_(torch.from_numpy(weights))
    optimizer = build_optimizer(chosen, network)
    schedule = build_schedule(chosen, optimizer, STEPS)
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
    weights, gradients = start()
    velocity = np.zeros(5)
    for gradient in gradients:
        gradient = gradient + decay * weights
        velocity = momentum * velocity + gradient
        weights = weights - 0.1 * (gradient + momentum * velocity if nesterov else velocity)
    chosen = recipe(
        optimizer="sgd",
        learning_rate=0.1,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=decay,
        schedule="constant",
    )
    np.testing.assert_allclose(trained(chosen)[0], weights, rtol=1e-10)


@pytest.mark.parametrize("beta", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_adamw_is_its_formula(beta: float, decay: float) -> None:
    weights, gradients = start()
    first, second = np.zeros(5), np.zeros(5)
    for step, gradient in enumerate(gradients, start=1):
        first = beta * first + (1 - beta) * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weights = weights * (1 - 0.1 * decay)  # decoupled: not through the gradient
        weights = weights - 0.1 * (first / (1 - beta**step)) / (
            np.sqrt(second / (1 - 0.999**step)) + 1e-8
        )
    chosen = recipe(
        optimizer="adamw",
        learning_rate=0.1,
        momentum=beta,
        nesterov=False,
        weight_decay=decay,
        schedule="constant",
    )
    np.testing.assert_allclose(trained(chosen)[0], weights, rtol=1e-6)


def one_cycle(step: int, steps: int, highest: float) -> float:
    """A cosine from a 25th of the highest rate up to it in 30 % of the steps, and one down to a 250,000th."""

    def cosine(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    peak = 0.3 * steps - 1
    if step <= peak:
        return cosine(highest / 25, highest, step / peak)
    return cosine(highest, highest / 25e4, (step - peak) / (steps - 1 - peak))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_cycle_is_its_curve(optimizer: str) -> None:
    _, rates = trained(
        recipe(optimizer=optimizer, nesterov=False, learning_rate=0.2, schedule="one_cycle")
    )
    np.testing.assert_allclose(
        rates, [one_cycle(step, STEPS, 0.2) for step in range(STEPS)], rtol=1e-9
    )
    assert rates[0] == pytest.approx(0.2 / 25)
    assert rates[-1] == pytest.approx(0.2 / 25 / 1e4)
    assert max(rates) <= 0.2


def test_one_cycle_leaves_momentum_alone() -> None:
    """Torch's own default would cycle it too, against what params.yaml says."""
    chosen = recipe(schedule="one_cycle", momentum=0.77)
    optimizer = build_optimizer(chosen, nn.Linear(2, 2))
    schedule = build_schedule(chosen, optimizer, STEPS)
    for _ in range(STEPS - 1):
        assert optimizer.param_groups[0]["momentum"] == 0.77
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10])
def test_one_cycle_over_few_steps_is_finite_and_not_above_its_highest(steps: int) -> None:
    """A data set smaller than a batch, and one epoch: a single step."""
    chosen = recipe(schedule="one_cycle", learning_rate=0.2)
    optimizer = build_optimizer(chosen, nn.Linear(2, 2))
    schedule = build_schedule(chosen, optimizer, steps)
    for _ in range(steps):
        assert 0 < optimizer.param_groups[0]["lr"] <= 0.2
        optimizer.step()
        schedule.step()


def test_constant_is_constant() -> None:
    assert trained(recipe(schedule="constant", learning_rate=0.3))[1] == [0.3] * STEPS
