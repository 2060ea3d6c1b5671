"""The state of a training between two steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from model.classifier import Classifier
from model.networks import load_weights
from training.early_stopping import EarlyStopping
from training.history import History
from training.optimizers import build_optimizer, build_schedule


@dataclass
class EpochSums:
    """What the steps of the current epoch add up to."""

    losses: Tensor  # mean loss of each step's batch, float32 (steps,), on the device
    correct: Tensor  # correct predictions so far, int64 (), on the device
    step: int = 0  # steps done
    learning_rate: float = 0.0  # of the last step
    seconds: float = 0.0  # that the steps took

    @classmethod
    def zero(cls, steps: int, device: torch.device) -> "EpochSums":
        """Return the sums before the first of ``steps`` steps."""
        correct = torch.zeros((), dtype=torch.int64, device=device)
        return cls(torch.zeros(steps, device=device), correct)

    def reset(self) -> None:
        """Begin another epoch."""
        self.losses.zero_()
        self.correct.zero_()
        self.step, self.learning_rate, self.seconds = 0, 0.0, 0.0

    def add(self, loss: Tensor, correct: Tensor, learning_rate: float) -> None:
        """Add a step: the mean loss of its batch, (), and the number of correct predictions, ()."""
        self.losses[self.step] = loss
        self.correct += correct
        self.learning_rate = learning_rate
        self.step += 1

    def state_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.losses.copy_(state["losses"])
        self.correct.copy_(state["correct"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.learning_rate = state["learning_rate"]


@dataclass
class TrainingState:
    """Everything that a later step depends on, besides the seed and the data."""

    network: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    early_stopping: EarlyStopping
    sums: EpochSums
    history: History = field(default_factory=History)

    @property
    def epoch(self) -> int:
        """The current epoch; the first is 1."""
        return len(self.history.epochs) + 1

    @property
    def step(self) -> int:
        """The steps done in the current epoch."""
        return self.sums.step

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "early_stopping": self.early_stopping.state_dict(),
            "history": self.history.state_dict(),
            "sums": self.sums.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned in another process; this training must not
        have begun.

        Raises:
            KeyError, TypeError, ValueError: ``state`` is not one of this training. Then nothing is
                changed.
        """
        check_form(state, self.state_dict())
        if weights := state["early_stopping"]["best_weights"]:
            check_form(weights, dict(self.network.state_dict()), "early_stopping.best_weights")
        check_buffers(state["optimizer"]["state"], self.optimizer)
        history = History()
        history.load_state_dict(state["history"])
        steps_done = len(history.epochs) * len(self.sums.losses) + state["sums"]["step"]
        if not 0 <= state["sums"]["step"] <= len(self.sums.losses):
            raise ValueError(f"sums.step is {state['sums']['step']}")
        if state["schedule"]["last_epoch"] != steps_done:  # torch counts steps there
            raise ValueError(f"its schedule is not at step {steps_done}")
        self.history = history
        load_weights(self.network, state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.early_stopping.load_state_dict(state["early_stopping"])
        self.sums.load_state_dict(state["sums"])


def new_state(
    classifier: Classifier, steps: int, patience: int | Literal["never"]
) -> TrainingState:
    """Return the state of a training that has not begun.

    Args:
        classifier: with its initial weights, on the device that trains.
        steps: per epoch.
        patience: of early stopping, in epochs.
    """
    recipe, network = classifier.description.recipe, classifier.network
    optimizer = build_optimizer(recipe, network)
    return TrainingState(
        network=network,
        optimizer=optimizer,
        schedule=build_schedule(recipe, optimizer, steps * recipe.epochs),
        early_stopping=EarlyStopping(None if patience == "never" else patience),
        sums=EpochSums.zero(steps, next(network.parameters()).device),
    )


def check_form(found: Any, expected: Any, name: str = "state") -> None:
    """Check that ``found`` has the keys, types and shapes of ``expected``; what is empty there may
    be filled.

    Raises:
        ValueError: It has others; the line names the place.
    """
    if not isinstance(found, type(expected)):
        raise ValueError(f"{name} is of type {type(found).__name__}")
    if isinstance(expected, Tensor):
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"{name} is {found.dtype} {tuple(found.shape)}")
    elif isinstance(expected, dict) and expected:
        if found.keys() != expected.keys():
            raise ValueError(f"{name} has other keys: {', '.join(map(str, found))}")
        for key in expected:
            check_form(found[key], expected[key], f"{name}.{key}")
    elif isinstance(expected, list) and expected:
        if len(found) != len(expected):
            raise ValueError(f"{name} has {len(found)} elements")
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            check_form(one, other, f"{name}.{number}")


def check_buffers(found: Mapping[int, Mapping[str, Any]], optimizer: Optimizer) -> None:
    """Check that each buffer of an optimizer, such as momentum, has its parameter's shape or is a
    scalar.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, buffers in found.items():
        for name, buffer in buffers.items():
            shapes = ((), parameters[index].shape)
            if isinstance(buffer, Tensor) and buffer.shape not in shapes:
                raise ValueError(f"optimizer.state.{index}.{name} is {tuple(buffer.shape)}")
