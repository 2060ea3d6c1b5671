"""Choices of a recipe that do not go together, each as one line before anything is computed."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from common.network_options import MOST_WEIGHTS
from common.params import load_params
from common.recipes import Recipe
from common.yaml12 import read_yaml
from helpers import ROOT, refused
from model.networks import build_network
from project import Project


def change(project: Project, recipe: str, **changes: Any) -> None:
    """Use ``recipe``, with keys set by their full path in it, written with double underscores."""
    project.change(train__recipe=recipe)
    project.change(**{f"recipes__{recipe}__{key}": value for key, value in changes.items()})


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("quick", {"network__kernel_size": 20}, "network: convolution 2 and its pooling leave"),
        (
            "quick",
            {"network__kernel_size": 33},
            "network: convolution 1 and its pooling leave nothing of 32 pixels",
        ),
        (
            "quick",
            {"progressive_resizing": {"sizes": [16, 32]}},
            "progressive_resizing is given, but network lenet takes images of one size; remove it",
        ),
        (
            "quick",
            {"augment__max_shift": 32},
            "augment.max_shift is 32; it must be less than download.image_size, 32",
        ),
        ("quick", {"optimizer__momentum": 0.0}, "optimizer.nesterov is true with momentum 0; "),
        ("accurate", {"optimizer__momentum": 0.0}, "optimizer.nesterov is true with momentum 0; "),
        ("accurate", {"network__kernel_size": 4}, "network.kernel_size is 4; network whitened"),
        (
            "accurate",
            {"network__kernel_size": 21},
            "network.kernel_size is 21; it must not exceed the images, which are 20 pixels wide",
        ),
        (
            "accurate",
            {"micro_batch": 2},
            "batch_size or micro_batch is 2; batch norm in whitened needs 3 or more",
        ),
        ("accurate", {"batch_size": 1}, "batch_size or micro_batch is 1"),
        ("transfer", {"batch_size": 2}, "batch norm in torchvision needs 3 or more"),
        ("accurate", {"network__channels": [8] * 6}, "choose fewer channels ([8, 8, 8, 8, 8, 8]"),
        ("accurate", {"progressive_resizing__sizes": [4, 32]}, "of 4 pixels"),
        (
            "accurate",
            {"progressive_resizing__sizes": [16, 40]},
            "progressive_resizing.sizes is [16, 40]; none may exceed download.image_size, 32",
        ),
        (
            "transfer",
            {
                "optimizer": {
                    "name": "muon",
                    "momentum": 0.6,
                    "nesterov": True,
                    "sgd": {"learning_rate": 1.0, "momentum": 0.0, "weight_decay": 0.0},
                }
            },
            "optimizer.name is 'muon', which trains lenet and whitened only",
        ),
        (
            "transfer",
            {"network__pretrained": "weights.bin"},
            "network.pretrained is 'weights.bin'; it must be true or false or the path of a "
            ".safetensors or .pth file",
        ),
        (
            "quick",
            {"network__pretrained": True},
            "network.pretrained is True; it must be the path of a .safetensors or .pth file",
        ),
        (
            "transfer",
            {"network__model": "resnet19"},
            "network.model is 'resnet19'; did you mean 'resnet18'? choose from alexnet",
        ),
        (
            "transfer",
            {"network__model": "fasterrcnn_resnet50_fpn"},  # detects
            "network.model is 'fasterrcnn_resnet50_fpn'",
        ),
    ],
)
def test_a_combination_that_cannot_work_is_named_by_its_key(
    recipe: str, changes: dict[str, Any], message: str, project: Project
) -> None:
    change(project, recipe, **changes)
    assert re.search(
        rf"params\.yaml: recipes\.{recipe}\..*{re.escape(message)}", refused(load_params)
    )


def test_only_the_recipe_in_use_is_checked_against_the_images(project: Project) -> None:
    project.change(download__image_size=16, recipes__accurate__progressive_resizing=None)
    load_params()
    project.change(train__recipe="accurate", recipes__accurate__augment__max_shift=16)
    assert "recipes.accurate.augment.max_shift is 16" in refused(load_params)


def test_the_network_s_sizes_are_named_with_their_numbers(project: Project) -> None:
    """13 pixels: convolution 13 - 5 + 1 = 9, pooling 4, convolution 4 - 5 + 1 = 0, pooling none."""
    project.change(download__image_size=13)
    message = refused(load_params)
    assert "recipes.quick.network: convolution 2" in message
    assert "(4 - 5 + 2*0)/1 + 1 = 0" in message
    assert "image_size (13)" in message


def test_the_smallest_image_that_the_network_takes_is_taken(project: Project) -> None:
    """16 pixels: 12, 6, 2, 1; 15 pixels: 11, 5, 1, 0."""
    project.change(download__image_size=16)
    assert load_params().download.image_size == 16
    project.change(download__image_size=15)
    assert "(1 - 2 + 2*0)/2 + 1 = 0" in refused(load_params)


def test_an_image_of_one_pixel_cannot_be_shifted(project: Project) -> None:
    change(project, "transfer", augment__max_shift=0, test_time_augmentation="mirror_shift")
    project.change(download__image_size=1)
    wanted = "test_time_augmentation is 'mirror_shift', which needs images of 2 or more pixels"
    assert f"recipes.transfer.{wanted}" in refused(load_params)
    change(project, "transfer", test_time_augmentation="mirror")
    load_params()
    project.change(evaluate__test_time_augmentation="mirror_shift")
    assert f"evaluate.{wanted}" in refused(load_params)


NETWORKS = [
    {"name": "lenet", "channels": [6, 16], "kernel_size": 5, "hidden": [120, 84]},
    {"name": "lenet", "channels": [7], "kernel_size": 1, "hidden": []},
    {"name": "whitened", "channels": [8, 24, 5], "kernel_size": 3},
    {"name": "whitened", "channels": [4], "kernel_size": 1},
]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_weights_counted_before_building_are_those_of_the_network(
    network: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without biases, norms, the fixed whitening, and the last layer, whose classes are unknown."""
    content = read_yaml(ROOT / "params.yaml")["recipes"]["quick"]
    recipe = Recipe.model_validate({**content, "network": network})
    layers = [
        layer
        for layer in build_network(recipe, 32, 10).modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.requires_grad
    ]
    count = sum(layer.weight.numel() for layer in layers if getattr(layer, "out_features", 0) != 10)
    monkeypatch.setattr("common.network_options.MOST_WEIGHTS", count)
    recipe.network.check(32)
    monkeypatch.setattr("common.network_options.MOST_WEIGHTS", count - 1)
    assert f"network has {count:,} weights" in refused(lambda: recipe.network.check(32))


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("quick", {"network__channels": [100_000, 100_000]}),
        ("quick", {"network__hidden": [100_000, 100_000]}),
        ("quick", {"network__channels": [100_000], "network__hidden": [100_000]}),
        ("accurate", {"network__channels": [100_000]}),
        ("accurate", {"network__channels": [64, 50_000, 64]}),
    ],
)
def test_a_network_beyond_any_memory_is_refused_without_being_built(
    recipe: str, changes: dict[str, Any], project: Project
) -> None:
    change(project, recipe, **changes)
    message = refused(load_params)
    assert re.search(rf"recipes\.{recipe}\.network has [\d,]+ weights, and at most", message)
    assert f"{MOST_WEIGHTS:,}" in message


@pytest.mark.parametrize("key", ["channels", "hidden"])
def test_a_layer_beyond_any_memory_is_named(key: str, project: Project) -> None:
    project.change(**{f"recipes__quick__network__{key}": [6, 10**9]})
    assert f"recipes.quick.network.{key}.1 is 1000000000; it must be less than or equal to " in (
        refused(load_params)
    )


def test_seed_0_is_honoured_and_differs_from_seed_1() -> None:
    recipe = load_params(ROOT / "params.yaml").recipes["tutorial"]
    first = [build_network(recipe, 32, 10, seed).state_dict()["conv1.weight"] for seed in (0, 0, 1)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_a_recipe_without_progressive_resizing_has_no_sizes(tmp_path: Path) -> None:
    content = read_yaml(ROOT / "params.yaml")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    recipes = load_params(tmp_path / "params.yaml").recipes
    assert recipes["quick"].train_sizes == []
    assert (
        recipes["accurate"].train_sizes
        == content["recipes"]["accurate"]["progressive_resizing"]["sizes"]
    )
