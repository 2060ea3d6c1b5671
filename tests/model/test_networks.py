"""The networks: their layers, their first weights, and their normalisation."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT, refused
from torch import nn
from torchvision import models
from torchvision.transforms import v2 as transforms
from torchvision.transforms.functional import to_tensor

from common.params import load_params
from common.recipes import Recipe
from model.networks import Normalize, build_network
from training.table import layer_table


def recipe(**changes: Any) -> Recipe:
    return load_params(ROOT / "params.yaml").recipes["tutorial"].model_copy(update=changes)


def test_the_tutorial_s_network_has_the_parameters_counted_by_hand() -> None:
    by_hand = [
        ("conv1", 6 * (3 * 5 * 5 + 1)),
        ("conv2", 16 * (6 * 5 * 5 + 1)),
        ("linear1", 120 * (16 * 5 * 5 + 1)),
        ("linear2", 84 * (120 + 1)),
        ("output", 10 * (84 + 1)),
    ]
    network = build_network(recipe(), 32, 10)
    found = {
        name: sum(tensor.numel() for tensor in layer.parameters())
        for name, layer in network.named_children()
    }
    assert [(name, count) for name, count in found.items() if count] == by_hand
    assert sum(found.values()) == 62_006


def test_the_tutorial_s_network_computes_what_its_formula_says() -> None:
    network = build_network(recipe(), 32, 10, seed=3)
    weights = [tensor.detach() for tensor in network.state_dict().values()]
    pictures = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x = pictures
    for weight, bias in (weights[0:2], weights[2:4]):
        x = nn.functional.conv2d(x, weight, bias).clamp(min=0)
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-1, -2))
    x = x.reshape(4, 400)
    for weight, bias in (weights[4:6], weights[6:8]):
        x = (x @ weight.T + bias).clamp(min=0)
    x = x @ weights[8].T + weights[9]
    torch.testing.assert_close(network(pictures), x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "classes", "changes"),
    [
        (32, 100, {}),
        (33, 10, {}),
        (64, 2, {"channels": [8, 16, 32], "kernel_size": 3}),
        (28, 10, {"hidden": []}),
        (16, 3, {"channels": [4], "hidden": [5]}),
        (1024, 2, {"channels": [1, 1], "hidden": [1]}),
    ],
)
def test_any_picture_size_that_fits_gives_a_logit_a_class(
    size: int, classes: int, changes: dict[str, Any]
) -> None:
    network = build_network(recipe(**changes), size, classes)
    assert network(torch.zeros(2, 3, size, size)).shape == (2, classes)


def test_the_table_of_layers_tells_shapes_and_counts() -> None:
    lines = layer_table(build_network(recipe(), 32, 10), 32).splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert rows["input"].split(maxsplit=1)[1].strip() == "3 x 32 x 32"
    for name, shape, parameters in [
        ("conv1", "6 x 28 x 28", "456"),
        ("pool1", "6 x 14 x 14", ""),
        ("conv2", "16 x 10 x 10", "2,416"),
        ("pool2", "16 x 5 x 5", ""),
        ("flatten", "400", ""),
        ("linear1", "120", "48,120"),
        ("linear2", "84", "10,164"),
        ("output", "10", "850"),
        ("total", "", "62,006"),
    ]:
        assert f" {shape} " in rows[name] + " "
        assert rows[name].rstrip().endswith(parameters)


def transfer(**changes: Any) -> Recipe:
    return load_params(ROOT / "params.yaml").recipes["transfer"].model_copy(update=changes)


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "convnext_tiny",
        "densenet121",
        "efficientnet_b0",
        "googlenet",
        "inception_v3",
        "maxvit_t",
        "mnasnet0_5",
        "mobilenet_v3_small",
        "resnet18",
        "shufflenet_v2_x0_5",
        "squeezenet1_0",
        "swin_t",
        "vgg11",
        "vit_b_16",
    ],
)
def test_a_network_of_each_of_torchvision_s_families_gives_a_logit_a_class(name: str) -> None:
    with torch.device("meta"):  # shapes without numbers, in no time
        network = build_network(transfer(network=name), 224, 3)
        assert network.train()(torch.zeros(2, 3, 224, 224)).shape == (2, 3)


def test_torchvision_s_network_is_the_one_it_draws_itself() -> None:
    torch.manual_seed(5)
    theirs = models.resnet18(num_classes=4).eval()
    ours = build_network(transfer(), 64, 4, seed=5).eval()
    pictures = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours(pictures), theirs(pictures))


def test_the_table_of_torchvision_s_network_counts_its_parts() -> None:
    network = build_network(transfer(), 224, 10)
    rows = {line.split()[0]: line.split() for line in layer_table(network, 224).splitlines()}
    assert rows["conv1"] == ["conv1", "Conv2d", "64", "x", "112", "x", "112", "9,408"]
    assert rows["layer4"][:7] == ["layer4", "Sequential", "512", "x", "7", "x", "7"]
    assert rows["fc"] == ["fc", "Linear", "10", "5,130"]
    assert rows["total"] == ["total", "11,181,642"]  # 11,689,512 with a thousand classes


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"network": "inception_v3"}, "32"),
        ({"network": "vit_b_32", "train_sizes": [32]}, "32 and 64"),
    ],
)
def test_a_size_that_torchvision_s_network_cannot_take_is_one_line(
    changes: dict[str, Any], size: str
) -> None:
    with torch.device("meta"):
        line = refused(lambda: build_network(transfer(**changes), int(size[-2:]), 10))
    assert f"{changes['network']} does not take pictures of {size} pixels (" in line
    assert "choose another download.image_size" in line


def test_first_weights_come_from_the_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        return nn.utils.parameters_to_vector(build_network(recipe(), 32, 10, seed).parameters())

    torch.manual_seed(1)
    first = weights(5)
    torch.manual_seed(2)
    torch.rand(7)
    assert torch.equal(weights(5), first)
    assert not torch.equal(weights(6), first)


def test_first_weights_are_the_ones_torch_draws_for_these_layers() -> None:
    torch.manual_seed(11)
    by_hand = [
        nn.Conv2d(3, 6, 5),
        nn.Conv2d(6, 16, 5),
        nn.Linear(400, 120),
        nn.Linear(120, 84),
        nn.Linear(84, 10),
    ]
    expected = [tensor for layer in by_hand for tensor in layer.parameters()]
    found = list(build_network(recipe(), 32, 10, seed=11).parameters())
    assert all(torch.equal(ours, torchs) for ours, torchs in zip(found, expected, strict=True))


def test_the_global_generators_are_left_alone() -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    expected, expected_numpy = torch.rand(3), np.random.rand(3)
    torch.manual_seed(7)
    np.random.seed(7)
    build_network(recipe(), 32, 10, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert (np.random.rand(3) == expected_numpy).all()


@pytest.mark.parametrize(
    ("mean", "std"),
    [([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]), ([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616])],
)
def test_normalisation_is_torchvision_s(mean: list[float], std: list[float]) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 7, 7, 3), np.uint8)
    pictures[0] = 0
    pictures[1] = 255
    theirs = transforms.Normalize(mean, std)
    expected = torch.stack([theirs(to_tensor(picture)) for picture in pictures])
    ours = Normalize(mean, std)(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_normalisation_leaves_its_input_as_it_was() -> None:
    pictures = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    before = pictures.clone()
    Normalize([0.5] * 3, [0.5] * 3)(pictures)
    assert torch.equal(pictures, before)
