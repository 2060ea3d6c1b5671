"""A trained classifier: uint8 pictures in, probabilities out; and the file that holds all that is needed to use it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from common import files
from common.arrays import Array, Dataset, ImageFile
from common.errors import UserError
from common.progress import Progress
from common.recipes import Recipe
from common.section import Section, TestTimeAugmentation
from model.networks import Normalize, build_network
from model.views import views

METADATA_KEY = "classifier"  # one key, since safetensors writes several in no fixed order


class Description(Section):
    """What a model file says of itself."""

    dataset: str
    classes: list[str]  # in label order
    image_size: int  # pixels
    recipe_name: str
    recipe: Recipe
    seed: int
    processes: (
        int  # that trained it, and the CPU threads of each: other numbers may change the last bits
    )
    threads: int
    torch: str  # version

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


def save_classifier(classifier: Classifier, path: Path = files.MODEL) -> None:
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in classifier.network.state_dict().items()
    }
    files.write_bytes(path, save(weights, {METADATA_KEY: classifier.description.model_dump_json()}))


def load_classifier(
    path: Path = files.MODEL, augmentation: Literal["recipe"] | TestTimeAugmentation = "recipe"
) -> Classifier:
    """Read a model file; nothing in it is executed.

    Raises:
        UserError: it is missing, is not a safetensors file of this project, or its tensors are not those of the network
            it describes, or are not finite.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            metadata = file.metadata() or {}
        description = Description.model_validate_json(metadata[METADATA_KEY])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the train stage first") from None
    except safetensors.SafetensorError as error:
        raise UserError(
            f"{path}: not a safetensors file ({error}); run the train stage again"
        ) from None
    except (KeyError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: does not describe a classifier ({reason}); run the train stage again"
        ) from None
    classifier = Classifier(description)
    check_weights(path, weights, classifier.network.state_dict())
    classifier.network.load_state_dict(weights)
    if augmentation != "recipe":
        classifier.test_time_augmentation = augmentation
    return classifier


def check_weights(path: Path, weights: dict[str, Tensor], expected: dict[str, Any]) -> None:
    for name in sorted(weights.keys() | expected.keys()):
        found, wanted = (
            str(tuple(side[name].shape)) if name in side else "missing"
            for side in (weights, expected)
        )
        if found != wanted:
            raise UserError(
                f"{path}: tensor {name} is {found}, its network has {wanted}; run the train stage again"
            )
        if not weights[name].isfinite().all():
            raise UserError(
                f"{path}: tensor {name} holds NaN or infinity; train again with a lower learning_rate"
            )


def check_fits(classifier: Classifier, dataset: Dataset) -> None:
    """Check that a classifier is for these classes and this picture size.

    Raises:
        UserError: it is not; the line names both.
    """
    has = classifier.description
    for what, ours, theirs in [
        ("classes", has.classes, dataset.classes),
        ("image_size", has.image_size, dataset.image_size),
    ]:
        if ours != theirs:
            raise UserError(
                f"the model's {what}: {ours}, the data's: {theirs}; run the train stage again"
            )
