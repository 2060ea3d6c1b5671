"""Heat maps against plain autograd on a network run in two halves, and against a known answer."""

import matplotlib
import numpy as np
import pytest
import torch
from torch import nn

from common.arrays import Array
from evaluation.gradcam import blend, grad_cam
from helpers import refused
from model.classifier import Classifier
from models import WHITENED, make_description, make_recipe, random_images, torchvision

LENET_32 = {"name": "lenet", "channels": [6, 16], "kernel_size": 5, "hidden": [120, 84]}


def make_classifier(network: dict[str, object], size: int, **changes: object) -> Classifier:
    """Return a classifier whose logits differ per image."""
    recipe = make_recipe(network=network, **changes)
    classifier = Classifier(make_description(recipe, image_size=size))
    generator = torch.Generator().manual_seed(4)
    for name, tensor in classifier.network.state_dict().items():
        if name.endswith(("weight", "running_mean")) and tensor.ndim != 1:
            scale = 1.5 / tensor[0].numel() ** 0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
    return classifier


def in_two_halves(classifier: Classifier, cut: str, images: Array, classes: list[int]) -> Array:
    """Compute heat maps in float64 with the activations after module ``cut`` as a leaf."""
    parts = dict(classifier.network.double().eval().named_children())
    names = list(parts)
    first = [parts[name] for name in names[: names.index(cut) + 1]]
    second = [parts[name] for name in names[names.index(cut) + 1 :]]
    with torch.no_grad():
        activations = nn.Sequential(*first)((torch.from_numpy(images) / 255 - 0.5).double() / 0.5)
    activations.requires_grad_()
    logits = nn.Sequential(*second)(activations)
    logits[range(len(images)), classes].sum().backward()
    assert activations.grad is not None
    alpha = activations.grad.numpy().mean(axis=(2, 3))
    small = np.einsum("nc,nchw->nhw", alpha, activations.detach().numpy()).clip(0)
    large = np.stack([enlarge(one, images.shape[-1]) for one in small])
    maps: Array = large / large.max(axis=(1, 2), keepdims=True).clip(1e-30)
    return maps


def enlarge(small: Array, size: int) -> Array:
    """Interpolate linearly along both axes; the first and last value reach to the edges."""
    places = (np.arange(size) + 0.5) * len(small) / size - 0.5
    rows = np.stack([np.interp(places, range(len(small)), column) for column in small.T], axis=1)
    return np.stack([np.interp(places, range(len(small)), row) for row in rows])


@pytest.mark.parametrize(
    ("network", "cut", "size"),
    [(LENET_32, "pool2", 32), (WHITENED, "gelu2b", 24)],
)
def test_maps_are_those_of_plain_autograd_on_two_halves(
    network: dict[str, object], cut: str, size: int
) -> None:
    classifier = make_classifier(network, size)
    images, classes = random_images(6, size), [0, 1, 2, 1, 0, 2]
    found = grad_cam(classifier, images, classes)
    assert (found.dtype, found.shape) == (np.dtype(np.float32), (6, size, size))
    expected = in_two_halves(classifier, cut, images, classes)
    assert np.median(expected.std(axis=(1, 2))) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("corner", [(0, 0), (0, 18), (18, 0), (18, 18)])
def test_the_only_patch_that_says_anything_lights_up(corner: tuple[int, int]) -> None:
    """The network, set by hand, adds up red for class 0 and subtracts it for class 1."""
    network = {"name": "lenet", "channels": [1], "kernel_size": 3, "hidden": []}
    classifier = Classifier(make_description(make_recipe(network=network), image_size=24))
    with torch.no_grad():
        for parameter in classifier.network.parameters():
            parameter.zero_()
        classifier.network.get_parameter("conv1.weight")[0, 0] = 1
        classifier.network.get_parameter("conv1.bias")[0] = 9  # black is -1 for each of 9 pixels
        classifier.network.get_parameter("output.weight")[:2] = torch.tensor([[1.0], [-1.0]])
    row, column = corner
    images = np.zeros((2, 3, 24, 24), np.uint8)
    images[:, 0, row : row + 6, column : column + 6] = 255
    images[:, 2] = np.random.default_rng(0).integers(0, 256, (24, 24))  # blue says nothing
    found = grad_cam(classifier, images, [0, 1])
    inside = np.zeros((24, 24), bool)
    inside[row : row + 6, column : column + 6] = True
    assert found[0][inside].max() == 1
    assert found[0][inside].sum() > 0.5 * found[0].sum()
    far = np.zeros((24, 24), bool)
    far[max(0, row - 6) : row + 12, max(0, column - 6) : column + 12] = True
    assert not found[0][~far].any()
    assert not found[1].any()


