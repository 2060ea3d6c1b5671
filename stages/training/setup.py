"""What a training is made of, from a classifier and its data."""

import torch

from model.classifier import Classifier
from training.batches import TrainingData, class_weights, image_reader
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
    # Other processors may have drawn or whitened them to other last bits.
    group.broadcast(trained.network.state_dict().values())
    read = image_reader(data.images, device)
    return Setup(
        classifier=classifier,
        trained=trained,
        data=data,
        read=read,
        labels=data.labels.to(device),
        group=group,
        device=device,
        class_weights=class_weights(data, len(description.classes), description.recipe, device),
    )
