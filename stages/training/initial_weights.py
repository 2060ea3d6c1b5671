"""The weights that a training begins with, where they are not drawn at random."""

import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.network_options import LIBRARIES, weights_file
from model.classifier import Classifier, Description
from model.networks import last_layer_tensors, load_weights, published_size
from training.batches import TrainingData
from training.distributed import ProcessGroup
from training.pretrained import published_weights, renamed
from training.weights_file import read_weights
from training.whitening import set_whitening

WHITENING_IMAGES = 5000
COUNTER = "num_batches_tracked"  # of batch norm; weights of before PyTorch 0.4.1 have none
MOST_LINES = 10
RANDOM_FEATURES = (
    "trainable is 'head' and network.pretrained names no weights: the last layer is trained on "
    "features of random filters"
)


def set_initial_weights(classifier: Classifier, data: TrainingData, group: ProcessGroup) -> None:
    """Load weights from a file or published ones, or compute whitening filters from images that are
    trained on, as the recipe says.

    Raises:
        UserError: The weights cannot be fetched or read, or do not fit.
    """
    recipe = classifier.description.recipe
    if path := weights_file(recipe.network):
        weights, classes = read_weights(path, recipe)
        said = fit_weights(classifier, weights, str(path), classes)
        if classes is None:
            said += about_small_images(classifier.description)
    elif recipe.network.name == "torchvision" and recipe.network.pretrained:
        said = fit_weights(classifier, *published_weights(recipe.network.model))
        said += about_small_images(classifier.description)
    else:
        said = RANDOM_FEATURES if recipe.trainable == "head" else ""
        if recipe.network.name == "whitened":
            sample = data.train[:: max(1, len(data.train) // WHITENING_IMAGES)]
            images = torch.from_numpy(data.images.read(sample.tolist()))
            set_whitening(classifier.network, classifier.normalize(images))
    if said and group.rank == 0:
        print(said, file=sys.stderr)


def about_small_images(description: Description) -> str:
    """Return a line that images are far smaller than those that a library's weights are for."""
    network, size = description.recipe.network, description.image_size
    if not isinstance(network, LIBRARIES):
        return ""
    published = published_size(network)
    if 2 * size >= published:
        return ""
    return (
        f"\n{network.name}'s {network.model} is published for images of {published} pixels, and "
        f"these have {size}: with larger ones, by download.image_size, it may classify far better"
    )


def fit_weights(
    classifier: Classifier,
    weights: Mapping[str, Tensor],
    source: str,
    classes: Sequence[str] | None = None,
) -> str:
    """Load weights into the network by their names.

    The last layer is loaded if all of its tensors fit, and the ``classes`` that it tells apart, if
    they are known, are the network's in the same order. Otherwise it begins at zero if it is
    linear, and at the network's own initial weights if not.

    Returns:
        What happened to the last layer, in a line that begins with ``source``.

    Raises:
        UserError: Another tensor is missing, is extra, has another shape or type, or is not
            finite.
    """
    description, own = classifier.description, classifier.network.state_dict()
    last = last_layer_tensors(description.recipe, description.image_size, len(description.classes))
    if description.recipe.network.name == "torchvision":
        weights = renamed(weights)
    weights = {**{name: own[name] for name in own if name.endswith(COUNTER)}, **weights}
    unfit = [
        name
        for name in sorted(own.keys() | weights.keys())
        if form(own.get(name)) != form(weights.get(name))
    ]
    if faults := [name for name in unfit if name not in last]:
        lines = [f"{source}: {compare(name, weights, own)}" for name in faults]
        raise UserError(
            *lines[:MOST_LINES],
            f"{source}: tensors that do not fit: {len(faults)}; choose the network and the "
            "download.image_size that the weights are for, or other weights",
        )
    renewed = bool(unfit) or classes not in (None, description.classes)
    kept = {name: own[name] for name in (last if renewed else ())}
    load_weights(classifier.network, {**weights, **kept, **zeros(classifier.network, kept)})
    check_finite(classifier, source)
    if renewed:
        why = compare(unfit[0], weights, own) if unfit else "it is of other classes"
        return f"{source}: all but the last layer is loaded, which begins anew: {why}"
    same = "the same classes" if classes else "as many classes"
    return f"{source}: all layers are loaded, the last one too, since it has {same}"


def zeros(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return zeros for those of the tensors that belong to linear layers.

    Random logits would only be noise that training has to undo: timm draws the last layer of some
    networks from so wide a range that few images do not get rid of it.
    """
    linear = {name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    return {
        name: torch.zeros_like(tensor)
        for name, tensor in tensors.items()
        if name.rpartition(".")[0] in linear
    }


def compare(name: str, weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    return f"tensor {name} is {form(weights.get(name))}, this network has {form(own.get(name))}"


def form(tensor: Tensor | None) -> str:
    """Return the shape, and the type unless it is one of real numbers, whose precision may vary."""
    if tensor is None:
        return "none"
    kind = "" if tensor.is_floating_point() else f" of {str(tensor.dtype).removeprefix('torch.')}"
    return f"{tuple(tensor.shape)}{kind}"


def check_finite(classifier: Classifier, source: str) -> None:
    for name, tensor in classifier.network.state_dict().items():
        if not tensor.isfinite().all():
            raise UserError(f"{source}: tensor {name} holds NaN or infinity; choose other weights")
