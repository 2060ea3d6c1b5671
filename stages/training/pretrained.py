"""Weights that torchvision publishes, trained on ImageNet: read from torch.hub's cache, or fetched
into it.
"""

import re
import socket
import sys
from pathlib import Path
from urllib.parse import urlparse

import torch
from filelock import FileLock
from torch import Tensor, nn

from common.errors import UserError
from common.files import sha256
from model.networks import load_weights

TIMEOUT = 15.0  # seconds without a byte until a download fails; torch.hub itself has no timeout
# Released under these names before a layer could no longer be called norm.1.
OLD_DENSENET = re.compile(r"(denselayer\d+\.\w+)\.([12]\.)")


def load_pretrained(network: nn.Module, name: str) -> None:
    """Load the published weights of a torchvision model; only the last layer, for other classes,
    keeps its own.

    Raises:
        UserError: The weights cannot be fetched, have another checksum, or are for another image
            size.
    """
    from torchvision.models import get_model_weights

    published = get_model_weights(name)["DEFAULT"].value
    path = fetch_weights(published.url)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    weights = {OLD_DENSENET.sub(r"\1\2", key): tensor for key, tensor in weights.items()}
    own = network.state_dict()
    fitting = {
        key: weights[key] for key in own if key in weights and weights[key].shape == own[key].shape
    }
    for key in own.keys() - fitting.keys():
        check_replaceable(name, key, own[key], weights.get(key), len(published.meta["categories"]))
    load_weights(network, {**own, **fitting})


def check_replaceable(
    name: str, key: str, own: Tensor, found: Tensor | None, categories: int
) -> None:
    """Check that a tensor without a fitting published one is of the last layer, or a counter of
    batch norm's.

    Batch norm did not count its batches yet when the oldest weights were published.

    Raises:
        UserError: It is of another layer.
    """
    of_last_layer = found is not None and len(found) == categories
    if not of_last_layer and not key.endswith("num_batches_tracked"):
        shape = "missing" if found is None else tuple(found.shape)
        raise UserError(
            f"the pretrained weights of {name} do not fit: tensor {key} is {shape}, this network "
            f"has {tuple(own.shape)}; choose the download.image_size that they are for, or "
            "pretrained: false"
        )


def fetch_weights(url: str) -> Path:
    """Return the path of the file at ``url``, whose name ends in the first digits of its SHA-256.

    Raises:
        UserError: The file cannot be fetched, or has another SHA-256.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    digits = path.stem.rpartition("-")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if not path.exists():
            download(url, path, digits)
        if not sha256(path).startswith(digits):
            raise UserError(
                f"{path}: its SHA-256 does not begin with {digits}; "
                "remove it, and it is fetched again"
            )
    return path


def download(url: str, path: Path, digits: str) -> None:
    """Download a file whose SHA-256 begins with ``digits``, whole or not at all."""
    print(f"{path.name}: from {url}", file=sys.stderr)
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        torch.hub.download_url_to_file(url, str(path), digits, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"cannot fetch the pretrained weights from {url}: {reason}; try again with a network, "
            f"put the file at {path}, or set pretrained to false"
        ) from None
    finally:
        socket.setdefaulttimeout(previous)
