"""The training loop: epochs of steps, each followed by validation, a row of the history and a
checkpoint.
"""

import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, nll_loss

from common.errors import UserError
from common.network_options import LIBRARIES
from common.progress import Progress
from common.recipes import Recipe
from model.classifier import Classifier, predict
from model.memory import keep_freed_memory
from model.networks import load_weights
from training.augment import Augmentation, View, augment_epoch
from training.batches import TrainingData, epoch_order, split_evenly
from training.checkpoint import Checkpoint
from training.distributed import ProcessGroup
from training.history import EpochRow, TimingRow
from training.interrupt import Interrupt, deferred_signals
from training.result import check_result
from training.seeds import derive_seed
from training.state import TrainingState

# Not machine.predict_batch_size: it may change the last bits of the validation loss.
VALIDATION_BATCH_SIZE = 100
CHECKED_IMAGES = 16  # of the training images, by which the result is checked
SMALLEST = torch.finfo(torch.float32).tiny  # keeps the logarithm of a probability finite


@dataclass(frozen=True)
class Setup:
    """The fixed parts of a training: model, data, process group, device."""

    classifier: Classifier
    trained: Classifier  # the classifier, or its last layer if that alone is trained
    data: TrainingData
    read: Callable[[Tensor], Tensor]  # indices (n,) to rows of data.images, on the device
    labels: Tensor  # data.labels, on the device
    group: ProcessGroup
    device: torch.device
    class_weights: Tensor | None  # in the loss, float32 (classes,), on the device

    @property
    def recipe(self) -> Recipe:
        """The recipe, with its precision settled."""
        return self.classifier.description.recipe

    @property
    def seed(self) -> int:
        """The seed of all random numbers."""
        return self.classifier.description.seed


def fit(setup: Setup, state: TrainingState, checkpoint: Checkpoint) -> None:
    """Train to the last epoch or until early stopping, and leave the weights to be used in the
    network.

    SIGINT and SIGTERM save the state and exit.

    Raises:
        UserError: A loss, or the weights after the last step, are not finite.
    """
    keep_freed_memory()
    with deferred_signals() as interrupt:
        while not finished(setup, state):
            train_epoch(setup, state, checkpoint, interrupt)
            finish_epoch(setup, state)
            if setup.group.rank == 0:
                checkpoint.save(state.state_dict())
    if state.early_stopping.best_weights:
        load_weights(state.network, state.early_stopping.best_weights)
    setup.group.broadcast(state.network.buffers())  # batch norm's are those of a shard
    check_result(setup.trained, state, setup.read(setup.data.train[:CHECKED_IMAGES]))


def finished(setup: Setup, state: TrainingState) -> bool:
    done = len(state.history.epochs)
    return done >= setup.recipe.epochs or state.early_stopping.should_stop(done)


def train_epoch(
    setup: Setup, state: TrainingState, checkpoint: Checkpoint, interrupt: Interrupt
) -> None:
    """Take the remaining steps of the current epoch."""
    data, epoch = setup.data, state.epoch
    order = data.train[epoch_order(len(data.train), setup.seed, epoch)]
    batches = split_evenly(order, setup.recipe.batch_size)
    augment = augment_epoch(setup.recipe, len(data.labels), setup.seed, epoch).to(setup.device)
    setup.trained.train()
    began = time.perf_counter() - state.sums.seconds
    title = f"Epoch {epoch} of {setup.recipe.epochs}"
    with Progress(total=len(batches), initial=state.step, desc=title, unit="batch") as progress:
        for batch in batches[state.step :]:
            train_step(setup, state, batch, augment)
            state.sums.seconds = time.perf_counter() - began
            progress.update()
            # Not on a GPU, where reading the loss would wait for the step to end.
            if state.step % 100 == 0 and setup.device.type == "cpu":
                loss = state.sums.losses[: state.step].mean()
                progress.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            number = interrupt.signal or signal.SIGTERM * setup.group.orphaned
            if number := setup.group.all_reduce_max(number):
                progress.close()
                exit_resumable(setup, state, checkpoint, number)
            if setup.group.rank == 0 and checkpoint.due:
                checkpoint.save(state.state_dict())


