"""The networks: their layers, their initial weights, and their normalisation."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, max_pool2d
from torchvision import models
from torchvision.transforms import v2 as transforms
from torchvision.transforms.functional import to_tensor

from common.recipes import Recipe
from helpers import refused
from model.networks import Normalize, build_network, load_weights
from model.whitened import PooledConvolution
from models import LENET, WHITENED, make_recipe, torchvision


def lenet(**changes: Any) -> Recipe:
    return make_recipe(network={**LENET, **changes})


def network_of(model: str) -> Recipe:
    return make_recipe(network=torchvision(model))


def test_the_tutorial_s_network_has_the_parameters_counted_by_hand() -> None:
    by_hand = [
        ("conv1", 6 * (3 * 5 * 5 + 1)),
        ("conv2", 16 * (6 * 5 * 5 + 1)),
        ("linear1", 120 * (16 * 5 * 5 + 1)),
        ("linear2", 84 * (120 + 1)),
        ("output", 10 * (84 + 1)),
    ]
    network = build_network(lenet(), 32, 10)
    found = {
        name: sum(tensor.numel() for tensor in layer.parameters())
        for name, layer in network.named_children()
    }
    assert [(name, count) for name, count in found.items() if count] == by_hand
    assert sum(found.values()) == 62_006


def test_the_tutorial_s_network_computes_what_its_formula_says() -> None:
    network = build_network(lenet(), 32, 10, seed=3)
    weights = [tensor.detach() for tensor in network.state_dict().values()]
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x = images
    for weight, bias in (weights[0:2], weights[2:4]):
        x = nn.functional.conv2d(x, weight, bias).clamp(min=0)
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-1, -2))
    x = x.reshape(4, 400)
    for weight, bias in (weights[4:6], weights[6:8]):
        x = (x @ weight.T + bias).clamp(min=0)
    x = x @ weights[8].T + weights[9]
    torch.testing.assert_close(network(images), x, rtol=1e-5, atol=1e-6)


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
def test_any_image_size_that_fits_gives_one_logit_per_class(
    size: int, classes: int, changes: dict[str, Any]
) -> None:
    network = build_network(lenet(**changes), size, classes)
    assert network(torch.zeros(2, 3, size, size)).shape == (2, classes)


def test_the_convolutions_of_the_whitened_network_begin_as_the_identity_of_torch() -> None:
    network = build_network(make_recipe(network=WHITENED), 16, 3, seed=2)
    images = torch.rand(2, 8, 7, 7)
    assert torch.equal(network.get_submodule("conv1b")(images), images)  # 8 channels to 8
    for name, layer in network.named_children():
        if isinstance(layer, nn.Conv2d) and name.startswith("conv"):
            theirs = copy.deepcopy(layer)
            nn.init.dirac_(theirs.weight[: theirs.in_channels])
            assert torch.equal(layer.weight, theirs.weight)


def test_only_the_filters_biases_and_last_layer_of_the_whitened_network_are_trained() -> None:
    network = build_network(make_recipe(network=WHITENED), 16, 3)
    trained = {name for name, tensor in network.named_parameters() if tensor.requires_grad}
    convolutions = {f"conv{group}{half}.weight" for group in "12" for half in "ab"}
    biases = {f"norm{group}{half}.bias" for group in "12" for half in "ab"}
    assert trained == convolutions | biases | {"output.weight"}


def test_convolutions_before_a_pooling_but_the_first_leave_out_what_it_drops() -> None:
    modules = build_network(make_recipe(network=WHITENED), 16, 3).named_modules()
    assert [name for name, each in modules if isinstance(each, PooledConvolution)] == ["conv2a"]


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("width", [6, 7, 15])
def test_a_pooled_convolution_computes_what_the_pooling_takes(kernel_size: int, width: int) -> None:
    ours = PooledConvolution(4, 6, kernel_size, padding="same", bias=False).double()
    maps = torch.rand(2, 4, width, width, dtype=torch.float64, requires_grad=True)
    theirs = conv2d(maps, ours.weight, padding="same")
    found = ours(maps)
    assert found.shape[2:] == (width // 2 * 2, width // 2 * 2)
    torch.testing.assert_close(found, theirs[:, :, : found.shape[2], : found.shape[3]])
    pooled = [max_pool2d(each, 2) for each in (found, theirs)]
    gradients = [torch.autograd.grad(each.square().sum(), [maps, ours.weight]) for each in pooled]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    "model",
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
def test_a_network_of_each_family_of_torchvision_gives_one_logit_per_class(model: str) -> None:
    with torch.device("meta"):  # shapes without numbers, in no time
        network = build_network(network_of(model), 224, 3)
        assert network.train()(torch.zeros(2, 3, 224, 224)).shape == (2, 3)


def test_torchvision_s_network_is_the_one_it_draws_itself() -> None:
    torch.manual_seed(5)
    theirs = models.resnet18(num_classes=4).eval()
    ours = build_network(network_of("resnet18"), 64, 4, seed=5).eval()
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours(images), theirs(images))


def test_maxvit_takes_multiples_of_224_pixels() -> None:
    with torch.device("meta"):
        network = build_network(network_of("maxvit_t"), 448, 3)
        assert network(torch.zeros(1, 3, 448, 448)).shape == (1, 3)


@pytest.mark.parametrize(("model", "size"), [("vit_b_16", 40), ("maxvit_t", 64)])
def test_a_size_that_a_network_is_not_built_for_is_one_line(model: str, size: int) -> None:
    with torch.device("meta"):
        line = refused(lambda: build_network(network_of(model), size, 10))
    assert line.startswith(f"torchvision's {model} does not take images of {size} pixels (")
    assert line.endswith("); choose another download.image_size or another network")


def test_initial_weights_come_from_the_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        return nn.utils.parameters_to_vector(build_network(lenet(), 32, 10, seed).parameters())

    torch.manual_seed(1)
    first = weights(5)
    torch.manual_seed(2)
    torch.rand(7)
    assert torch.equal(weights(5), first)
    assert not torch.equal(weights(6), first)


def test_initial_weights_are_the_ones_torch_draws_for_these_layers() -> None:
    torch.manual_seed(11)
    by_hand = [
        nn.Conv2d(3, 6, 5),
        nn.Conv2d(6, 16, 5),
        nn.Linear(400, 120),
        nn.Linear(120, 84),
        nn.Linear(84, 10),
    ]
    expected = [tensor for layer in by_hand for tensor in layer.parameters()]
    found = list(build_network(lenet(), 32, 10, seed=11).parameters())
    assert all(torch.equal(ours, torchs) for ours, torchs in zip(found, expected, strict=True))


def test_the_global_generators_are_left_alone() -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    expected, expected_numpy = torch.rand(3), np.random.rand(3)
    torch.manual_seed(7)
    np.random.seed(7)
    build_network(lenet(), 32, 10, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert (np.random.rand(3) == expected_numpy).all()


def test_weights_are_loaded_whole_or_refused() -> None:
    network = build_network(lenet(), 32, 10, seed=1)
    weights = dict(build_network(lenet(), 32, 10, seed=2).state_dict())
    load_weights(network, weights)
    assert all(torch.equal(network.state_dict()[name], weights[name]) for name in weights)
    without = {name: tensor for name, tensor in weights.items() if name != "conv1.bias"}
    for wrong in (without, {**weights, "conv3.bias": torch.zeros(1)}):
        with pytest.raises(RuntimeError, match=r"conv[13]\.bias"):
            load_weights(network, wrong)


@pytest.mark.parametrize(
    ("mean", "std"),
    [([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]), ([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616])],
)
def test_normalisation_is_torchvision_s(mean: list[float], std: list[float]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 7, 7, 3), np.uint8)
    images[0] = 0
    images[1] = 255
    theirs = transforms.Normalize(mean, std)
    expected = torch.stack([theirs(to_tensor(image)) for image in images])
    ours = Normalize(mean, std)(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_normalisation_leaves_its_input_as_it_was() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    before = images.clone()
    Normalize([0.5] * 3, [0.5] * 3)(images)
    assert torch.equal(images, before)
