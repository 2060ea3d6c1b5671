"""What a training is made of, from a classifier and its data."""

import torch
from torch import nn

from model.classifier import Classifier
from training.batches import TrainingData, class_weights, image_reader, split_evenly
from training.distributed import ProcessGroup
from training.features import freeze
from training.initial_weights import set_initial_weights
from training.loop import Setup


def build_setup(
    classifier: Classifier,
    data: TrainingData,
    group: ProcessGroup,
    device: torch.device,
) -> Setup:
    """Give the classifier its initial weights and put together what the loop needs.

    Raises:
        UserError: Pretrained weights cannot be had or do not fit.
        OSError: There is no room on the disk for the features of trainable head.
    """
    description = classifier.description
    set_initial_weights(classifier, data, group)
    trained, data = freeze(classifier.to(device), data, group)
    # Ranks on other processors may have initial weights with other last bits.
    group.broadcast(trained.network.state_dict().values())
    recipe = description.recipe
    shard = group.shard(split_evenly(data.train, recipe.batch_size)[0])
    spread_batch_norm(trained.network, len(split_evenly(shard, recipe.micro_batch)))
    read = image_reader(data.images, device)
    return Setup(
        classifier=classifier,
        trained=trained,
        data=data,
        read=read,
        labels=data.labels.to(device),
        group=group,
        device=device,
        class_weights=class_weights(data, len(description.classes), recipe, device),
    )


def spread_batch_norm(network: nn.Module, passes: int) -> None:
    """Let batch norm's running statistics move as far in so many passes as they would in one.

    So ``momentum`` is that of a step, whatever micro_batch is.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            module.momentum = 1 - (1 - module.momentum) ** (1 / passes)
