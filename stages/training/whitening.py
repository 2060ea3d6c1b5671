"""The filters of a whitening layer, computed from training images (arXiv:2404.00498)."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def set_whitening(network: nn.Module, images: Tensor) -> None:
    """Set the filters of layer ``whiten`` so that their outputs over these images are uncorrelated
    with variance 1.

    The filters are the eigenvectors of the covariance of the images' patches, each divided by the
    root of its eigenvalue; then the same filters negated. Directions in which patches do not vary,
    as in the colours of grey images, are left out, and other filters repeated in their place.

    Args:
        network: with a convolution named ``whiten``.
        images: normalised, float32 (N, 3, H, W).
    """
    weight = network.get_parameter("whiten.weight")
    patches = nn.functional.unfold(images, weight.shape[2:])  # (N, 3 * 2 * 2, positions)
    patches = patches.transpose(1, 2).flatten(0, 1)  # (N * positions, 3 * 2 * 2)
    variances, vectors = torch.linalg.eigh(patches.double().T.cov().cpu())
    filters = (vectors / (variances + 5e-4).sqrt()).T[variances >= 1e-6 * variances.max()]
    filters = filters[torch.arange(len(vectors)) % len(filters)].view(-1, *weight.shape[1:])
    weight.copy_(torch.cat([filters, -filters]))
