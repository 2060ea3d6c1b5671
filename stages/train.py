"""Train a network by a recipe.

Reads data/images (training pictures and labels), params train and the recipe it names; writes
models/classifier.safetensors, reports/history.csv and .png, and reports/timing.csv. The test set is never opened.

The pictures stay uint8 and are normalised a batch at a time on the device that trains: no worker processes, no
per-picture Python. The order of the pictures in an epoch comes from the seed and the epoch alone.
"""

import math
import time
from dataclasses import asdict, dataclass

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from common.classifier import Classifier, Description, save_classifier, select_device
from common.figures import BLUE, STYLE, heading, save_figure
from common.files import REPORTS, write_text
from common.images import load_images
from common.network import layer_table
from common.params import load_params
from common.progress import Progress
from common.recipe import build_optimizer, build_schedule
from common.stage import UserError, run


@dataclass(frozen=True)
class Epoch:
    """A row of history.csv."""

    epoch: int
    learning_rate: float  # of the last step
    train_loss: float  # cross-entropy, mean over the pictures as they were trained on
    train_accuracy: float  # percent, likewise


def main() -> None:
    params = load_params()
    name, seed = params.train.recipe, params.train.seed
    device = select_device(params.train.device)
    if params.train.threads is not None:
        torch.set_num_threads(params.train.threads)

    train = load_images("train")
    images = torch.from_numpy(train.images).to(device)
    labels = torch.from_numpy(train.labels).to(device)
    description = Description(
        dataset=train.dataset.name,
        classes=train.dataset.classes,
        image_size=train.dataset.image_size,
        recipe_name=name,
        recipe=params.recipes[name],
        seed=seed,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    classifier = Classifier(description)
    print(layer_table(classifier.network, description.image_size), flush=True)

    history = fit(classifier.to(device), images, labels)

    save_classifier(classifier)
    save_figure(draw_history(history, description.title), REPORTS / "history.png")


def fit(classifier: Classifier, images: Tensor, labels: Tensor) -> list[Epoch]:
    """Train on uint8 (N, 3, H, W) and int64 (N,), both on the classifier's device; write the CSVs after each epoch.

    Raises:
        UserError: the loss is not finite.
    """
    recipe, seed = classifier.description.recipe, classifier.description.seed
    steps = math.ceil(len(images) / recipe.batch_size)
    optimizer = build_optimizer(recipe, classifier.parameters())
    schedule = build_schedule(recipe, optimizer, steps * recipe.epochs)
    history: list[Epoch] = []
    timing: list[dict[str, float]] = []
    for epoch in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        order = epoch_order(len(images), seed, epoch).to(images.device)
        with Progress(total=steps, desc=f"Epoch {epoch} of {recipe.epochs}", unit="batch") as progress:
            history.append(train_epoch(classifier, optimizer, schedule, images, labels, order, epoch, progress))
        seconds = time.perf_counter() - started
        timing.append({"epoch": epoch, "seconds": seconds, "images_per_second": len(images) / seconds})
        write_csv("history.csv", [asdict(row) for row in history])
        write_csv("timing.csv", timing)
        print(
            f"epoch {epoch}: loss {history[-1].train_loss:.4f}, accuracy {history[-1].train_accuracy:.2f} %", flush=True
        )
    return history


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """A permutation of the pictures, int64 (count,): of each epoch another, and known without those before it."""
    state = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
    return torch.randperm(count, generator=torch.Generator().manual_seed(int(state[0] >> 1)))


def train_epoch(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    images: Tensor,
    labels: Tensor,
    order: Tensor,
    epoch: int,
    progress: Progress,
) -> Epoch:
    classifier.train()
    batch_size = classifier.description.recipe.batch_size
    seen, correct, loss_sum = 0, 0, 0.0
    rate = math.nan
    for step, batch in enumerate(torch.split(order, batch_size), start=1):
        logits = classifier(images[batch])
        loss = nn.functional.cross_entropy(logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rate = float(schedule.get_last_lr()[0])
        if not math.isfinite(loss.item()):
            raise UserError(
                f"the loss is {loss.item()} at epoch {epoch}, step {step}, learning rate {rate:g}; "
                "choose a lower learning_rate"
            )
        optimizer.step()
        schedule.step()
        seen += len(batch)
        correct += int((logits.argmax(dim=1) == labels[batch]).sum())
        loss_sum += loss.item() * len(batch)
        progress.update()
        if step % 100 == 0:
            progress.set_postfix_str(f"loss {loss_sum / seen:.3f}", refresh=False)
    return Epoch(epoch, rate, loss_sum / seen, 100 * correct / seen)


def write_csv(name: str, rows: list[dict[str, float]]) -> None:
    write_text(REPORTS / name, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def draw_history(history: list[Epoch], subtitle: str) -> Figure:
    """Loss, accuracy and learning rate, a point an epoch."""
    panels = [("loss", "train_loss"), ("accuracy, %", "train_accuracy"), ("learning rate", "learning_rate")]
    epochs = [row.epoch for row in history]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2))
        all_axes = figure.subplots(1, len(panels))
        for axes, (label, column) in zip(all_axes, panels, strict=True):
            axes.plot(epochs, [getattr(row, column) for row in history], "o-", color=BLUE)
            axes.set(xlabel="epoch", title=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.tight_layout(rect=(0, 0, 1, 0.82))
        heading(figure, "Training", subtitle)
    return figure


if __name__ == "__main__":
    run(main)
