"""Weights that torchvision publishes, learnt from ImageNet: from the cache of torch.hub, or fetched into it."""

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

SILENCE = 15.0  # seconds without a byte, after which the download has failed; torch.hub itself would wait for ever


def load_pretrained(network: nn.Module, name: str) -> None:
    """Give one of torchvision's networks its published weights; only the last layer keeps its own, for other classes.

    Raises:
        UserError: they cannot be had, are not the published ones, or are for pictures of another size.
    """
    from torchvision.models import get_model_weights

    published = get_model_weights(name)["DEFAULT"].value
    weights = torch.load(published_weights(published.url), map_location="cpu", weights_only=True)
    # DenseNet's were published when a layer could still be called norm.1.
    weights = {
        re.sub(r"(denselayer\d+\.\w+)\.([12]\.)", r"\1\2", key): tensor
        for key, tensor in weights.items()
    }
    wanted = network.state_dict()
    fitting = {
        key: weights[key]
        for key in wanted
        if key in weights and weights[key].shape == wanted[key].shape
    }
    for key in wanted.keys() - fitting.keys():
        counts = key.endswith(
            "num_batches_tracked"
        )  # which batch norm did not have when the oldest were published
        if not counts and not is_last_layer(weights.get(key), len(published.meta["categories"])):
            found = tuple(weights[key].shape) if key in weights else "missing"
            raise UserError(
                f"the pretrained weights of {name} do not fit: tensor {key} is {found}, this network has "
                f"{tuple(wanted[key].shape)}; choose the download.image_size that they are for, or pretrained: false"
            )
    network.load_state_dict(wanted | fitting)


def is_last_layer(weight: Tensor | None, classes: int) -> bool:
    return weight is not None and len(weight) == classes


def published_weights(url: str) -> Path:
    """The file at ``url``, whose name ends in the first digits of its SHA-256.

    Raises:
        UserError: it cannot be fetched, or has another SHA-256.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    digits = path.stem.rpartition("-")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if not path.exists():
            download(url, path, digits)
        if not sha256(path).startswith(digits):
            raise UserError(
                f"{path}: its SHA-256 does not begin with {digits}; remove it, and it is fetched again"
            )
    return path


def download(url: str, path: Path, digits: str) -> None:
    print(f"{path.name}: from {url}", file=sys.stderr)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        torch.hub.download_url_to_file(url, str(path), digits, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"cannot fetch the pretrained weights from {url}: {reason}; try again with a network, "
            f"put the file at {path}, or set pretrained to false"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
