"""Damaged and hostile model files: noticed, named, and refused before anything is built."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import UserError
from helpers import refused
from model.classifier import Classifier
from model.file import load_classifier, save_classifier
from models import (
    LENET,
    WHITENED,
    load_elsewhere,
    make_description,
    make_recipe,
    rewrite,
    torchvision,
)

Change = Callable[[dict[str, Any], dict[str, Any]], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good model file."""
    path = tmp_path / "classifier.safetensors"
    save_classifier(Classifier(make_description()), path)
    return path


def refusal(path: Path) -> str:
    message = refused(lambda: load_classifier(path))
    assert message.startswith(f"{path}: ")
    return message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda weights, _: weights.pop("linear1.bias"),
            "tensor linear1.bias is missing, its network has float32 (120,)",
        ),
        (
            lambda weights, _: weights.update({"conv3.weight": torch.zeros(2, 3)}),
            "tensor conv3.weight is float32 (2, 3), its network has missing",
        ),
        (
            lambda weights, _: weights.update({"output.weight": torch.zeros(84, 3)}),
            "tensor output.weight is float32 (84, 3), its network has float32 (3, 84)",
        ),
        (
            lambda weights, _: weights.update({"output.bias": torch.zeros(3, dtype=torch.float64)}),
            "tensor output.bias is float64 (3,), its network has float32 (3,)",
        ),
        (
            lambda _, description: description["classes"].append("grosz"),
            "tensor output.bias is float32 (3,), its network has float32 (4,)",
        ),
    ],
    ids=["missing", "extra", "other shape", "other type", "more classes"],
)
def test_a_tensor_that_does_not_fit_is_named_with_both_shapes(
    change: Change, said: str, path: Path
) -> None:
    rewrite(path, change)
    assert said in refusal(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused(value: float, path: Path) -> None:
    rewrite(path, lambda weights, _: weights["conv2.weight"][3, 2].fill_(value))
    assert "tensor conv2.weight holds NaN or infinity; train again" in refusal(path)


def flip(content: bytes, position: int, bit: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


def test_a_flipped_bit_is_noticed_wherever_it_is(path: Path) -> None:
    """In the weights, in the description and in safetensors' own header."""
    small = {**LENET, "channels": [1], "hidden": []}
    save_classifier(Classifier(make_description(make_recipe(network=small))), path)
    content = path.read_bytes()
    weights = 8 + int.from_bytes(content[:8], "little")
    draw = random.Random(0)
    for start, end in [(0, 8), (8, weights), (weights, len(content))]:
        for _ in range(150):
            path.write_bytes(flip(content, draw.randrange(start, end), draw.randrange(8)))
            with pytest.raises(UserError):
                load_classifier(path)
    path.write_bytes(flip(content, len(content) - 1, 0))  # the last bit of the last weight
    assert "damaged, its content does not have its SHA-256" in refusal(path)
    path.write_bytes(content)
    load_classifier(path)


def test_weights_that_were_exchanged_are_noticed(path: Path) -> None:
    """Two tensors of one shape under each other's names, with the checksum of before."""
    original = path.read_bytes()
    first, second = (original.index(name) for name in (b"linear1.bias", b"linear2.bias"))
    swapped = bytearray(original)
    swapped[first : first + 12], swapped[second : second + 12] = b"linear2.bias", b"linear1.bias"
    path.write_bytes(swapped)
    assert "damaged" in refusal(path)


HOSTILE: list[tuple[dict[str, Any], str]] = [
    (torchvision("deeplabv3_resnet50"), "network.model is 'deeplabv3_resnet50'"),  # would download
    (torchvision("raft_large"), "network.model is 'raft_large'"),  # no classifier
    (torchvision("../model"), "network.model is '../model'"),
    (torchvision("vit_b_16"), "tensor class_token is missing"),
    ({**LENET, "kernel_size": 200}, "convolution 1"),
    ({**LENET, "channels": [100_000] * 2}, "weights, and at most"),
    ({**LENET, "hidden": [100_000, 9_000]}, "its network has float32 (100000,)"),  # 4 GB
    ({**WHITENED, "channels": [9_000]}, "tensor conv1.bias is float32 (6,)"),  # 3 GB
]


def with_network(path: Path, network: dict[str, Any]) -> Path:
    """Copy a model file and give its recipe another network."""
    copy = path.with_name(f"{len(list(path.parent.iterdir()))}.safetensors")
    shutil.copy(path, copy)
    rewrite(copy, lambda _, description: description["recipe"].update(network=network))
    return copy


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell a process's largest memory")
def test_a_hostile_network_is_refused_before_it_is_built(path: Path) -> None:
    paths = [with_network(path, network) for network, _ in HOSTILE]
    for (_, said), (megabytes, line) in zip(HOSTILE, load_elsewhere(paths), strict=True):
        assert said in line
        assert megabytes < 100


def test_an_image_size_that_does_not_fit_the_weights_is_refused(path: Path) -> None:
    rewrite(path, lambda _, description: description.update(image_size=1024))
    assert "tensor linear1.weight is float32 (120, 16)" in refusal(path)
