"""A recipe's optimizer and its schedule of learning rates."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from common.recipes import Muon as MuonOptions
from common.recipes import Recipe
from training.eager import AdamW, Eager, Sgd


def build_optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimizer of the parameters that require gradients."""
    parameters = {
        name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad
    }
    fused = next(iter(parameters.values())).device.type in ("cpu", "cuda")
    options = recipe.optimizer
    if options.name == "muon":
        return Muon(recipe, parameters)
    if options.name == "adamw":
        return AdamW(
            parameters.values(),
            lr=recipe.learning_rate,
            betas=(options.momentum, 0.999),
            weight_decay=options.weight_decay,
            fused=fused,
        )
    return Sgd(
        parameters.values(),
        lr=recipe.learning_rate,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
        fused=fused,
    )


def build_schedule(
    recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int
) -> lr_scheduler.LRScheduler:
    """Return the schedule of a training of ``steps`` steps; its ``step`` follows each of the
    optimizer's.
    """
    if recipe.schedule == "one_cycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, cycle_momentum=False)
    if recipe.schedule == "linear":
        return lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


class Muon(Eager):
    """Orthogonalized momentum for filters and hidden matrices (arXiv:2502.16982), SGD for the other
    parameters.

    torch.optim.Muon takes matrices only. Here a convolution's weight is a matrix too, one row per
    output channel. Before each step a matrix is scaled to the norm of an orthogonal one, so that
    the learning rate is relative to the weights and no weight decay is needed.
    """

    def __init__(self, recipe: Recipe, parameters: dict[str, nn.Parameter]) -> None:
        options = recipe.optimizer
        assert isinstance(options, MuonOptions)
        orthogonal = {
            name: parameter.ndim > 1 and not name.startswith("output.")
            for name, parameter in parameters.items()
        }
        matrices: dict[str, Any] = {
            "params": [parameters[name] for name in parameters if orthogonal[name]],
            "lr": recipe.learning_rate,
            "momentum": options.momentum,
            "orthogonal": True,
        }
        rest: dict[str, Any] = {
            "params": [parameters[name] for name in parameters if not orthogonal[name]],
            "lr": options.sgd.learning_rate,
            "momentum": options.sgd.momentum,
            "orthogonal": False,
        }
        defaults = {"nesterov": options.nesterov, "weight_decay": options.sgd.weight_decay}
        super().__init__([matrices, rest], defaults)
        self.precision = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            if weights := [weight for weight in group["params"] if weight.grad is not None]:
                self.update(weights, group)

    def update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Update parameters in place, in few calls for all, so that a GPU launches few kernels."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if not group["orthogonal"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        for weight in weights:
            if "momentum_buffer" not in self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        momenta = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        steps = momenta
        if group["nesterov"]:
            steps = list(torch._foreach_add(gradients, momenta, alpha=group["momentum"]))
        if group["orthogonal"]:
            norms = torch._foreach_norm(weights)
            torch._foreach_mul_(
                weights, [len(w) ** 0.5 / n for w, n in zip(weights, norms, strict=True)]
            )
            steps = orthogonalize_all(steps, self.precision)
        torch._foreach_add_(weights, steps, alpha=-group["lr"])


def orthogonalize_all(filters: list[Tensor], precision: torch.dtype) -> list[Tensor]:
    """Orthogonalize each of the filters, (m, ...), as a matrix, those of a shape in one batch."""
    shapes = {each.shape for each in filters}
    alike = {shape: [each for each in filters if each.shape == shape] for shape in shapes}
    orthogonal = {
        shape: iter(orthogonalize(torch.stack(group).flatten(2).to(precision)))
        for shape, group in alike.items()
    }
    return [next(orthogonal[each.shape]).view(each.shape) for each in filters]


def orthogonalize(matrices: Tensor, steps: int = 3) -> Tensor:
    """Bring the singular values of each matrix, (..., m, n), near 1 by Newton-Schulz iteration, for
    which bfloat16 is precise enough.

    The coefficients are those of torch.optim.Muon, chosen for the steepest slope at 0.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    result = matrices.mT if tall else matrices
    result = result / (result.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = result @ result.mT
        result = 3.4445 * result + (-4.7750 * square + 2.0315 * square @ square) @ result
    orthogonal: Tensor = result.mT if tall else result
    return orthogonal
