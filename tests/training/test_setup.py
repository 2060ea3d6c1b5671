"""What the loop is given."""

import numpy as np
import pytest
import torch
from torch import nn

from model.classifier import Classifier
from models import WHITENED, make_description, make_recipe, random_images
from training.batches import TrainingData, split_evenly
from training.distributed import ProcessGroup
from training.features import Features
from training.setup import build_setup

MOMENTUM = 0.4  # of the whitened network's batch norm


@pytest.mark.parametrize(("micro_batch", "passes"), [(None, 1), (40, 1), (20, 2), (10, 4)])
def test_running_statistics_move_as_far_in_one_step_however_many_passes_it_takes(
    micro_batch: int | None, passes: int
) -> None:
    images = np.tile(random_images(10), (4, 1, 1, 1))  # each pass sees the same
    everything = torch.arange(40)
    data = TrainingData(Features(images), everything % 3, everything, everything[:0])
    recipe = make_recipe(network=WHITENED, batch_size=40, micro_batch=micro_batch)
    setup = build_setup(
        Classifier(make_description(recipe)), data, ProcessGroup(), torch.device("cpu")
    )
    network = setup.trained.network.train()
    norm = network.get_submodule("norm1a")
    assert isinstance(norm, nn.BatchNorm2d)
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _, given, __: seen.append(given[0].mean((0, 2, 3))))
    parts = split_evenly(everything, micro_batch)
    assert len(parts) == passes
    for part in parts:
        setup.trained(setup.read(part).float())
    assert norm.running_mean is not None
    share = norm.running_mean / seen[0]
    assert share.detach().numpy() == pytest.approx(MOMENTUM, rel=1e-4)
