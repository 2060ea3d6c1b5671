"""A trained classifier: uint8 pictures in, probabilities out; and the file that holds all that is needed to use it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.arrays import Array, ImageFile
from common.progress import Progress
from common.recipes import Recipe
from common.section import Section, TestTimeAugmentation
from model.networks import Normalize, build_network
from model.views import views


class Description(Section):
    """What a model file says of itself."""

    dataset: str
    classes: list[str]  # in label order
    image_size: int  # pixels
    recipe_name: str
    recipe: Recipe
    seed: int
    device: str  # its type
    processes: (
        int  # that trained it, and the CPU threads of each: other numbers may change the last bits
    )
    threads: int
    torch: str  # version
    best_epoch: int | None = None  # of these weights, where early stopping chose them; else the last

    @property
    def title(self) -> str:
        """Data set and recipe, for figures."""
        return f"{self.dataset}, recipe {self.recipe_name}"


class Classifier(nn.Module):
    """A network behind its normalisation, at the precision of its recipe."""

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
        """uint8 (N, 3, H, W) to logits, float32 (N, classes)."""
        bfloat16 = self.description.recipe.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
            logits: Tensor = self.network(self.normalize(images))
        return logits.float()

    def average(self, images: Tensor) -> Tensor:
        """Return the mean of the logits over the views of test-time augmentation."""
        seen = views(images, self.test_time_augmentation)
        return torch.stack([self(view) for view in seen]).mean(dim=0)


@torch.inference_mode()
def predict(
    classifier: Classifier,
    images: ImageFile,
    indices: Sequence[int] | Array,
    batch_size: int,
    title: str = "Predict",
) -> Tensor:
    """Probabilities of the classes for those pictures: float32 (len(indices), classes), on the CPU."""
    classifier.eval()
    device = next(classifier.parameters()).device
    logits = []
    with Progress(total=len(indices), desc=title, unit="picture") as progress:
        for start in range(0, len(indices), batch_size):
            batch = torch.from_numpy(images.read(indices[start : start + batch_size]))
            logits.append(classifier.average(batch.to(device)).cpu())
            progress.update(len(batch))
    return torch.cat(logits).softmax(dim=1)
