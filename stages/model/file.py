"""The model file: weights, and in its metadata everything that is needed to use them."""

from pathlib import Path
from typing import Any, Literal

import safetensors
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from common import files
from common.arrays import Dataset
from common.errors import UserError
from common.section import TestTimeAugmentation
from model.classifier import Classifier, Description

METADATA_KEY = "classifier"  # one key, since safetensors writes several in no fixed order


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
