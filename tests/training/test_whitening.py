"""The whitened network: its whitening against NumPy, and what it promises of its first state."""

import numpy as np
import pytest
import torch
from helpers import ROOT
from torch import Tensor, nn

from common.params import load_params
from common.recipes import Recipe
from model.networks import Normalize, build_network
from training.table import layer_table
from training.whitening import set_whitening

RECIPE = load_params(ROOT / "params.yaml").recipes["accurate"]


def recipe(**changes: object) -> Recipe:
    return RECIPE.model_copy(update={"channels": [32, 40], "image_size": 16, **changes})


@pytest.fixture
def images() -> Tensor:
    """Normalised pictures whose neighbouring pixels and channels are alike, as in photographs."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 3, 17, 17)) + 2 * rng.normal(size=(200, 1, 17, 17))
    smooth = (
        noise[:, :, 1:, 1:] + noise[:, :, :-1, 1:] + noise[:, :, 1:, :-1] + noise[:, :, :-1, :-1]
    )
    return torch.from_numpy(smooth / smooth.std()).float()


def test_whitened_patches_are_uncorrelated_with_variance_1(images: Tensor) -> None:
    network = build_network(recipe(), 16, 10)
    set_whitening(network, images)
    weights = network.get_parameter("whiten.weight").detach()
    outputs = (
        nn.functional.conv2d(images, weights)[:, :12].transpose(0, 1).flatten(1).double().numpy()
    )
    # A little less than 1 where a patch hardly varies: there noise is not blown up.
    assert np.cov(outputs) == pytest.approx(np.eye(12), abs=0.05)
    assert torch.equal(weights[12:], -weights[:12])


def test_whitening_filters_are_numpys_eigenvectors(images: Tensor) -> None:
    network = build_network(recipe(), 16, 10)
    set_whitening(network, images)
    filters = network.get_parameter("whiten.weight").detach()[:12].flatten(1).double().numpy()
    windows = np.lib.stride_tricks.sliding_window_view(images.double().numpy(), (2, 2), axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    variances, vectors = np.linalg.eigh(np.cov(patches.T))
    for ours, variance, vector in zip(filters, variances, vectors.T, strict=True):
        assert abs(ours @ vector) * np.sqrt(variance + 5e-4) == pytest.approx(1, abs=1e-4)


def test_whitening_and_scales_are_not_trained() -> None:
    fixed = {
        name
        for name, weight in build_network(recipe(), 16, 10).named_parameters()
        if not weight.requires_grad
    }
    assert fixed == {
        "whiten.weight",
        *(f"norm{group}{half}.weight" for group in (1, 2) for half in "ab"),
    }


def test_convolutions_begin_as_the_identity() -> None:
    network = build_network(recipe(), 16, 10)
    picture = torch.rand(2, 24, 15, 15)
    assert torch.equal(network.get_submodule("conv1a")(picture)[:, :24], picture)


def test_any_size_of_picture_that_its_poolings_leave_something_of() -> None:
    network = build_network(recipe(), 16, 10).eval()
    for size in (5, 9, 16, 33):
        assert network(torch.rand(2, 3, size, size)).shape == (2, 10)


def test_layer_table_leaves_the_network_as_it_was() -> None:
    network = build_network(recipe(), 16, 10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert "24 x 15 x 15" in layer_table(network, 16)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_normalize_takes_shrunken_pictures_too() -> None:
    pixels = torch.arange(3 * 4).view(1, 3, 2, 2)
    normalize = Normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    wanted = (pixels.double() / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.5, 0.6, 0.7]
    ).view(3, 1, 1)
    assert torch.allclose(normalize(pixels.to(torch.uint8)).double(), wanted, atol=1e-6)
    assert torch.equal(normalize(pixels.float()), normalize(pixels.to(torch.uint8)))


def test_grey_pictures_give_no_empty_channels(images: Tensor) -> None:
    network = build_network(recipe(), 16, 10)
    grey = images[:, :1].expand(-1, 3, -1, -1)
    set_whitening(network, grey)
    outputs = network.get_submodule("whiten")(grey).transpose(0, 1).flatten(1)
    assert outputs.var(dim=1).numpy() == pytest.approx(1, abs=0.05)


def test_whitening_is_exact_under_bfloat16(images: Tensor) -> None:
    network = build_network(recipe(), 16, 10)
    set_whitening(network, images)
    exact = network.get_submodule("whiten")(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.get_submodule("whiten")(images), exact)
