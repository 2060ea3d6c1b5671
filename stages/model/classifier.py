"""A trained classifier: uint8 images in, probabilities of the classes out."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from common.arrays import Array, ImageFile
from common.errors import printable
from common.progress import Progress
from common.recipes import Recipe
from common.section import Fit, Pixels, Section, Seed, TestTimeAugmentation
from model.networks import Normalize, build_network
from model.views import views


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
    best_epoch: int | None = None  # whose weights early stopping chose; None for the last epoch

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

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits, float32 (N, classes), of images, uint8 (N, 3, H, W)."""
        bfloat16 = self.description.recipe.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
            logits: Tensor = self.network(self.normalize(images))
        return logits.float()

    def average(self, images: Tensor) -> Tensor:
        """Return the mean of the logits, (N, classes), over the views of test-time augmentation."""
        logits = [self(view) for view in views(images, self.test_time_augmentation)]
        return torch.stack(logits).mean(dim=0)


def predict(
    classifier: Classifier,
    images: ImageFile,
    indices: Sequence[int] | Array,
    batch_size: int,
    title: str = "Predict",
) -> Tensor:
    """Return the probabilities of the classes for the images at ``indices``.

    Args:
        classifier: on the device that computes.
        images: the file that is read, one batch at a time.
        indices: which of its images, in any order.
        batch_size: images per batch.
        title: names the progress bar.

    Returns:
        float32 (len(indices), classes), on the CPU.
    """
    starts = range(0, len(indices), batch_size)
    batches = (images.read(indices[start : start + batch_size]) for start in starts)
    probabilities = []
    with Progress(total=len(indices), desc=title, unit="image") as progress:
        for rows in predict_batches(classifier, batches):
            probabilities.append(rows)
            progress.update(len(rows))
    return torch.cat(probabilities)


@torch.inference_mode()
def predict_batches(classifier: Classifier, batches: Iterable[Array]) -> Iterator[Tensor]:
    """Yield the probabilities of the classes for each batch, as soon as it is predicted.

    Takes uint8 (N, 3, H, W), of any N; yields float32 (N, classes), on the CPU.
    """
    classifier.eval()
    device = next(classifier.parameters()).device
    for batch in batches:
        logits = classifier.average(torch.from_numpy(batch).to(device))
        yield logits.cpu().softmax(dim=1)