def train_step(
    setup: Setup, state: TrainingState, batch: Tensor, augment: Augmentation | View
) -> None:
    """Take a step on the images with these indices, int64 (n,)."""
    group, sums = setup.group, state.sums
    if isinstance(setup.recipe.network, LIBRARIES):  # these have dropout and the like
        torch.manual_seed(derive_seed(setup.seed, state.epoch, 2, sums.step, group.rank))
    state.optimizer.zero_grad()
    loss, correct = accumulate_gradients(setup, batch, augment)
    loss, correct = group.all_reduce(loss), group.all_reduce(correct)
    group.sum_gradients(setup.trained.parameters())
    learning_rate = float(state.schedule.get_last_lr()[0])
    if setup.device.type == "cpu":  # on a GPU, at the end of the epoch
        check_finite(loss, state.epoch, sums.step + 1, learning_rate)
    state.optimizer.step()
    state.schedule.step()
    sums.add(loss, correct, learning_rate)


def accumulate_gradients(
    setup: Setup, batch: Tensor, augment: Augmentation | View
) -> tuple[Tensor, Tensor]:
    """Add up the gradients of this rank's shard of a batch, (n,), one micro-batch at a time.

    Returns:
        The shard's part of the batch's mean loss, float32 (), and its number of correct
        predictions, int64 ().
    """
    group, recipe, device = setup.group, setup.recipe, setup.device
    loss = torch.zeros((), device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    for indices in split_evenly(group.shard(batch), recipe.micro_batch):
        images, chosen = setup.read(indices), indices.to(device)
        labels = setup.labels[chosen]
        logits = setup.trained(augment(images, chosen))
        part = cross_entropy(
            logits,
            labels,
            setup.class_weights,
            reduction="sum",
            label_smoothing=recipe.label_smoothing,
        )
        part = part / len(batch)
        part.backward()  # type: ignore[no-untyped-call]
        loss += part.detach()
        correct += (logits.detach().argmax(dim=1) == labels).sum()
    return loss, correct


def finish_epoch(setup: Setup, state: TrainingState) -> None:
    """Validate, record the epoch, and keep its weights if they are the best so far."""
    epoch, seconds = state.epoch, state.sums.seconds
    trained, validated = train_metrics(setup, state), validate(setup)
    row = EpochRow(epoch, state.sums.learning_rate, *trained, *validated)
    state.early_stopping.update(epoch, row.validation_loss, state.network)
    state.history.epochs.append(row)
    state.history.timing.append(TimingRow(epoch, seconds, len(setup.data.train) / seconds))
    if setup.group.rank == 0:
        state.history.write()
        print(row, flush=True)
    state.sums.reset()


def train_metrics(setup: Setup, state: TrainingState) -> tuple[float, float]:
    """Return the mean loss over all images of the epoch, and the accuracy in percent."""
    losses, count = state.sums.losses.cpu().double(), len(setup.data.train)
    for step in (~losses.isfinite()).nonzero()[:1]:
        check_finite(losses[step], state.epoch, int(step) + 1, state.sums.learning_rate)
    batches = split_evenly(setup.data.train, setup.recipe.batch_size)
    sizes = torch.tensor([len(batch) for batch in batches])
    return float((losses * sizes).sum()) / count, 100 * int(state.sums.correct) / count


def validate(setup: Setup) -> tuple[float, float]:
    """Return the mean loss on the validation images, and the accuracy in percent; NaN if there are
    none.
    """
    count = len(setup.data.validation)
    if count == 0:
        return math.nan, math.nan
    setup.group.broadcast(setup.trained.network.buffers())  # batch norm's are those of a shard
    indices = setup.group.shard(setup.data.validation)
    probabilities = predict(
        setup.trained,
        setup.data.images,
        indices.numpy(),
        VALIDATION_BATCH_SIZE,
        title="Validate",
    )
    labels = setup.data.labels[indices]
    loss = nll_loss(probabilities.clamp_min(SMALLEST).log(), labels, reduction="sum")
    correct = (probabilities.argmax(dim=1) == labels).sum()
    sums = setup.group.all_reduce(torch.stack([loss.double(), correct.double()]))
    loss, correct = sums / count
    return float(loss), 100 * float(correct)


def exit_resumable(
    setup: Setup, state: TrainingState, checkpoint: Checkpoint, number: int
) -> NoReturn:
    """Save the state and exit, as a signal with this number asks for."""
    if setup.group.rank == 0:
        checkpoint.save(state.state_dict())
        print(
            f"stopped by {signal.Signals(number).name} in epoch {state.epoch}, after step "
            f"{state.step}; the state is saved in {checkpoint.path}: run the same command again "
            "to resume",
            file=sys.stderr,
        )
    sys.exit(128 + number)


def check_finite(loss: Tensor, epoch: int, step: int, learning_rate: float) -> None:
    if not math.isfinite(loss.item()):
        raise UserError(
            f"the loss is {loss.item()} at epoch {epoch}, step {step}, "
            f"learning rate {learning_rate:g}; choose a lower learning_rate"
        )
