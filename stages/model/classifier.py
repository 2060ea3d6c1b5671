"""A trained classifier: uint8 images in, probabilities of the classes out."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from common.arrays import Array, Rows
from common.errors import printable
from common.progress import Progress
from common.recipes import Recipe
from common.section import Fit, Pixels, Positive, Section, Seed, TestTimeAugmentation
from model.networks import Normalize, build_network
from model.views import views as views_of

MOST_PIXELS = 64 * 64  # of an image, for batches of full size
DOUBT = 0.5  # if an image's two highest probabilities differ by less, further views are used


class Description(Section):
    """Everything but the weights that a classifier is made of, and how it was trained."""

    dataset: str
    classes: Annotated[list[str], Field(min_length=1)]  # in label order
    image_size: Pixels  # width and height
    fit: Fit  # how an image that is not square is brought to that size
    recipe_name: str
    recipe: Recipe
    seed: Seed
    # Training on another device, or with other numbers of processes and of CPU threads per process,
    # may change the last bits of the weights.
    device: str
    processes: int
    threads: int
    torch: str  # version
    initial_weights: str | None = None  # SHA-256 of the file that the recipe names
    best_epoch: int | None = None  # whose weights early stopping chose; None for the last epoch
    validation_images: Annotated[int, Field(ge=0)] = 0  # held out of the training images
    temperature: Positive = 1.0  # by which logits are divided; fitted on the validation images

    @property
    def title(self) -> str:
        """The data set and the recipe, for figures."""
        return printable(f"{self.dataset}, recipe {self.recipe_name}")


class Classifier(nn.Module):
    """A network with initial weights behind its normalisation, at the precision of its recipe.

    Raises:
        UserError: The network does not take images of the description's size.
    """

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.description = description
        recipe = description.recipe
        self.test_time_augmentation: TestTimeAugmentation = recipe.test_time_augmentation
        self.normalize = Normalize(recipe.normalize.mean, recipe.normalize.std)
        network = build_network(
            recipe, description.image_size, len(description.classes), description.seed
        )
        self.network = network.to(memory_format=torch.channels_last)

    def describe(self, **changes: object) -> None:
        """Change the description by what is known after the training."""
        self.description = self.description.model_copy(update=changes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits, float32 (N, classes), of images, uint8 (N, 3, H, W)."""
        bfloat16 = self.description.recipe.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
            logits: Tensor = self.network(self.normalize(images))
        return logits.float()

    def views(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the views of test-time augmentation, (N, 3, H, W); first the images themselves."""
        return views_of(images, self.test_time_augmentation)

    def average(self, images: Tensor) -> Tensor:
        """Return the logits, (N, classes); those of an image in doubt are the mean over its views.

        The other images get one pass: further views would change few of their predictions.
        """
        logits: Tensor = self(next(self.views(images)))
        if self.test_time_augmentation != "none":
            doubtful = in_doubt(logits).nonzero().squeeze(1)
            if len(doubtful) > 0:
                _, *further = self.views(images[doubtful])
                every = [logits[doubtful], *map(self, further)]
                logits[doubtful] = torch.stack(every).mean(dim=0)
        return logits

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the classes, (N, classes), at the description's temperature.

        The temperature never changes which class is the most probable (arXiv:1706.04599).
        """
        return (logits / self.description.temperature).softmax(dim=1)


def in_doubt(logits: Tensor) -> Tensor:
    """Return a mask, bool (N,): where the two highest probabilities differ by less than DOUBT.

    The logits are (N, classes); the temperature is 1, since it is fitted afterwards.
    """
    highest = logits.softmax(dim=1).topk(min(2, logits.shape[1]), dim=1).values
    return highest[:, 0] - highest[:, -1] < DOUBT


def predict(
    classifier: Classifier,
    images: Rows,
    indices: Sequence[int] | Array,
    batch_size: int,
    title: str = "Predict",
) -> Tensor:
    """Return the probabilities of the classes, float32 (len(indices), classes), on the CPU.

    The arguments are those of ``predict_logits``.
    """
    return classifier.probabilities(predict_logits(classifier, images, indices, batch_size, title))


def predict_logits(
    classifier: Classifier,
    images: Rows,
    indices: Sequence[int] | Array,
    batch_size: int,
    title: str = "Predict",
) -> Tensor:
    """Return the logits of the classes for the images at ``indices``, with test-time
    augmentation.

    Args:
        classifier: on the device that computes.
        images: the file that is read, one batch at a time.
        indices: which of its images, in any order.
        batch_size: images of up to 64 x 64 pixels per batch; of larger ones fewer, so that a
            batch needs no more memory.
        title: names the progress bar.

    Returns:
        float32 (len(indices), classes), on the CPU.
    """
    batch_size = max(1, batch_size * MOST_PIXELS // max(MOST_PIXELS, math.prod(images.shape[2:])))
    starts = range(0, len(indices), batch_size)
    batches = (images.read(indices[start : start + batch_size]) for start in starts)
    logits = []
    with Progress(total=len(indices), desc=title, unit="image") as progress:
        for rows in predict_batch_logits(classifier, batches):
            logits.append(rows)
            progress.update(len(rows))
    return torch.cat(logits)


def predict_batches(classifier: Classifier, batches: Iterable[Array]) -> Iterator[Tensor]:
    """Yield the probabilities of the classes for each batch, as soon as it is predicted.

    Takes uint8 (N, 3, H, W), of any N; yields float32 (N, classes), on the CPU.
    """
    return map(classifier.probabilities, predict_batch_logits(classifier, batches))


@torch.inference_mode()
def predict_batch_logits(classifier: Classifier, batches: Iterable[Array]) -> Iterator[Tensor]:
    """Yield the logits of the classes for each batch, as ``predict_batches`` the probabilities."""
    classifier.eval()
    device = next(classifier.parameters()).device
    for batch in batches:
        yield classifier.average(torch.from_numpy(batch).to(device)).cpu()
