"""Groups of convolutions that stop learning before the others."""

from torch import nn

from common.recipes import Recipe


def freeze_groups(network: nn.Module, recipe: Recipe, epoch: int) -> None:
    """Freeze the groups whose share of the epochs is over, the first epoch being 1.

    The first layers settle first. Once they are frozen, no gradient is computed for them, which
    saves most of their time. The idea is that of arXiv:1706.04983, here in whole epochs, at least
    one, and without a learning rate for each layer.
    """
    for group, share in enumerate(recipe.freeze, start=1):
        if epoch > max(1, round(share * recipe.epochs)):
            for name in (f"conv{group}a", f"norm{group}a", f"conv{group}b", f"norm{group}b"):
                network.get_submodule(name).requires_grad_(False)
