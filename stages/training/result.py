"""Whether a training that has ended left a classifier worth saving."""

import math

import torch
from torch import Tensor

from common.errors import UserError
from model.classifier import Classifier
from training.state import TrainingState


@torch.inference_mode()
def check_result(classifier: Classifier, state: TrainingState, images: Tensor) -> None:
    """Check what the last update did, which no later step's loss tells.

    Args:
        classifier: with the weights that would be saved.
        state: after the last epoch.
        images: a few training images, uint8 (n, 3, H, W), on the classifier's device.

    Raises:
        UserError: The validation loss, the weights or the outputs for ``images`` are not finite.
    """
    last, stopping = state.history.epochs[-1], state.early_stopping
    fault = None
    if stopping.patience is not None and not stopping.best_weights:
        fault = "no epoch has had a finite validation loss"
    elif stopping.patience is None and last.validated and not math.isfinite(last.validation_loss):
        fault = f"the validation loss is {last.validation_loss}"
    for name, tensor in state.network.state_dict().items():
        if not tensor.isfinite().all():
            fault = fault or f"{name} holds NaN or infinity"
    if not fault and not classifier.eval()(images).isfinite().all():
        fault = "the network's outputs are not finite"
    if fault:
        raise UserError(
            f"after the last update (epoch {last.epoch}, learning rate {last.learning_rate:g}) "
            f"{fault}, so no model is saved; choose a lower learning_rate"
        )
