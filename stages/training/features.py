"""Training of the last layer alone, on features that the rest of the network computes once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Array
from common.errors import UserError
from common.progress import Progress
from common.section import TestTimeAugmentation
from model.classifier import Classifier
from model.networks import last_layer_tensors
from model.views import views
from training.batches import TrainingData
from training.distributed import ProcessGroup

BATCH_SIZE = 50  # images per forward pass; not a parameter, since it may change the last bits
MOST_BYTES = 4 * 10**9  # of features in memory


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
        self.test_time_augmentation = "none"  # is in the features
        self.normalize = nn.Identity()  # type: ignore[assignment]
        self.network = last_layer(classifier)

    def average(self, images: Tensor) -> Tensor:
        """Return the logits, (N, classes), of features (N, views, features), of which the first
        view is the mean over the views of test-time augmentation.
        """
        return super().average(images[:, 0])


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
        UserError: The network has no linear last layer or several, or the features need too much
            memory.
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

    A training image has a view as it is and, if the recipe flips images, one as its mirror image. A
    validation image has the mean over its views of test-time augmentation: logits are linear in the
    features, so that is also the mean of the logits.

    Raises:
        UserError: The features need too much memory.
    """
    mirrored = classifier.description.recipe.augment.flip != "none"
    shape = (len(data.labels), 1 + mirrored, last_layer(classifier).in_features)
    check_memory(shape)
    classifier.eval()
    device = next(classifier.parameters()).device
    values = torch.zeros(shape)
    train, validation = group.shard(data.train), group.shard(data.validation)
    total = len(train) + len(validation)
    with (
        Progress(total=total, desc="Features", unit="image") as progress,
        recorded_inputs(last_layer(classifier)) as inputs,
    ):
        kinds: list[tuple[Tensor, TestTimeAugmentation]] = [
            (train, "mirror" if mirrored else "none"),
            (validation, classifier.test_time_augmentation),
        ]
        for indices, kind in kinds:
            for start in range(0, len(indices), BATCH_SIZE):
                batch = indices[start : start + BATCH_SIZE]
                images = torch.from_numpy(data.images.read(batch.tolist())).to(device)
                for view in views(images, kind):
                    classifier(view)
                found = torch.stack(inputs, dim=1).float().cpu()  # (n, views, features)
                inputs.clear()
                if indices is validation:
                    found = found.mean(dim=1, keepdim=True)
                values[batch, : found.shape[1]] = found
                progress.update(len(batch))
    return Features(group.all_reduce(values).numpy())


def check_memory(shape: tuple[int, int, int]) -> None:
    count, size = shape[0], 4 * int(np.prod(shape))
    if size > MOST_BYTES:
        raise UserError(
            f"trainable is 'head', but the features of {count:,} images need {size / 1e9:.1f} GB "
            f"of memory, and at most {MOST_BYTES / 1e9:.0f} GB are used; choose trainable: all, or "
            "augment.flip: none, which needs half as much"
        )


@contextmanager
def recorded_inputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Append the input of each call of a layer to the list, while the context is entered."""
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        yield inputs
    finally:
        hook.remove()
