"""The whitening filters against NumPy, and what they do to images."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.networks import build_network
from models import WHITENED, make_recipe
from training.whitening import set_whitening


@pytest.fixture
def images() -> Tensor:
    """Normalised images whose neighbouring pixels and channels are alike, as in photographs."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 3, 17, 17)) + 2 * rng.normal(size=(200, 1, 17, 17))
    smooth = (
        noise[:, :, 1:, 1:] + noise[:, :, :-1, 1:] + noise[:, :, 1:, :-1] + noise[:, :, :-1, :-1]
    )
    return torch.from_numpy(smooth / smooth.std()).float()


def whitened(images: Tensor) -> nn.Module:
    """Return a network whose first layer whitens these images."""
    network = build_network(make_recipe(network=WHITENED), 16, 10)
    set_whitening(network, images)
    return network


def test_whitened_patches_are_uncorrelated_with_variance_1(images: Tensor) -> None:
    weights = whitened(images).get_parameter("whiten.weight").detach()
    outputs = nn.functional.conv2d(images, weights)[:, :12].transpose(0, 1).flatten(1)
    # A little less than 1 where a patch hardly varies, so that noise there is not amplified.
    assert np.cov(outputs.double().numpy()) == pytest.approx(np.eye(12), abs=0.05)
    assert torch.equal(weights[12:], -weights[:12])


def test_the_filters_are_numpy_s_eigenvectors(images: Tensor) -> None:
    weights = whitened(images).get_parameter("whiten.weight").detach()
    filters = weights[:12].flatten(1).double().numpy()
    windows = np.lib.stride_tricks.sliding_window_view(images.double().numpy(), (2, 2), axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    variances, vectors = np.linalg.eigh(np.cov(patches.T))
    for ours, variance, vector in zip(filters, variances, vectors.T, strict=True):
        assert abs(ours @ vector) * np.sqrt(variance + 5e-4) == pytest.approx(1, abs=1e-4)


def test_grey_images_give_no_empty_channels(images: Tensor) -> None:
    grey = images[:, :1].expand(-1, 3, -1, -1)
    outputs = whitened(grey).get_submodule("whiten")(grey).transpose(0, 1).flatten(1)
    assert outputs.var(dim=1).detach().numpy() == pytest.approx(1, abs=0.05)


def test_whitening_is_exact_under_bfloat16(images: Tensor) -> None:
    whiten = whitened(images).get_submodule("whiten")
    exact = whiten(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(whiten(images), exact)
