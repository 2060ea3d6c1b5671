"""Train a network by a recipe.

Reads data/images (training pictures and labels), params train and the recipe it names; writes
models/classifier.safetensors, reports/history.csv and .png, and reports/timing.csv. The test set is never opened.

The pictures stay uint8 and are normalised a batch at a time on the device that trains: no worker processes, no
per-picture Python. The order of the pictures in an epoch comes from the seed and the epoch alone, so any step can be
reached again: a run that was killed carries on from models/resume.state and ends in the same bytes. Several processes
take the same steps together, each with its share of every batch.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import hashlib
import math
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss
from torch.nn.parallel import DistributedDataParallel

from common.arrays import ImageFile, LabelledImages, images_path, labels_path, load_images
from common.errors import UserError
from common.files import REPORTS, remove, sha256, write_text
from common.params import Params, Train, load_params
from common.progress import Progress
from common.recipes import Recipe
from common.split import split_by_class
from model.classifier import Classifier, Description, predict
from model.device import select_device, settle_precision
from model.file import save_classifier
from model.memory import keep_freed_memory
from training.augment import Augmentation, draw_augmentation
from training.batches import split_evenly
from training.checkpoint import STATE, load_state, save_state
from training.distributed import World, count_processes, find_world, joined, launch
from training.optimizers import build_optimizer, build_schedule
from training.pretrained import load_pretrained
from training.seeds import derive_seed, generator
from training.table import layer_table
from training.whitening import set_whitening

Row = dict[str, float]
SMALLEST = torch.finfo(torch.float32).tiny  # so that the logarithm of a probability is finite


@dataclass
class Stop:
    """Set by SIGINT and SIGTERM, looked at after each step."""

    signal: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.signal = number


@dataclass
class Best:
    """The weights of the epoch with the lowest validation loss."""

    epoch: int = 0
    loss: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)


def main() -> None:
    params = load_params()
    world = find_world()
    if world is None and (processes := count_processes(params.machine)) > 1:
        launch(__file__, processes)
    else:
        train(params, world or World())


def train(params: Params, world: World) -> None:
    device = select_device(params.machine.device, world.local_rank)
    if params.machine.threads != "auto":
        torch.set_num_threads(params.machine.threads)
    torch.backends.cudnn.deterministic = True  # the fastest algorithms on a GPU add up in any order
    with joined(world, device):
        recipe = settle_precision(params.recipe, device)
        recipe = recipe.model_copy(update={"precision": world.from_first(recipe.precision)})
        pictures = load_images("train")
        description = Description(
            dataset=pictures.dataset.name,
            classes=pictures.dataset.classes,
            image_size=pictures.dataset.image_size,
            fit=pictures.dataset.fit,
            recipe_name=params.train.recipe,
            recipe=recipe,
            seed=params.train.seed,
            device=device.type,
            processes=world.size,
            threads=torch.get_num_threads(),
            torch=str(torch.__version__),
        )
        classifier = Classifier(description)
        if world.writes:
            print(layer_table(classifier.network, description.image_size), flush=True)

        training = Training(classifier, pictures, params, device, world)
        training.resume()
        training.fit()

    if world.writes:
        save_classifier(classifier)
        remove(STATE)


class Training:
    """A training between two steps: all that a later step depends on, and what to do with it."""

    def __init__(
        self,
        classifier: Classifier,
        train: LabelledImages,
        params: Params,
        device: torch.device,
        world: World,
    ) -> None:
        self.classifier, self.device, self.world = classifier, device, world
        self.options, self.machine = params.train, params.machine
        self.recipe = classifier.description.recipe
        self.images, self.labels = train.images, torch.from_numpy(train.labels)
        self.members, self.validation = set_apart(train, params.train)
        batches = split_evenly(self.members, self.recipe.batch_size)
        self.steps = len(batches)  # in an epoch
        check_shares(world, self.recipe, min(map(len, batches)), len(self.validation))
        prepare(classifier, train.images, self.members)
        self.belongs_to = {
            "recipe": self.recipe.model_dump_json(),
            "seed": str(params.train.seed),
            "validation": f"{params.train.validation_fraction}, stopping after {params.train.early_stopping}",
            "pictures": sha256(images_path("train")),
            "labels": sha256(labels_path("train")),
            "code": checksum_of_code(),
            "torch": str(torch.__version__),
            "device": device.type,
        }
        world.check_same(self.belongs_to)
        self.belongs_to["processes"] = f"{world.size} with {torch.get_num_threads()} threads"
        self.model = wrap(classifier.to(device), world)
        self.read = reader(train.images, device)
        self.optimizer = build_optimizer(self.recipe, classifier.network)
        self.schedule = build_schedule(self.recipe, self.optimizer, self.steps * self.recipe.epochs)
        self.history: list[Row] = []
        self.timing: list[Row] = []
        self.best = Best()
        self.start_epoch()

    def start_epoch(self) -> None:
        self.step, self.rate, self.seconds = 0, 0.0, 0.0
        self.losses = torch.zeros(self.steps, device=self.device)
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)

    def save(self) -> None:
        self.saved = time.monotonic()
        if not self.world.writes:
            return
        state = {
            name: getattr(self, name)
            for name in ("history", "timing", "step", "rate", "seconds", "losses", "correct")
        }
        state |= {name: getattr(self, name).state_dict() for name in ("optimizer", "schedule")}
        save_state(
            state | {"network": self.classifier.network.state_dict(), "best": vars(self.best)},
            self.belongs_to,
        )

    def resume(self) -> None:
        """Go to where an earlier run of the same training was killed, if there is one."""
        state = self.world.from_first(load_state(self.belongs_to) if self.world.writes else None)
        if state is not None:
            self.classifier.network.load_state_dict(state.pop("network"))
            self.optimizer.load_state_dict(state.pop("optimizer"))
            self.schedule.load_state_dict(state.pop("schedule"))
            self.best = Best(**state.pop("best"))
            self.losses.copy_(state.pop("losses"))
            self.correct.copy_(state.pop("correct"))
            vars(self).update(state)
            if self.world.writes:
                print(
                    f"carrying on after epoch {len(self.history)}, step {self.step}",
                    file=sys.stderr,
                )
        self.saved = time.monotonic()

    def fit(self) -> None:
        """Train to the end, writing the CSVs after each epoch; on SIGINT or SIGTERM save the state and exit.

        Raises:
            UserError: the loss is not finite.
        """
        stop = Stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        keep_freed_memory()
        while not self.finished():
            self.train_epoch(stop)
            self.finish_epoch()
            self.save()
        if self.best.epoch:
            self.classifier.network.load_state_dict(self.best.weights)

    def finished(self) -> bool:
        patience = self.options.early_stopping
        epochs = len(self.history)
        return epochs == self.recipe.epochs or (
            patience != "never" and epochs - self.best.epoch >= patience
        )

    def train_epoch(self, stop: Stop) -> None:
        self.model.train()
        epoch = len(self.history) + 1
        order = self.members[epoch_order(len(self.members), self.options.seed, epoch)]
        augment = draw_augmentation(self.recipe, len(self.labels), self.options.seed, epoch)
        began = time.perf_counter() - self.seconds
        description = f"Epoch {epoch} of {self.recipe.epochs}"
        with Progress(
            total=self.steps, initial=self.step, desc=description, unit="batch"
        ) as progress:
            for batch in split_evenly(order, self.recipe.batch_size)[self.step :]:
                self.train_step(batch, augment, epoch)
                self.seconds = time.perf_counter() - began
                progress.update()
                if (
                    self.step % 100 == 0 and self.device.type == "cpu"
                ):  # a GPU would have to be waited for
                    progress.set_postfix_str(
                        f"loss {self.losses[: self.step].mean():.3f}", refresh=False
                    )
                if number := self.world.largest(
                    stop.signal or signal.SIGTERM * self.world.orphaned
                ):
                    self.save()
                    sys.exit(128 + number)
                if time.monotonic() - self.saved > 60 * self.machine.checkpoint_minutes:
                    self.save()

    def train_step(self, batch: Tensor, augment: Augmentation, epoch: int) -> None:
        """One step on the pictures with these indices, int64 (n,); their gradients add up a piece at a time."""
        if self.recipe.network.name == "torchvision":  # others have dropout and the like
            torch.manual_seed(derive_seed(self.options.seed, epoch, 2, self.step, self.world.rank))
        self.optimizer.zero_grad()
        loss, correct = (
            torch.zeros((), device=self.device),
            torch.zeros((), dtype=torch.int64, device=self.device),
        )
        pieces = split_evenly(self.world.share(batch), self.recipe.micro_batch)
        for number, piece in enumerate(pieces, start=1):
            with self.alone() if number < len(pieces) else nullcontext():
                labels = self.labels[piece].to(self.device)
                logits = self.model(augment(self.read(piece), piece))
                part = cross_entropy(
                    logits, labels, reduction="sum", label_smoothing=self.recipe.label_smoothing
                )
                part = part / len(batch)
                (part * self.world.size).backward()  # type: ignore[no-untyped-call]  # the processes' mean is taken
            loss += part.detach()
            correct += (logits.detach().argmax(dim=1) == labels).sum()
        loss, correct = self.world.sum(loss), self.world.sum(correct)
        self.rate = float(self.schedule.get_last_lr()[0])
        if self.device.type == "cpu":
            check_finite(loss, epoch, self.step + 1, self.rate)
        self.optimizer.step()
        self.schedule.step()
        self.losses[self.step] = loss
        self.correct += correct
        self.step += 1

    def alone(self) -> AbstractContextManager[None]:
        """Without adding up the processes' gradients yet."""
        return (
            self.model.no_sync()
            if isinstance(self.model, DistributedDataParallel)
            else nullcontext()
        )

    def finish_epoch(self) -> None:
        """Write the epoch down, and keep its weights if they are the best so far."""
        epoch, count = len(self.history) + 1, len(self.members)
        losses = self.losses.cpu().double()
        for step in (~losses.isfinite()).nonzero()[:1]:  # on a GPU, where no step is waited for
            check_finite(losses[step], epoch, int(step) + 1, self.rate)
        sizes = torch.tensor(
            [len(batch) for batch in split_evenly(self.members, self.recipe.batch_size)]
        )
        row = {
            "epoch": epoch,
            "learning_rate": self.rate,
            "train_loss": float((losses * sizes).sum()) / count,
            "train_accuracy": 100 * int(self.correct) / count,
        }
        row |= self.validate()
        if row["validation_loss"] < self.best.loss and self.options.early_stopping != "never":
            weights = {
                name: tensor.clone()
                for name, tensor in self.classifier.network.state_dict().items()
            }
            self.best = Best(epoch, row["validation_loss"], weights)
        self.history.append(row)
        self.timing.append(
            {"epoch": epoch, "seconds": self.seconds, "images_per_second": count / self.seconds}
        )
        if self.world.writes:
            write_csv(REPORTS / "history.csv", self.history)
            write_csv(REPORTS / "timing.csv", self.timing)
            kinds = ("train", "validation") if len(self.validation) else ("train",)
            values = {
                column.replace("_", " "): row[column] for column in row if column.startswith(kinds)
            }
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"epoch {epoch}: {numbers}", flush=True)
        self.start_epoch()

    def validate(self) -> Row:
        """Loss and accuracy on the pictures set apart; NaN if there are none, which charts leave out."""
        mine, count = self.world.share(self.validation), len(self.validation)
        if count == 0:
            return {"validation_loss": math.nan, "validation_accuracy": math.nan}
        self.world.align(
            self.classifier.network.buffers()
        )  # of batch norm, which sees one process's share
        labels = self.labels[mine]
        probabilities = predict(
            self.classifier,
            self.images,
            mine.numpy(),
            self.machine.predict_batch_size,
            title="Validate",
        )
        loss = nll_loss(probabilities.clamp_min(SMALLEST).log(), labels, reduction="sum")
        correct = (probabilities.argmax(dim=1) == labels).sum()
        loss, correct = self.world.sum(torch.stack([loss.double(), correct.double()])) / count
        return {"validation_loss": float(loss), "validation_accuracy": 100 * float(correct)}


