"""Groups of convolutions that stop to learn before the others."""

from torch import nn

from common.recipes import Recipe


def freeze_groups(network: nn.Module, recipe: Recipe, epoch: int) -> None:
    """Freeze the groups whose share of the epochs is over, the first epoch being 1.

    The first layers settle first, and nothing is propagated back through them any more, which is
    most of the work: the method of arXiv:1706.04983, in whole epochs.
    """
    for group, share in enumerate(recipe.freeze, start=1):
        if epoch > round(share * recipe.epochs):
            for name in (f"conv{group}a", f"norm{group}a", f"conv{group}b", f"norm{group}b"):
                network.get_submodule(name).requires_grad_(False)
