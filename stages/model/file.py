"""The model file: weights, and in its metadata everything else that is needed to use them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from common import files
from common.arrays import Dataset
from common.errors import UserError
from common.explain import explain
from common.recipes import check_shift
from common.section import TestTimeAugmentation
from model.classifier import Classifier, Description
from model.networks import ShapesOnly, build_network, load_weights

METADATA_KEY = "classifier"  # one key, because safetensors writes several in no fixed order
REMEDY = "run the train stage again, or `dvc checkout` to restore the last model"


class Metadata(Description):
    """The JSON text under ``METADATA_KEY``."""

    sha256: str  # of this text without these digits, and of the tensors

    @property
    def description(self) -> Description:
        """The same without the checksum."""
        return Description(**{name: getattr(self, name) for name in Description.model_fields})


def save_classifier(classifier: Classifier, path: Path = files.MODEL) -> None:
    """Write the model file, whole or not at all. Equal classifiers give equal bytes."""
    weights = {  # cloned: safetensors refuses tensors that layers share, as in timm's coat
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in classifier.network.state_dict().items()
    }
    metadata = Metadata(**dict(classifier.description), sha256="")
    digest = checksum(metadata.model_dump_json(), weights)
    text = metadata.model_copy(update={"sha256": digest}).model_dump_json()
    files.write_bytes(path, save(weights, {METADATA_KEY: text}))


def load_classifier(
    path: Path = files.MODEL, augmentation: Literal["recipe"] | TestTimeAugmentation = "recipe"
) -> Classifier:
    """Read a model file.

    Nothing in it is executed, and no network is built whose tensors are not those of the file.

    Args:
        path: the model file.
        augmentation: the test-time augmentation; ``recipe`` is the one of the recipe that the model
            was trained by.

    Raises:
        UserError: The file is missing, is damaged or was not written by this version of the
            project; its recipe is not valid; its tensors are not those of the recipe's network or
            are not finite; ``augmentation`` is not possible at the model's image size.
    """
    text, weights = read_safetensors(path)
    description = verified_description(path, text, weights)
    check_tensors(path, weights, expected_tensors(path, description))
    check_finite(path, weights)
    if augmentation == "mirror_shift":
        check_shift(description.image_size, "test_time_augmentation")
    classifier = Classifier(description)
    load_weights(classifier.network, weights)
    if augmentation != "recipe":
        classifier.test_time_augmentation = augmentation
    return classifier


def read_safetensors(path: Path, remedy: str = REMEDY) -> tuple[str, dict[str, Tensor]]:
    """Return our metadata's text, empty if there is none, and the tensors.

    Raises:
        UserError: The file is missing or damaged; ``remedy`` is what to do about the latter.
    """
    if path.exists() and not path.is_file():  # reading a pipe or a device might never end
        raise UserError(f"{path}: a folder, pipe or device, not a file; name a model file")
    try:
        path.open("rb").close()  # raises an error that names its cause, unlike safe_open
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()  # not a mapping, so it cannot be iterated itself
            weights = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the train stage first") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error}); {remedy}") from None
    return metadata.get(METADATA_KEY, ""), weights


def verified_description(path: Path, text: str, weights: Mapping[str, Tensor]) -> Description:
    """Return what a model file says of itself, after its text and its tensors have been checked by
    its SHA-256.
    """
    metadata = parse_metadata(path, text)
    if checksum(text.replace(metadata.sha256, ""), weights) != metadata.sha256:
        raise UserError(f"{path}: damaged, its content does not have its SHA-256; {REMEDY}")
    return metadata.description


def parse_metadata(path: Path, text: str) -> Metadata:
    try:
        return Metadata.model_validate_json(text)
    except ValidationError as error:
        networks = [
            fault["input"] for fault in error.errors() if fault["loc"] == ("recipe", "network")
        ]
        if any(isinstance(network, str) for network in networks):
            raise UserError(
                f"{path}: trained by an earlier version of this project; run the train stage again"
            ) from None
        reason = explain(error, Metadata)[0].strip()
        raise UserError(f"{path}: does not describe a classifier ({reason}); {REMEDY}") from None


def expected_tensors(path: Path, description: Description) -> dict[str, Tensor]:
    """Return the tensors of the description's network, without memory for their values.

    The recipe is checked first, as that of params.yaml is.
    """
    recipe, size = description.recipe, description.image_size
    try:
        recipe.check(size)
        with ShapesOnly():
            return dict(build_network(recipe, size, len(description.classes)).state_dict())
    except UserError as error:
        raise UserError(f"{path}: its recipe is not valid: {error}; {REMEDY}") from None


def check_tensors(path: Path, weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Check names, types and shapes of the tensors."""
    for name in sorted(weights.keys() | expected.keys()):
        found, wanted = describe(weights.get(name)), describe(expected.get(name))
        if found != wanted:
            raise UserError(f"{path}: tensor {name} is {found}, its network has {wanted}; {REMEDY}")


def describe(tensor: Tensor | None) -> str:
    """Return a tensor's type and shape, such as 'float32 (3, 84)'."""
    if tensor is None:
        return "missing"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def checksum(text: str, weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256, in hexadecimal, of a text and of tensors: names, types, shapes, bytes."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"\n{name} {describe(tensor)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_finite(path: Path, weights: dict[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise UserError(
                f"{path}: tensor {name} holds NaN or infinity; "
                "train again with a lower learning_rate"
            )


def check_fits(classifier: Classifier, dataset: Dataset) -> None:
    """Check that a classifier is for the data set's classes and images.

    Raises:
        UserError: Classes, image size or fit differ. The line names both values.
    """
    model = classifier.description
    differences: list[tuple[str, Any, Any]] = [
        ("classes", model.classes, dataset.classes),
        ("image_size", model.image_size, dataset.image_size),
        ("fit", model.fit, dataset.fit),
    ]
    for key, models, datas in differences:
        if models != datas:
            raise UserError(
                f"the model's {key}: {models}, the data's: {datas}; run the train stage again"
            )
