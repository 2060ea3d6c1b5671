"""What is recorded of each epoch, in reports/history.csv, reports/timing.csv and on standard
output.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from common.files import REPORTS
from common.tables import write_csv


@dataclass(frozen=True)
class Row:
    """A row of numbers per epoch."""

    epoch: int

    @classmethod
    def load(cls, values: Mapping[str, Any]) -> Self:
        """Return the row with these values.

        Raises:
            TypeError: A value is missing, unknown or no number.
        """
        if not all(isinstance(value, int | float) for value in values.values()):
            raise TypeError(f"{dict(values)} holds something else than numbers")
        return cls(**values)


@dataclass(frozen=True)
class EpochRow(Row):
    """A row of history.csv. It holds no times, so that the file is reproducible."""

    learning_rate: float  # of the last step
    train_loss: float  # mean over the images, each with the weights before its step
    train_accuracy: float  # percent
    validation_loss: float = math.nan  # without validation images NaN, which charts leave out
    validation_accuracy: float = math.nan  # percent

    @property
    def validated(self) -> bool:
        """True if there were validation images; their loss may be NaN, but not their accuracy."""
        return not math.isnan(self.validation_accuracy)

    def __str__(self) -> str:
        kinds = ("train", "validation") if self.validated else ("train",)
        numbers = ", ".join(
            f"{name.replace('_', ' ')} {value:.4g}"
            for name, value in asdict(self).items()
            if name.startswith(kinds)
        )
        return f"epoch {self.epoch}: {numbers}"


@dataclass(frozen=True)
class TimingRow(Row):
    """A row of timing.csv: the seconds of the epoch's steps, without validation."""

    seconds: float
    images_per_second: float


@dataclass
class History:
    """The rows of all epochs so far."""

    epochs: list[EpochRow] = field(default_factory=list)
    timing: list[TimingRow] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": [asdict(row) for row in self.epochs],
            "timing": [asdict(row) for row in self.timing],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs = [EpochRow.load(row) for row in state["epochs"]]
        self.timing = [TimingRow.load(row) for row in state["timing"]]

    def write(self) -> None:
        """Write both CSV files whole."""
        write_csv(REPORTS / "history.csv", [asdict(row) for row in self.epochs])
        write_csv(REPORTS / "timing.csv", [asdict(row) for row in self.timing])
