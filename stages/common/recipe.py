"""A recipe's optimizer and its schedule of learning rates."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import lr_scheduler

from .params import Recipe


def build_optimizer(recipe: Recipe, network: torch.nn.Module) -> torch.optim.Optimizer:
    parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    fused = next(iter(parameters.values())).device.type in ("cpu", "cuda")
    if recipe.optimizer == "muon":
        return Muon(recipe, parameters)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters.values(),
            lr=recipe.learning_rate,
            betas=(recipe.momentum, 0.999),
            weight_decay=recipe.weight_decay,
            fused=fused,
        )
    return torch.optim.SGD(
        parameters.values(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal (arXiv:2502.16982) for filters and hidden matrices; SGD for the rest.

    torch.optim.Muon takes matrices only. Here filters are one too, a row an output; and before each step a matrix is
    brought back to the norm of an orthogonal one, so that the learning rate keeps its meaning and nothing need decay.
    """

    def __init__(self, recipe: Recipe, parameters: dict[str, torch.nn.Parameter]) -> None:
        def is_matrix(name: str) -> bool:
            return parameters[name].ndim > 1 and not name.startswith("output.")

        matrices: dict[str, Any] = {
            "params": [parameters[name] for name in parameters if is_matrix(name)],
            "lr": recipe.learning_rate,
            "momentum": recipe.momentum,
            "orthogonal": True,
        }
        rest: dict[str, Any] = {
            "params": [parameters[name] for name in parameters if not is_matrix(name)],
            "lr": recipe.sgd_learning_rate,
            "momentum": recipe.sgd_momentum,
            "orthogonal": False,
        }
        super().__init__([matrices, rest], {"nesterov": recipe.nesterov, "weight_decay": recipe.weight_decay})
        self.precision = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in (parameter for parameter in group["params"] if parameter.grad is not None):
                update = weight.grad
                if not group["orthogonal"]:
                    update = update.add(weight, alpha=group["weight_decay"])
                if "momentum_buffer" not in self.state[weight]:
                    self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
                momentum = self.state[weight]["momentum_buffer"].mul_(group["momentum"]).add_(update)
                update = update.add(momentum, alpha=group["momentum"]) if group["nesterov"] else momentum
                if group["orthogonal"]:
                    weight.mul_(len(weight) ** 0.5 / weight.norm())
                    update = orthogonalize(update.flatten(1).to(self.precision)).view(update.shape)
                weight.add_(update, alpha=-group["lr"])


def orthogonalize(matrix: Tensor, steps: int = 3) -> Tensor:
    """Bring the singular values of (m, n) near 1 by Newton-Schulz iteration, for which bfloat16 is exact enough.

    The coefficients are those of torch.optim.Muon: as steep as can be at 0.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    result = matrix.T if tall else matrix
    result = result / (result.norm() + 1e-7)
    for _ in range(steps):
        square = result @ result.T
        result = 3.4445 * result + (-4.7750 * square + 2.0315 * square @ square) @ result
    orthogonal: Tensor = result.T if tall else result
    return orthogonal


def build_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler:
    """The learning rate of each of ``steps`` steps; call its ``step`` after each of the optimizer's."""
    if recipe.schedule == "one_cycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, cycle_momentum=False)
    if recipe.schedule == "linear":
        return lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


def split_evenly(indices: Tensor, size: int | None) -> tuple[Tensor, ...]:
    """Cut (n,) into the fewest parts of at most ``size``, null for one, that differ by one at most.

    So no batch is left with a single picture, of which batch norm could learn nothing.
    """
    return indices.tensor_split(math.ceil(len(indices) / (size or len(indices))))
