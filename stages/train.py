"""Train a network by a recipe.

Reads data/images (training pictures and labels), params train and the recipe it names; writes
models/classifier.safetensors, reports/history.csv and .png, and reports/timing.csv. The test set is never opened.

The pictures stay uint8 and are normalised a batch at a time on the device that trains: no worker processes, no
per-picture Python. The order of the pictures in an epoch comes from the seed and the epoch alone.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn.functional import cross_entropy

from common.augment import Augmentation, draw_augmentation, generator
from common.classifier import Classifier, Description, save_classifier, select_device
from common.figures import BLUE, STYLE, heading, save_figure
from common.files import REPORTS, write_text
from common.images import ImageFile, LabelledImages, load_images
from common.network import layer_table
from common.params import load_params
from common.progress import Progress
from common.recipe import build_optimizer, build_schedule, split_evenly
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
    classifier.prepare(train.images)
    print(layer_table(classifier.network, description.image_size), flush=True)

    history = fit(classifier.to(device), train, device)

    save_classifier(classifier)
    save_figure(draw_history(history, description.title), REPORTS / "history.png")


def fit(classifier: Classifier, train: LabelledImages, device: torch.device) -> list[Epoch]:
    """Train a classifier that is on ``device``; write the CSVs after each epoch.

    Raises:
        UserError: the loss is not finite.
    """
    recipe, seed = classifier.description.recipe, classifier.description.seed
    read = reader(train.images, device)
    labels = torch.from_numpy(train.labels).to(device)
    steps = math.ceil(len(labels) / recipe.batch_size)
    optimizer = build_optimizer(recipe, classifier.network)
    schedule = build_schedule(recipe, optimizer, steps * recipe.epochs)
    history: list[Epoch] = []
    timing: list[dict[str, float]] = []
    for epoch in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        order = torch.randperm(len(labels), generator=generator(seed, epoch))
        augment = draw_augmentation(recipe, len(labels), seed, epoch)
        with Progress(total=steps, desc=f"Epoch {epoch} of {recipe.epochs}", unit="batch") as progress:
            history.append(train_epoch(classifier, optimizer, schedule, read, augment, labels, order, epoch, progress))
        seconds = time.perf_counter() - started
        timing.append({"epoch": epoch, "seconds": seconds, "images_per_second": len(labels) / seconds})
        write_csv(REPORTS / "history.csv", [asdict(row) for row in history])
        write_csv(REPORTS / "timing.csv", timing)
        print(
            f"epoch {epoch}: loss {history[-1].train_loss:.4f}, accuracy {history[-1].train_accuracy:.2f} %", flush=True
        )
    return history


def reader(images: ImageFile, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What turns indices, int64 (n,), into pictures, uint8 (n, 3, H, W), on ``device``.

    They all stay on a GPU when they fill less than half of its free memory; otherwise a batch at a time is read.
    """
    if device.type == "cuda" and 2 * math.prod(images.shape) < torch.cuda.mem_get_info(device)[0]:
        resident = torch.from_numpy(images.read(range(len(images)))).to(device)
        return lambda indices: resident[indices.to(device)]
    return lambda indices: torch.from_numpy(images.read(indices.tolist())).to(device)


def train_epoch(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    read: Callable[[Tensor], Tensor],
    augment: Augmentation,
    labels: Tensor,
    order: Tensor,
    epoch: int,
    progress: Progress,
) -> Epoch:
    classifier.train()
    recipe = classifier.description.recipe
    rate, loss_sum, seen = math.nan, 0.0, 0
    correct = torch.zeros((), dtype=torch.int64, device=labels.device)
    for step, batch in enumerate(split_evenly(order, recipe.batch_size), start=1):
        optimizer.zero_grad()
        loss = torch.zeros((), device=labels.device)
        for piece in split_evenly(batch, recipe.micro_batch):
            logits = classifier(augment(read(piece), piece))
            wanted = labels[piece]
            part = cross_entropy(logits, wanted, reduction="sum", label_smoothing=recipe.label_smoothing) / len(batch)
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
            correct += (logits.argmax(dim=1) == wanted).sum()
        rate = float(schedule.get_last_lr()[0])
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(
                f"the loss is {value} at epoch {epoch}, step {step}, learning rate {rate:g}; "
                "choose a lower learning_rate"
            )
        optimizer.step()
        schedule.step()
        loss_sum += value * len(batch)
        seen += len(batch)
        progress.update()
        if step % 100 == 0:
            progress.set_postfix_str(f"loss {loss_sum / seen:.3f}", refresh=False)
    return Epoch(epoch, rate, loss_sum / seen, 100 * int(correct) / seen)


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    lines = [",".join(rows[0]), *(",".join(f"{value:.6g}" for value in row.values()) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


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
            if column == "learning_rate":
                axes.set_ylim(0, None)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.tight_layout(rect=(0, 0, 1, 0.82))
        heading(figure, "Training", subtitle)
    return figure


if __name__ == "__main__":
    run(main)
