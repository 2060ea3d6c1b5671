"""Image classification networks of timm, by their names there."""

from typing import Any

from torch import nn

from common.errors import UserError
from common.network_options import Timm
from common.recipes import Normalization


def timm_network(options: Timm, image_size: int, classes: int) -> nn.Module:
    """Build a network with the initial weights that timm draws; nothing is downloaded.

    The network takes float32 (N, 3, image_size, image_size) and returns logits, (N, classes).

    Raises:
        UserError: The network cannot be built for images of ``image_size`` pixels.
    """
    import timm  # takes seconds, which the other networks do not need

    published: Any = timm.get_pretrained_cfg(options.model)
    arguments: dict[str, Any] = {"img_size": image_size} if published.fixed_input_size else {}
    try:
        network: nn.Module = timm.create_model(options.model, num_classes=classes, **arguments)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"timm's {options.model} does not take images of {image_size} pixels ({reason}); it is "
            f"published for {published_size(options)}; choose another download.image_size or "
            "another network"
        ) from None
    return network


def published_size(options: Timm) -> int:
    """Return the width and height in pixels of the images that a model is published for."""
    import timm

    published: Any = timm.get_pretrained_cfg(options.model)
    return int(published.input_size[-1])


def published_normalization(options: Timm) -> Normalization:
    """Return the normalisation of images that a model's published weights are for."""
    import timm

    published: Any = timm.get_pretrained_cfg(options.model)
    return Normalization(mean=list(published.mean), std=list(published.std))
