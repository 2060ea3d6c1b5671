"""Sizes of layers, against those of torch's layers."""

import itertools

import pytest
import torch
from torch import nn

from common.errors import UserError
from common.sizes import lenet_sizes, output_size, whitened_sizes


def test_output_size_is_that_of_torch_s_layers() -> None:
    compared = 0
    for size, kernel, padding, stride in itertools.product(
        (1, 2, 5, 8, 31, 32, 33), (1, 2, 3, 5, 7), (0, 1, 2), (1, 2, 3)
    ):
        if kernel > size + 2 * padding:
            continue
        width = output_size(size, kernel, padding, stride)
        image = torch.zeros(1, 1, size, size)
        assert nn.Conv2d(1, 1, kernel, stride, padding)(image).shape[2:] == (width, width)
        if 2 * padding <= kernel:  # torch pools with no more padding than half of the kernel
            assert nn.MaxPool2d(kernel, stride, padding)(image).shape[2:] == (width, width)
        compared += 1
    assert compared > 250


def test_output_size_of_the_tutorial_by_hand() -> None:
    """32 - 5 + 1 = 28, halved 14, 14 - 5 + 1 = 10, halved 5; the well-known 16 * 5 * 5."""
    assert lenet_sizes(32, [6, 16], 5) == [(28, 14), (10, 5)]


@pytest.mark.parametrize(
    ("size", "blocks", "kernel"),
    [(16, 2, 5), (28, 2, 5), (33, 3, 3), (64, 4, 3), (7, 1, 6), (2, 1, 1)],
)
def test_sizes_of_blocks_are_those_of_torch_s_layers(size: int, blocks: int, kernel: int) -> None:
    image = torch.zeros(1, 1, size, size)
    expected = []
    for _ in range(blocks):
        convolved = nn.Conv2d(1, 1, kernel)(image)
        image = nn.MaxPool2d(2)(convolved)
        expected.append((convolved.shape[-1], image.shape[-1]))
    assert lenet_sizes(size, [1] * blocks, kernel) == expected


@pytest.mark.parametrize("size", range(1, 40))
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_what_torch_cannot_compute_is_an_error_and_nothing_else_is(size: int, kernel: int) -> None:
    layers = nn.Sequential(
        nn.Conv2d(1, 1, kernel), nn.MaxPool2d(2), nn.Conv2d(1, 1, kernel), nn.MaxPool2d(2)
    )
    try:
        layers(torch.zeros(1, 1, size, size))
    except RuntimeError:
        with pytest.raises(UserError):
            lenet_sizes(size, [6, 16], kernel)
    else:
        lenet_sizes(size, [6, 16], kernel)


def test_the_error_names_the_layer_its_numbers_and_what_to_change() -> None:
    """20 - 3 + 1 = 18, 9; 9 - 3 + 1 = 7, 3; 3 - 3 + 1 = 1, and half of it is nothing."""
    with pytest.raises(UserError) as raised:
        lenet_sizes(20, [4, 8, 12], 3)
    message = str(raised.value)
    for part in (
        "convolution 3",
        "3 pixels",
        "(3 - 3 + 2*0)/1 + 1 = 1",
        "(1 - 2 + 2*0)/2 + 1 = 0",
        "channels ([4, 8, 12], one per block)",
        "kernel_size (3)",
        "image_size (20)",
    ):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("size", [*range(1, 20), 32, 33])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_whitened_sizes_are_those_of_torch_s_layers(size: int, groups: int) -> None:
    image, expected = torch.zeros(1, 1, size, size), []
    try:
        for layer in [nn.Conv2d(1, 1, 2), *[nn.MaxPool2d(2)] * groups]:
            image = layer(image)
            expected.append(image.shape[-1])
    except RuntimeError:
        with pytest.raises(UserError, match=f"of {size} pixels; choose fewer channels"):
            whitened_sizes(size, [8] * groups, 1)
    else:
        assert whitened_sizes(size, [8] * groups, 1) == expected
