"""Model files to test with, and a second opinion on their checksum."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from common.recipes import Recipe
from helpers import STAGES
from model.classifier import Classifier, Description
from model.file import METADATA_KEY, save_classifier

# Prints one line per model file: the error, and by how many MB the largest memory grew before.
LOAD = """
import resource, socket, sys
from pathlib import Path
import torchvision
from common.errors import UserError
from model.file import load_classifier

def largest_memory():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

socket.socket.connect = None  # nothing may be fetched
before = largest_memory()
for path in sys.argv[1:]:
    try:
        load_classifier(Path(path))
    except UserError as error:
        print(f"{largest_memory() - before:.1f} {error}")
"""
CLASSES = ["cent", "öre", "sou"]
LENET = {"name": "lenet", "channels": [6, 16], "kernel_size": 5, "hidden": [120, 84]}
needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
WHITENED = {"name": "whitened", "channels": [8, 8], "kernel_size": 3}


def torchvision(model: str, pretrained: bool | str = False) -> dict[str, Any]:
    return {"name": "torchvision", "model": model, "pretrained": pretrained}


def timm(model: str, pretrained: bool | str = False) -> dict[str, Any]:
    return {"name": "timm", "model": model, "pretrained": pretrained}


def make_recipe(**changes: Any) -> Recipe:
    """Return a recipe in float32 for a LeNet, with ``changes``."""
    recipe = {
        "network": LENET,
        "normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        "augment": {"max_shift": 0, "flip": "none"},
        "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005},
        "schedule": "one_cycle",
        "learning_rate": 0.03,
        "epochs": 2,
        "batch_size": 64,
        "label_smoothing": 0.0,
        "precision": "float32",
    }
    return Recipe.model_validate({**recipe, **changes})


def make_description(recipe: Recipe | None = None, **changes: Any) -> Description:
    """Return the description of a classifier of three classes, for images of 16 pixels."""
    description: dict[str, Any] = {
        "dataset": "coins",
        "classes": CLASSES,
        "image_size": 16,
        "fit": "squash",
        "recipe_name": "quick",
        "recipe": recipe or make_recipe(),
        "seed": 4,
        "device": "cpu",
        "processes": 1,
        "threads": 2,
        "torch": str(torch.__version__),
    }
    return Description(**{**description, **changes})


def save_whitened(path: Path, precision: str = "bfloat16") -> Path:
    """Save a whitened classifier with test-time augmentation, whose logits differ per image."""
    recipe = make_recipe(
        network=WHITENED, precision=precision, test_time_augmentation="mirror_shift"
    )
    classifier = Classifier(make_description(recipe))
    generator = torch.Generator().manual_seed(4)
    for name, tensor in classifier.network.state_dict().items():
        if name.endswith(("whiten.weight", "output.weight", "running_mean")):
            scale = (3 if name == "output.weight" else 1) / max(1, tensor[0].numel()) ** 0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
    save_classifier(classifier, path)
    return path


def random_images(count: int, size: int = 16) -> "np.ndarray[Any, Any]":
    """Return uint8 (count, 3, size, size)."""
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), np.uint8)


def four_coloured_images(count: int) -> "np.ndarray[Any, Any]":
    """Return images of a colour per quarter, uint8 (count, 3, 16, 16)."""
    colors = np.random.default_rng(3).integers(0, 256, (count, 3, 2, 2), np.uint8)
    return np.kron(colors, np.ones((8, 8), np.uint8))


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Change the tensors and the description of a model file, and renew its checksum.

    Uses safetensors alone, as an attacker would.
    """
    weights = safetensors.torch.load_file(path)
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
    change(weights, description)
    write(path, weights, description)


def write(path: Path, weights: dict[str, torch.Tensor], description: Any) -> None:
    """Write a model file with the right checksum of these tensors and this description."""
    if isinstance(description, dict) and "sha256" in description:
        description["sha256"] = ""
        description["sha256"] = sign(json.dumps(description), weights)
    safetensors.torch.save_file(weights, path, {METADATA_KEY: json.dumps(description)})


def sign(text: str, weights: dict[str, torch.Tensor]) -> str:
    """Return the checksum of a model file, computed from what safetensors writes."""
    content = safetensors.torch.save(weights)
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    types = {"F32": "float32", "F64": "float64", "F16": "float16", "I64": "int64"}
    digest = hashlib.sha256(text.encode())
    for name in sorted(header):
        start, end = header[name]["data_offsets"]
        shape = tuple(header[name]["shape"])
        digest.update(f"\n{name} {types[header[name]['dtype']]} {shape}\n".encode())
        digest.update(data[start:end])
    return digest.hexdigest()


def load_elsewhere(paths: Sequence[Path | str]) -> list[tuple[float, str]]:
    """Load model files in a process of its own.

    Returns:
        Per file, by how many MB the largest memory of the process has grown, and the error.
    """
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, paths)],
        env={**os.environ, "PYTHONPATH": str(STAGES)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    return [(float(megabytes), message) for megabytes, _, message in lines]
