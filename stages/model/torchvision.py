"""Classification networks of torchvision, by their names there."""

from typing import Any

from torch import nn

from common.errors import UserError
from common.network_options import Torchvision


def torchvision_network(options: Torchvision, image_size: int, classes: int) -> nn.Module:
    """Build a network with the initial weights that torchvision draws; nothing is downloaded.

    The network takes float32 (N, 3, image_size, image_size) and returns logits, (N, classes).

    Raises:
        UserError: The network has a fixed image size, which is not ``image_size``.
    """
    from torchvision.models import get_model  # takes seconds, which the other networks do not need

    arguments = special_arguments(options, image_size)
    try:
        network: nn.Module = get_model(
            options.model, weights=None, num_classes=classes, **arguments
        )
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"torchvision's {options.model} does not take images of {image_size} pixels "
            f"({reason}); choose another download.image_size or another network"
        ) from None
    return network


def published_size(options: Torchvision) -> int:
    """Return the width and height in pixels of the images that a model's published weights are
    for.
    """
    from torchvision.models import get_model_weights

    transforms: Any = get_model_weights(options.model)["DEFAULT"].value.transforms()
    return int(transforms.crop_size[0])


def special_arguments(options: Torchvision, image_size: int) -> dict[str, Any]:
    """Return what a network's constructor needs beyond the number of classes."""
    if options.model in ("googlenet", "inception_v3"):
        # Their auxiliary classifiers would make them return two results while training. The
        # published weights are for inputs that are normalised differently, which transform_input
        # makes up for; a file is taken for these weights, or for some that began as these.
        return {
            "aux_logits": False,
            "init_weights": True,
            "transform_input": options.pretrained is not False,
        }
    if options.model.startswith("vit_"):
        return {"image_size": image_size}
    if options.model.startswith("maxvit_"):
        return {"input_size": (image_size, image_size)}
    return {}
