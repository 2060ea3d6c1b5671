"""A training on all folds but one, and the probabilities for the images of that one."""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from common.arrays import Array, LabelledImages
from common.files import write_bytes
from common.params import Machine
from model.classifier import Classifier, Description, predict
from model.device import select_device
from training.batches import TrainingData, split_evenly
from training.checkpoint import Checkpoint, resume
from training.distributed import ProcessGroup
from training.history import History
from training.loop import fit
from training.setup import build_setup
from training.state import new_state


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation."""

    number: int  # the first is 1
    of: int  # folds
    inside: Array  # indices of its images, int64, ascending
    outside: Array  # indices of the others

    @property
    def name(self) -> str:
        return f"{self.number} of {self.of}"


class UnwrittenHistory(History):
    """A history that leaves reports/history.csv to the train stage."""

    def write(self) -> None:
        """Write nothing."""


def probabilities_of(
    fold: Fold,
    loaded: LabelledImages,
    description: Description,
    fingerprint: dict[str, str],
    machine: Machine,
    folder: Path,
) -> Array:
    """Return the probabilities of the classes for the fold's images, float32 (n, classes).

    A finished fold is read from ``folder``; a training that was stopped is resumed.
    """
    fingerprint = fingerprint | {"fold": fold.name}
    path = folder / f"fold_{fold.number}_of_{fold.of}.safetensors"
    probabilities = read_probabilities(path, fingerprint)
    if probabilities is None:
        state = path.with_suffix(".state")
        checkpoint = Checkpoint(fingerprint, machine.checkpoint_minutes, state)
        classifier = train(fold, loaded, description, machine, checkpoint)
        size = machine.predict_batch_size
        probabilities = predict(classifier, loaded.images, fold.inside, size).numpy()
        write_bytes(path, save({"probabilities": probabilities}, fingerprint))
        checkpoint.remove()
    return probabilities


def read_probabilities(path: Path, fingerprint: dict[str, str]) -> Array | None:
    """Return the probabilities of a finished fold; None if it is not finished, or not of this data
    and recipe.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            if file.metadata() != fingerprint:
                return None
            probabilities: Array = file.get_tensor("probabilities")
            return probabilities
    except SafetensorError:
        print(f"{path}: damaged, so its fold is trained again", file=sys.stderr)
        return None


def train(
    fold: Fold,
    loaded: LabelledImages,
    description: Description,
    machine: Machine,
    checkpoint: Checkpoint,
) -> Classifier:
    """Train by the recipe on the images outside of the fold."""
    data = TrainingData(
        loaded.images,
        torch.from_numpy(loaded.labels),
        train=torch.from_numpy(fold.outside),
        validation=torch.arange(0),
    )
    classifier = Classifier(description)
    device, group = select_device(machine.device), ProcessGroup()
    setup = build_setup(classifier, data, group, device)
    batches = split_evenly(data.train, description.recipe.batch_size)
    state = new_state(setup.trained, len(batches), "never")
    resume(state, checkpoint, group)
    state.history = UnwrittenHistory(state.history.epochs, state.history.timing)
    with contextlib.redirect_stdout(sys.stderr):  # the epochs are progress, not the result
        fit(setup, state, checkpoint)
    return classifier
