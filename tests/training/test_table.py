"""The table of a network's layers, and the image sizes that a network of torchvision takes."""

import pytest
import torch

from common.recipes import Recipe
from helpers import refused
from model.networks import build_network
from models import WHITENED, make_recipe, torchvision
from training.table import check_image_sizes, layer_table


def network_of(model: str, sizes: list[int] | None = None) -> Recipe:
    resizing = {"progressive_resizing": {"sizes": sizes}} if sizes else {}
    return make_recipe(network=torchvision(model), **resizing)


def test_the_table_tells_shapes_and_counts() -> None:
    lines = layer_table(build_network(make_recipe(), 32, 10), 32).splitlines()
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


def test_the_table_of_torchvision_s_network_counts_its_parts() -> None:
    network = build_network(network_of("resnet18"), 224, 10)
    rows = {line.split()[0]: line.split() for line in layer_table(network, 224).splitlines()}
    assert rows["conv1"] == ["conv1", "Conv2d", "64", "x", "112", "x", "112", "9,408"]
    assert rows["layer4"][:7] == ["layer4", "Sequential", "512", "x", "7", "x", "7"]
    assert rows["fc"] == ["fc", "Linear", "10", "5,130"]
    assert rows["total"] == ["total", "11,181,642"]  # 11,689,512 with a thousand classes


def test_the_table_leaves_the_network_as_it_was() -> None:
    network = build_network(make_recipe(network=WHITENED), 16, 10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert "24 x 15 x 15" in layer_table(network, 16)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("model", "sizes", "said", "published"),
    [("inception_v3", None, "32", 299), ("vit_b_32", [32], "32 and 64", 224)],
)
def test_a_size_that_torchvision_s_network_cannot_take_is_one_line(
    model: str, sizes: list[int] | None, said: str, published: int
) -> None:
    recipe, size = network_of(model, sizes), int(said[-2:])
    with torch.device("meta"):
        network = build_network(recipe, size, 10)
        line = refused(lambda: check_image_sizes(network, recipe, size))
    assert f"{model} does not take images of {said} pixels (" in line
    assert f"; it is published for {published}; choose another download.image_size" in line