def wrap(classifier: Classifier, world: World) -> nn.Module:
    """The classifier, with gradients that are the mean over the processes."""
    if world.size == 1:
        return classifier
    model = DistributedDataParallel(classifier).eval()
    # After the first backward pass DDP changes the order in which it adds gradients up. To have that behind it before
    # the first step, also of a training that carries on in its middle, it makes one of a black picture.
    size = classifier.description.image_size
    black = torch.zeros(
        1, 3, size, size, dtype=torch.uint8, device=next(classifier.parameters()).device
    )
    model(black).sum().backward()
    model.zero_grad()
    return model


def check_shares(world: World, recipe: Recipe, batch: int, validation: int) -> None:
    """Check that no process is left without pictures.

    Raises:
        UserError: the smallest batch, or the pictures to validate on, are too few for so many processes.
    """
    each = 1 if recipe.network.name == "lenet" else 2  # for batch norm
    for pictures, needed, what in [
        (batch, each, "a batch of"),
        (validation or world.size, 1, "validating on"),
    ]:
        if pictures < needed * world.size:
            raise UserError(
                f"{world.size} processes for {what} {pictures} pictures; each needs {needed} or more: "
                "choose fewer processes or a larger batch_size"
            )


def prepare(classifier: Classifier, images: ImageFile, indices: Tensor) -> None:
    """Before the first step, load or compute what is not learnt here; ``indices`` are of training pictures."""
    recipe, network = classifier.description.recipe, classifier.network
    if recipe.network.name == "torchvision" and recipe.network.pretrained:
        load_pretrained(network, recipe.network.model)
    if recipe.network.name == "whitened":
        evenly = indices[:: max(1, len(indices) // 5000)]
        set_whitening(network, classifier.normalize(torch.from_numpy(images.read(evenly.tolist()))))


def set_apart(train: LabelledImages, options: Train) -> tuple[Tensor, Tensor]:
    """Indices, int64, of the pictures to train on and of those to validate on; of the same seed, the same ones."""
    if options.validation_fraction == 0:
        return torch.arange(len(train.labels)), torch.arange(0)
    split = split_by_class(
        train.labels, train.dataset.classes, options.validation_fraction, options.seed
    )
    return torch.from_numpy(split[0]), torch.from_numpy(split[1])


def reader(images: ImageFile, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What turns indices, int64 (n,), into pictures, uint8 (n, 3, H, W), on ``device``.

    They all stay on a GPU when they fill less than half of its free memory; otherwise a batch at a time is read.
    """
    if device.type == "cuda" and 2 * math.prod(images.shape) < torch.cuda.mem_get_info(device)[0]:
        resident = torch.from_numpy(images.read(range(len(images)))).to(device)
        return lambda indices: resident[indices.to(device)]
    return lambda indices: torch.from_numpy(images.read(indices.tolist())).to(device)


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """A permutation, int64 (count,): of each epoch another, and known without those before it."""
    return torch.randperm(count, generator=generator(seed, epoch))


def check_finite(loss: Tensor, epoch: int, step: int, rate: float) -> None:
    if not math.isfinite(loss.item()):
        raise UserError(
            f"the loss is {loss.item()} at epoch {epoch}, step {step}, learning rate {rate:g}; "
            "choose a lower learning_rate"
        )


def checksum_of_code() -> str:
    """SHA-256 of this script and every local module it has imported."""
    folder = Path(__file__).parent
    modules: set[Any] = {getattr(module, "__file__", None) for module in sys.modules.values()}
    files = sorted(Path(file) for file in modules if file and Path(file).is_relative_to(folder))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def write_csv(path: Path, rows: list[Row]) -> None:
    lines = [
        ",".join(rows[0]),
        *(",".join(f"{value:.6g}" for value in row.values()) for row in rows),
    ]
    write_text(path, "\n".join(lines) + "\n")


if __name__ == "__main__":
    run(main)
