"""A recipe's optimizer and its schedule of learning rates."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import lr_scheduler

from common.recipes import Muon as MuonOptions
from common.recipes import Recipe


def build_optimizer(recipe: Recipe, network: torch.nn.Module) -> torch.optim.Optimizer:
    parameters = {
        name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad
    }
    fused = next(iter(parameters.values())).device.type in ("cpu", "cuda")
    options = recipe.optimizer
    if options.name == "muon":
        return Muon(recipe, parameters)
    if options.name == "adamw":
        return torch.optim.AdamW(
            parameters.values(),
            lr=recipe.learning_rate,
            betas=(options.momentum, 0.999),
            weight_decay=options.weight_decay,
            fused=fused,
        )
    return torch.optim.SGD(
        parameters.values(),
        lr=recipe.learning_rate,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
        fused=fused,
    )


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal (arXiv:2502.16982) for filters and hidden matrices; SGD for the rest.

    torch.optim.Muon takes matrices only. Here filters are one too, a row an output; and before each step a matrix is
    brought back to the norm of an orthogonal one, so that the learning rate keeps its meaning and nothing need decay.
    """

    def __init__(self, recipe: Recipe, parameters: dict[str, torch.nn.Parameter]) -> None:
        options = recipe.optimizer
        assert isinstance(options, MuonOptions)

        def is_matrix(name: str) -> bool:
            return parameters[name].ndim > 1 and not name.startswith("output.")

        matrices: dict[str, Any] = {
            "params": [parameters[name] for name in parameters if is_matrix(name)],
            "lr": recipe.learning_rate,
            "momentum": options.momentum,
            "orthogonal": True,
        }
        rest: dict[str, Any] = {
            "params": [parameters[name] for name in parameters if not is_matrix(name)],
            "lr": options.sgd.learning_rate,
            "momentum": options.sgd.momentum,
            "orthogonal": False,
        }
        super().__init__(
            [matrices, rest],
            {"nesterov": options.nesterov, "weight_decay": options.sgd.weight_decay},
        )
        self.precision = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in (
                parameter for parameter in group["params"] if parameter.grad is not None
            ):
                update = weight.grad
                if not group["orthogonal"]:
                    update = update.add(weight, alpha=group["weight_decay"])
                if "momentum_buffer" not in self.state[weight]:
                    self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
                momentum = (
                    self.state[weight]["momentum_buffer"].mul_(group["momentum"]).add_(update)
                )
                update = (
                    update.add(momentum, alpha=group["momentum"]) if group["nesterov"] else momentum
                )
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


def build_schedule(
    recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int
) -> lr_scheduler.LRScheduler:
    """The learning rate of each of ``steps`` steps; call its ``step`` after each of the optimizer's."""
    if recipe.schedule == "one_cycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, cycle_momentum=False)
    if recipe.schedule == "linear":
        return lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