def test_a_map_is_the_same_alone_in_any_state_and_whatever_the_precision() -> None:
    images = random_images(3, 24)
    classifier = make_classifier(WHITENED, 24)
    expected = grad_cam(classifier, images, [2, 0, 1])
    with torch.inference_mode():
        np.testing.assert_array_equal(grad_cam(classifier, images[1:2], [0])[0], expected[1])
    classifier.train().requires_grad_(requires_grad=False)
    np.testing.assert_array_equal(grad_cam(classifier, images, [2, 0, 1]), expected)
    coarse = make_classifier(WHITENED, 24, precision="bfloat16")
    np.testing.assert_array_equal(grad_cam(coarse, images, [2, 0, 1]), expected)
    assert grad_cam(classifier, images[:0], []).shape == (0, 24, 24)


def test_the_classifier_stays_as_it_was() -> None:
    classifier = make_classifier(WHITENED, 24).train()
    classifier.network.get_submodule("norm1a").eval()
    modes = [part.training for part in classifier.modules()]
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    grad_cam(classifier, random_images(2, 24), [0, 1])
    assert [part.training for part in classifier.modules()] == modes
    assert not [part for part in classifier.modules() if part._forward_hooks]
    assert all(parameter.grad is None for parameter in classifier.parameters())
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(
    ("model", "size", "part"),
    [
        ("resnet18", 64, "layer4"),
        ("resnet18", 32, "layer3"),  # layer4 has one position left
        ("alexnet", 72, "features.11"),  # the pooling behind repeats one position 36 times
        ("densenet121", 64, "features"),  # an in-place ReLU follows
    ],
)
def test_maps_of_torchvisions_networks_are_of_the_last_layer_with_positions(
    model: str, size: int, part: str
) -> None:
    """The gradient is that of an output that keeps its own, retained by a hook of the test."""
    classifier = Classifier(
        make_description(make_recipe(network=torchvision(model)), image_size=size)
    )
    images = random_images(1, size)
    kept: list[torch.Tensor] = []
    layer = classifier.network.eval().get_submodule(part)
    hook = layer.register_forward_hook(lambda *call: kept.append(call[-1]))
    logits = classifier.network(classifier.normalize(torch.from_numpy(images)))
    hook.remove()
    kept[0].retain_grad()
    for label in range(3):
        logits[0, label].backward(retain_graph=True)
        assert kept[0].grad is not None
        alpha = kept[0].grad.mean(dim=(2, 3), keepdim=True)
        small = (alpha * kept[0]).sum(dim=1)[0].clamp(0).detach().numpy()
        kept[0].grad = None
        assert small.shape[0] == small.shape[1] > 1
        (found,) = grad_cam(classifier, images, [label])
        large = enlarge(small, size)
        np.testing.assert_allclose(found, large / max(large.max(), 1e-30), atol=1e-3)


@pytest.mark.parametrize("model", ["vit_b_32", "resnet18"])
def test_a_network_without_rows_and_columns_is_refused_by_name(model: str) -> None:
    size = 32 if model.startswith("vit") else 2
    recipe = make_recipe(network=torchvision(model))
    classifier = Classifier(make_description(recipe, image_size=size))
    line = refused(lambda: grad_cam(classifier, random_images(1, size), [0]))
    assert line == (
        f"network {model} has no rows and columns before its last layers, for images of {size} "
        "pixels; Grad-CAM, which shows where a network looks, needs a convolutional one"
    )
    assert not [part for part in classifier.modules() if part._forward_hooks]


def test_blending_keeps_the_images_brightness_and_takes_the_maps_colours() -> None:
    images = np.zeros((2, 3, 4, 4), np.uint8)
    images[1] = 200
    maps = np.zeros((2, 4, 4), np.float32)
    maps[:, 0, 0] = 1
    found = blend(images, maps)
    assert (found.dtype, found.shape) == (np.dtype(np.uint8), (2, 3, 4, 4))
    hot, cold = (255 * np.array(matplotlib.colormaps["inferno"](value)[:3]) for value in (1.0, 0.0))
    for image, grey in zip(found, (0, 200), strict=True):
        for pixel, color in ((image[:, 0, 0], hot), (image[:, 2, 3], cold)):
            np.testing.assert_allclose(pixel, 0.45 * grey + 0.55 * color, atol=0.51)
