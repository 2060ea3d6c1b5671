"""The filters of a whitening layer, computed from training images."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def set_whitening(network: nn.Module, images: Tensor) -> None:
    """Give the first layer filters whose outputs over these pictures, (N, 3, H, W), are uncorrelated and of variance 1.

    They are the eigenvectors of the patches' covariance over the root of its eigenvalue; then their negatives. Where
    patches do not vary, as in the colours of grey pictures, the others are repeated.
    """
    weight = network.get_parameter("whiten.weight")
    patches = (
        nn.functional.unfold(images, weight.shape[2:]).transpose(1, 2).flatten(0, 1)
    )  # (patches, 3 x 2 x 2)
    variances, vectors = torch.linalg.eigh(patches.double().T.cov().cpu())
    filters = (vectors / (variances + 5e-4).sqrt()).T[variances >= 1e-6 * variances.max()]
    filters = filters[torch.arange(len(vectors)) % len(filters)].view(-1, *weight.shape[1:])
    weight.copy_(torch.cat([filters, -filters]))
