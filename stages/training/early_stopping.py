"""Early stopping on the validation loss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass
class EarlyStopping:
    """Stop after ``patience`` epochs without a lower validation loss, and keep the weights of the
    best epoch.

    With patience None, training never stops early and no weights are kept.
    """

    patience: int | None
    best_epoch: int = 0  # 0: none yet
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def update(self, epoch: int, loss: float, network: nn.Module) -> None:
        """Keep a copy of the weights if ``loss`` is the lowest so far, which NaN and infinity never
        are.
        """
        if self.patience is not None and loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
            weights = network.state_dict()
            self.best_weights = {name: tensor.clone() for name, tensor in weights.items()}

    def should_stop(self, epoch: int) -> bool:
        """Return True if the ``patience`` epochs up to this one brought no lower loss."""
        return self.patience is not None and epoch - self.best_epoch >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best_epoch, self.best_loss = state["best_epoch"], state["best_loss"]
        self.best_weights = state["best_weights"]
