"""Initial weights from a file: in the network's own naming, or a model file of this pipeline."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from common.files import MODEL, sha256
from common.network_options import Timm
from common.recipes import Normalization, Recipe
from model.file import read_safetensors, verified_description
from model.timm import published_normalization

TOLERANCE = 1e-3  # between two means or standard deviations: people round them


def digest(path: Path) -> str:
    """Return the SHA-256 of a file of weights.

    Raises:
        UserError: There is no such file, or it is the one that the train stage writes.
    """
    if path.resolve() == MODEL.resolve():
        raise UserError(
            f"network.pretrained is {path}, which the train stage itself writes; copy the file and "
            "name the copy"
        )
    if not path.is_file():  # reading a pipe might never end
        raise UserError(
            f"network.pretrained is {path}: no such file; put it there or name another, by its "
            "full path or seen from the folder of params.yaml"
        )
    return sha256(path)


def read_weights(path: Path, recipe: Recipe) -> tuple[dict[str, Tensor], list[str] | None]:
    """Read tensors by their names, and the classes that the network tells apart, which only a model
    file of this pipeline names. Nothing in the file is executed.

    Raises:
        UserError: The file is damaged, or its weights are for images that are normalised otherwise
            than the recipe does it.
    """
    if path.suffix == ".pth":
        text, weights = "", read_pth(path)
    else:
        text, weights = read_safetensors(path, remedy="name another file")
    if text:  # a model file of this pipeline
        description = verified_description(path, text, weights)
        check_normalization(recipe, description.recipe.normalize, f"{path} was trained")
        return weights, description.classes
    if isinstance(recipe.network, Timm):
        published = published_normalization(recipe.network)
        check_normalization(recipe, published, f"timm's {recipe.network.model} was trained")
    return weights, None


def read_pth(path: Path) -> dict[str, Tensor]:
    """Read what ``torch.save`` wrote: tensors by their names, or these under ``state_dict``."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # which one depends on the bytes, and its message is long
        raise UserError(
            f"{path}: more or other than weights ({type(error).__name__}), so it is not loaded; "
            "name a file as torch.save(network.state_dict(), path) writes it"
        ) from None
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(map(is_named_tensor, weights.items())):
        raise UserError(
            f"{path}: not tensors by their names; name a file as "
            "torch.save(network.state_dict(), path) writes it"
        )
    return weights


def is_named_tensor(item: tuple[Any, Any]) -> bool:
    name, value = item
    return isinstance(name, str) and isinstance(value, Tensor) and is_plain(value)


def is_plain(tensor: Tensor) -> bool:
    """Return True for a tensor that has its values: neither sparse, nor quantized, nor meta."""
    strided = tensor.layout == torch.strided and not tensor.is_quantized
    return strided and tensor.device.type == "cpu"


def check_normalization(recipe: Recipe, wanted: Normalization, who: str) -> None:
    """Check that images are normalised as the weights are used to."""
    given = recipe.normalize
    pairs = zip([*given.mean, *given.std], [*wanted.mean, *wanted.std], strict=True)
    if not all(math.isclose(*pair, abs_tol=TOLERANCE) for pair in pairs):
        raise UserError(
            f"normalize has mean {given.mean} and std {given.std}, but {who} with "
            f"{wanted.mean} and {wanted.std}; set normalize: {{mean: {wanted.mean}, "
            f"std: {wanted.std}}}"
        )
