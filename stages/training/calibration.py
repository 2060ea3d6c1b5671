"""The temperature by which logits are divided, so that confidences are what they say.

The method is that of Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, with
a prior, so that a few images do not move the temperature far from 1.
"""

import math

import numpy as np
import torch
from torch import Tensor

from common.arrays import Array
from common.stage import importing
from model.classifier import predict_logits
from training.loop import VALIDATION_BATCH_SIZE, Setup

LOWEST, HIGHEST = 0.01, 100.0  # temperatures
SPREAD = 0.5  # standard deviation of the normal prior of the temperature's logarithm, around 0


def calibrate(setup: Setup) -> float:
    """Return the temperature of the trained classifier, the same in every rank: 1 without
    validation images.
    """
    data, group = setup.data, setup.group
    if len(data.validation) == 0:
        return 1.0
    rows = group.shard(torch.arange(len(data.validation)))
    logits = predict_logits(
        setup.trained,
        data.images,
        data.validation[rows].numpy(),
        VALIDATION_BATCH_SIZE,
        title="Calibrate",
    )
    every = torch.zeros(len(data.validation), logits.shape[1])
    every[rows] = logits
    return fit_temperature(group.all_reduce(every), data.labels[data.validation])


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the most probable temperature (maximum a posteriori), to four digits.

    With many images it is that of the lowest cross-entropy. Without the prior, a few images that
    are all classified correctly would make it 0, and a few that are all mistaken, infinite.

    Args:
        logits: (n, classes); if any is not finite, the temperature is 1.
        labels: int64 (n,).
    """
    with importing():  # scipy takes time, and is needed here alone
        from scipy.optimize import minimize_scalar

    values, truth = logits.double().numpy(), labels.numpy()
    if not np.isfinite(values).all():
        return 1.0

    def negative_log_posterior(logarithm: float) -> float:  # up to a constant
        losses = len(truth) * cross_entropy(values / math.exp(logarithm), truth)
        return losses + (logarithm / SPREAD) ** 2 / 2

    found = minimize_scalar(
        negative_log_posterior,
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(f"{math.exp(found.x):.4g}")


def cross_entropy(logits: Array, labels: Array) -> float:
    """Return the mean cross-entropy in nats of logits, float64 (n, classes)."""
    from scipy.special import logsumexp

    losses = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return float(losses.mean())
