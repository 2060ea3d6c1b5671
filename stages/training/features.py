"""Training of the last layer alone, on features that the rest of the network computes once."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Array
from common.errors import UserError
from common.files import MODEL
from common.progress import Progress
from model.classifier import Classifier
from model.memory import keep_freed_memory
from model.networks import last_layer_tensors
from model.views import VIEWS
from training.augment import draw_augmentation
from training.batches import TrainingData, image_reader, split_evenly
from training.distributed import ProcessGroup

BATCH_SIZE = 50  # images per forward pass; not a parameter, since it may change the last bits
MOST_BYTES = 2 * 10**9  # of features in memory; more of them are kept in a file


class Features:
    """The features of the images of a data set, float32 (N, views, features), read as the images
    themselves are.
    """

    def __init__(self, values: Array) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __len__(self) -> int:
        return len(self.values)

    def read(self, indices: Sequence[int] | Array) -> Array:
        """Return a copy of the features at ``indices``, float32 (len(indices), views, features)."""
        chosen: Array = self.values[np.asarray(indices)]
        return chosen


class Head(Classifier):
    """The last layer of a classifier, which takes the features of an image in its place."""

    def __init__(self, classifier: Classifier) -> None:
        nn.Module.__init__(self)
        self.description = classifier.description
        self.test_time_augmentation = classifier.test_time_augmentation
        self.normalize = nn.Identity()  # type: ignore[assignment]
        self.network = last_layer(classifier)

    def views(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the features, (N, features), of each view of test-time augmentation: the first ones
        in (N, views, features).
        """
        return iter(images.unbind(dim=1)[: VIEWS[self.test_time_augmentation]])


def last_layer(classifier: Classifier) -> nn.Linear:
    """Return the linear layer that computes the logits.

    Raises:
        UserError: The network has none.
    """
    layers = [layer for layer in classifier.network.modules() if isinstance(layer, nn.Linear)]
    if not layers or layers[-1].out_features != len(classifier.description.classes):
        raise UserError(
            "trainable is 'head', but the network has no linear last layer; choose trainable: all, "
            "or another network"
        )
    return layers[-1]


def freeze(
    classifier: Classifier, data: TrainingData, group: ProcessGroup
) -> tuple[Classifier, TrainingData]:
    """Return what is trained and on what: the classifier on images, or its last layer on features,
    as the recipe says.

    Raises:
        UserError: The network has no linear last layer, or several.
        OSError: There is no room for the features.
    """
    if classifier.description.recipe.trainable == "all":
        return classifier, data
    head = Head(classifier)
    check_only_layer(head)
    return head, replace(data, images=compute_features(classifier, data, group))


def check_only_layer(head: Head) -> None:
    """Check that no other layer has a part in the logits, as in some networks of timm, which
    return the mean of two layers' logits.
    """
    description = head.description
    tensors = last_layer_tensors(
        description.recipe, description.image_size, len(description.classes)
    )
    if len(tensors) != len(head.network.state_dict()):
        raise UserError(
            "trainable is 'head', but several layers compute the logits, with tensors "
            f"{', '.join(sorted(tensors))}; choose trainable: all, or another network"
        )


@torch.no_grad()
def compute_features(classifier: Classifier, data: TrainingData, group: ProcessGroup) -> Features:
    """Compute the features of all images, each rank those of its shard, with the statistics of
    batch norm that the network came with.

    View 1 of a training image is that image as it is augmented in epoch 1, and so on; the views of
    a validation image are those of test-time augmentation. The fewer of both are padded with 0.
    """
    recipe, seed = classifier.description.recipe, classifier.description.seed
    count, layer = len(data.labels), last_layer(classifier)
    device = layer.weight.device
    augmentations = [
        draw_augmentation(recipe, count, seed, view).to(device)
        for view in range(1, recipe.views + 1)
    ]
    keep_freed_memory()
    for_validation = VIEWS[classifier.test_time_augmentation] if len(data.validation) else 0
    most = max(recipe.views, for_validation)
    values = torch.from_numpy(allocate((count, most, layer.in_features)))
    classifier.eval()
    read = image_reader(data.images, device)
    train, validation = group.shard(data.train), group.shard(data.validation)
    total = len(train) + len(validation)
    with Progress(total=total, desc="Features", unit="image") as progress:
        for batch in batches(train):
            images = read(batch)
            on_device = batch.to(device)
            views_of_batch = [augment(images, on_device) for augment in augmentations]
            values[batch, : recipe.views] = features_of(classifier, views_of_batch)
            progress.update(len(batch))
        for batch in batches(validation):
            images = read(batch)
            values[batch, :for_validation] = features_of(classifier, classifier.views(images))
            progress.update(len(batch))
    return Features(group.all_reduce(values).numpy())


def allocate(shape: tuple[int, int, int]) -> Array:
    """Return float32 zeros, in memory or, if they are large, in a file that ends with the process.

    Raises:
        OSError: There is no room on the disk.
    """
    size = 4 * math.prod(shape)
    if size <= MOST_BYTES:
        return np.zeros(shape, np.float32)
    with TemporaryFile(dir=MODEL.parent) as file:
        for start in range(0, size, 2**24):  # a file with holes would crash on a full disk
            file.write(bytes(min(2**24, size - start)))
        return np.memmap(file, np.float32, "r+", shape=shape)


def batches(indices: Tensor) -> Iterable[Tensor]:
    """Split indices, (n,), into batches; none if n is 0."""
    return split_evenly(indices, BATCH_SIZE) if len(indices) else ()


def features_of(classifier: Classifier, batches: Iterable[Tensor]) -> Tensor:
    """Return the inputs of the last layer for several views of the same images, (n, 3, H, W) each,
    as float32 (n, views, features), on the CPU.
    """
    with recorded_inputs(last_layer(classifier)) as inputs:
        for images in batches:
            classifier(images)
    return torch.stack(inputs, dim=1).float().cpu()


@contextmanager
def recorded_inputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Append the input of each call of a layer to the list, while the context is entered."""
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        yield inputs
    finally:
        hook.remove()
