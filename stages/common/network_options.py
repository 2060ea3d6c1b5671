"""The networks that a recipe can name, each with the keys that it needs."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from common.errors import UserError, choose, shown
from common.section import Pixels, Section
from common.sizes import lenet_sizes, whitened_sizes

Width = Annotated[int, Field(ge=1, le=100_000)]
Channels = Annotated[list[Width], Field(min_length=1, max_length=20)]
MOST_WEIGHTS = 10**9  # 4 GB, and as much again for the gradients and each of the optimizer's states


class Lenet(Section):
    """Convolution, ReLU and 2x2 max-pooling for each of ``channels``, then linear layers."""

    name: Literal["lenet"]
    channels: Channels
    kernel_size: Pixels
    hidden: Annotated[list[Width], Field(max_length=20)]

    def check(self, image_size: int) -> None:
        """Check that every layer keeps at least one pixel, and that the weights are not too many.

        Raises:
            UserError: They are, or a layer does not.
        """
        *_, (_, size) = lenet_sizes(image_size, self.channels, self.kernel_size)
        convolutions = sum(a * b for a, b in pairwise([3, *self.channels])) * self.kernel_size**2
        linear = sum(a * b for a, b in pairwise([self.channels[-1] * size**2, *self.hidden]))
        check_weights(convolutions + linear)


class Whitened(Section):
    """A fixed whitening layer, then two convolutions with batch norm for each of ``channels``."""

    name: Literal["whitened"]
    channels: Channels
    kernel_size: Pixels

    def check(self, image_size: int) -> None:
        """Check that every layer keeps at least one pixel, and that the weights are not too many.

        Raises:
            UserError: They are, or a layer does not.
        """
        whitened_sizes(image_size, self.channels, self.kernel_size)
        pairs = pairwise([24, *self.channels])  # whitening has 24 channels
        check_weights(sum((a + b) * b for a, b in pairs) * self.kernel_size**2)


class Torchvision(Section):
    """Any classification model of torchvision, by its name there."""

    name: Literal["torchvision"]
    model: str
    pretrained: bool

    def check(self, image_size: int) -> None:
        """Check that torchvision has a classification model of this name.

        Whether the model takes images of ``image_size`` pixels is known once it is built.

        Raises:
            UserError: It has none.
        """
        from torchvision import models  # takes seconds, which the networks above do not need

        names = models.list_models(module=models)
        if self.model not in names:
            raise UserError(f"network.model is {shown(self.model)}; {choose(self.model, names)}")


def check_weights(count: int) -> None:
    if count > MOST_WEIGHTS:
        raise UserError(
            f"network has {count:,} weights, and at most {MOST_WEIGHTS:,} are possible; choose "
            "fewer channels, a smaller kernel_size or narrower hidden layers"
        )
