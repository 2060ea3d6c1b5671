"""A recipe: a network and how it is trained. Each choice has its own model with only the keys that it needs."""

from typing import Annotated, Literal

from pydantic import Field

from common.errors import UserError, choose
from common.section import Count, Fraction, Positive, Section, TestTimeAugmentation
from common.sizes import lenet_sizes, whitened_sizes

Channels = Annotated[list[Count], Field(min_length=1)]


class Lenet(Section):
    """Convolution, ReLU and 2x2 max-pooling for each of ``channels``, then linear layers."""

    name: Literal["lenet"]
    channels: Channels
    kernel_size: Count
    hidden: list[Count]

    def check(self, image_size: int) -> None:
        """Raise UserError unless every layer keeps at least one pixel."""
        lenet_sizes(image_size, self.channels, self.kernel_size)


class Whitened(Section):
    """A fixed whitening layer, then two convolutions with batch norm for each of ``channels``."""

    name: Literal["whitened"]
    channels: Channels
    kernel_size: Count

    def check(self, image_size: int) -> None:
        """Raise UserError unless every layer keeps at least one pixel."""
        whitened_sizes(image_size, self.channels, self.kernel_size)


class Torchvision(Section):
    """Any classification model of torchvision, by its name there."""

    name: Literal["torchvision"]
    model: str
    pretrained: bool

    def check(self, image_size: int) -> None:
        """Raise UserError unless torchvision has a classification model of this name.

        Whether the model takes images of ``image_size`` is found out when it is built.
        """
        from torchvision import models  # takes seconds, which the networks above do not need

        names = models.list_models(module=models)
        if self.model not in names:
            raise UserError(f"network.model is {self.model!r}; {choose(self.model, names)}")


class Normalization(Section):
    """Mean and standard deviation of red, green and blue, for pixels in 0..1."""

    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)]


class Augmentations(Section):
    """What is drawn anew for every training image in every epoch."""

    max_shift: Annotated[int, Field(ge=0)]
    flip: Literal["none", "random", "alternate"]


class ProgressiveResizing(Section):
    """Training images are shrunk to these sizes, in pixels, each for an equal part of the epochs."""

    sizes: Annotated[list[Count], Field(min_length=1)]


class Sgd(Section):
    """Stochastic gradient descent; ``weight_decay`` is an L2 penalty."""

    name: Literal["sgd"]
    momentum: Fraction
    nesterov: bool
    weight_decay: Annotated[float, Field(ge=0)]


class AdamW(Section):
    """Adam with weight decay decoupled from the gradient; ``momentum`` is its first beta."""

    name: Literal["adamw"]
    momentum: Fraction
    weight_decay: Annotated[float, Field(ge=0)]


class SgdOfTheRest(Section):
    """SGD for the parameters that Muon does not train."""

    learning_rate: Positive
    momentum: Fraction
    weight_decay: Annotated[float, Field(ge=0)]


class Muon(Section):
    """Orthogonalized momentum for filters and hidden matrices, SGD for the other parameters."""

    name: Literal["muon"]
    momentum: Fraction
    nesterov: bool
    sgd: SgdOfTheRest


class Recipe(Section):
    """A network and how it is trained; the model file holds all of it."""

    network: Annotated[Lenet | Whitened | Torchvision, Field(discriminator="name")]
    normalize: Normalization
    augment: Augmentations
    progressive_resizing: ProgressiveResizing | None = None
    optimizer: Annotated[Sgd | AdamW | Muon, Field(discriminator="name")]
    schedule: Literal["constant", "one_cycle", "linear"]
    learning_rate: Positive
    epochs: Count
    batch_size: Count
    micro_batch: Count | None = None
    label_smoothing: Fraction
    precision: Literal["auto", "float32", "bfloat16"]
    test_time_augmentation: TestTimeAugmentation = "none"

    @property
    def train_sizes(self) -> list[int]:
        """The sizes of progressive resizing, in pixels; empty without it."""
        return self.progressive_resizing.sizes if self.progressive_resizing else []

    def check(self, image_size: int) -> None:
        """Check that the choices work together for images of ``image_size`` pixels.

        Raises:
            UserError: They do not. The message begins with the key.
        """
        network, optimizer = self.network, self.optimizer
        smallest = min(self.batch_size, self.micro_batch or self.batch_size)
        for wrong, message in [
            (
                network.name == "torchvision" and optimizer.name == "muon",
                "optimizer.name is 'muon', which trains lenet and whitened only; choose sgd or adamw",
            ),
            (
                network.name != "lenet"
                and smallest < 3,  # split evenly, no part then has a single image
                f"batch_size or micro_batch is {smallest}; batch norm in {network.name} needs 3 or more",
            ),
            (
                network.name == "lenet" and bool(self.train_sizes),
                "progressive_resizing is given, but network lenet takes images of one size; remove it",
            ),
            (
                max(self.train_sizes, default=0) > image_size,
                f"progressive_resizing.sizes is {self.train_sizes}; none may exceed "
                f"download.image_size, {image_size}",
            ),
            (
                self.augment.max_shift >= image_size,
                f"augment.max_shift is {self.augment.max_shift}; it must be less than "
                f"download.image_size, {image_size}",
            ),
            (
                optimizer.name != "adamw" and optimizer.nesterov and optimizer.momentum == 0,
                "optimizer.nesterov is true with momentum 0; set a momentum above 0, or nesterov: false",
            ),
        ]:
            if wrong:
                raise UserError(message)
        for size in [image_size, *self.train_sizes]:
            network.check(size)
