"""Weights that torchvision publishes, trained on ImageNet: read from torch.hub's cache, or fetched
into it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor

# Released under these names before a layer could no longer be called norm.1.
OLD_DENSENET = re.compile(r"(denselayer\d+\.\w+)\.([12]\.)")
# Of googlenet and inception_v3, which are built without them.
AUXILIARY = re.compile(r"(aux[12]|AuxLogits)\.")


def published_weights(name: str) -> tuple[dict[str, Tensor], str]:
    """Return the published weights of a torchvision model, and the file's name.

    Raises:
        UserError: The file cannot be fetched.
    """
    from torchvision.models import get_model_weights

    path = fetch_weights(get_model_weights(name)["DEFAULT"].value.url)
    return torch.load(path, map_location="cpu", weights_only=True), path.name


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of a torchvision model, without those of auxiliary classifiers, by the names
    that its layers have today.
    """
    return {
        OLD_DENSENET.sub(r"\1\2", name): tensor
        for name, tensor in weights.items()
        if not AUXILIARY.match(name)
    }


def fetch_weights(url: str) -> Path:
    """Return the path of the file at ``url``, whose name ends in the first digits of its SHA-256.

    Raises:
        UserError: The file cannot be fetched.
    """
    from fetching.fetch import fetch  # 0.1 s and 20 MB that other recipes need not spend

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    digits = path.stem.rpartition("-")[2]
    fetch([url], path, digits, otherwise=f"put the file at {path}, or set pretrained to false")
    return path
