"""A recipe: a network and how it is trained.

Each network and each optimizer has its own model, with only the keys that it needs.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.augment_options import Augmentations
from common.errors import UserError
from common.network_options import LIBRARIES, Network
from common.section import (
    Count,
    Fraction,
    NotNegative,
    Pixels,
    Positive,
    Section,
    TestTimeAugmentation,
)


class Normalization(Section):
    """Mean and standard deviation of red, green and blue, for pixels in 0..1."""

    mean: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]
    std: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=3, max_length=3)]


class ProgressiveResizing(Section):
    """Training images are shrunk to these sizes in pixels, each for an equal part of the epochs."""

    sizes: Annotated[list[Pixels], Field(min_length=1, max_length=1000)]


class Sgd(Section):
    """Stochastic gradient descent; ``weight_decay`` is an L2 penalty."""

    name: Literal["sgd"]
    momentum: Fraction
    nesterov: bool
    weight_decay: NotNegative


class AdamW(Section):
    """Adam with weight decay decoupled from the gradient; ``momentum`` is its first beta."""

    name: Literal["adamw"]
    momentum: Fraction
    weight_decay: NotNegative


class MuonSgd(Section):
    """SGD for the parameters that Muon does not train."""

    learning_rate: Positive
    momentum: Fraction
    weight_decay: NotNegative


class Muon(Section):
    """Orthogonalized momentum for filters and hidden matrices, SGD for the other parameters."""

    name: Literal["muon"]
    momentum: Fraction
    nesterov: bool
    sgd: MuonSgd


class Recipe(Section):
    """A network and how it is trained; the model file holds all of it."""

    network: Annotated[Network, Field(discriminator="name")]
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
    trainable: Literal["all", "head"] = "all"
    views: Annotated[int, Field(ge=1, le=1000)] = 1
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
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
        self.check_network(image_size)
        self.check_training_images(image_size)
        if self.trainable == "head":
            self.check_head()
        if self.views > 1 and (self.trainable == "all" or not self.augment.any):
            raise UserError(
                f"views is {self.views}, but it counts the augmented views of each image whose "
                "features trainable 'head' trains on, and this recipe has trainable 'all' or no "
                "augmentation; remove it"
            )
        optimizer = self.optimizer
        if isinstance(optimizer, Sgd | Muon) and optimizer.nesterov and optimizer.momentum == 0:
            raise UserError(
                "optimizer.nesterov is true with momentum 0; set a momentum above 0, or "
                "nesterov: false"
            )
        if self.test_time_augmentation == "mirror_shift":
            check_shift(image_size, "test_time_augmentation")

    def check_head(self) -> None:
        """Check the keys that do not go with training the last layer on features."""
        for key, given, choice in [
            ("progressive_resizing", bool(self.train_sizes), "remove it"),
            ("optimizer.name muon", self.optimizer.name == "muon", "choose from sgd, adamw"),
        ]:
            if given:
                raise UserError(
                    f"{key} is not possible with trainable 'head', which trains the last layer on "
                    f"features of the images; {choice}, or trainable: all"
                )

    def check_network(self, image_size: int) -> None:
        """Check the network against the sizes of its images, its batches and the optimizer."""
        name, smallest = (
            self.network.name,
            min(self.batch_size, self.micro_batch or self.batch_size),
        )
        if isinstance(self.network, LIBRARIES) and self.optimizer.name == "muon":
            raise UserError(
                "optimizer.name is 'muon', which trains lenet and whitened only; "
                "choose from sgd, adamw"
            )
        if name != "lenet" and smallest < 3:  # split evenly, no batch then has a single image
            raise UserError(
                f"batch_size or micro_batch is {smallest}; batch norm in {name} needs 3 or more"
            )
        for size in [image_size, *self.train_sizes]:
            self.network.check(size)

    def check_training_images(self, image_size: int) -> None:
        """Check what is done to the training images against their size."""
        sizes, max_shift = self.train_sizes, self.augment.max_shift
        if sizes and self.network.name == "lenet":
            raise UserError(
                "progressive_resizing is given, but network lenet takes images of one size; "
                "remove it"
            )
        if max(sizes, default=0) > image_size:
            raise UserError(
                f"progressive_resizing.sizes is {sizes}; none may exceed download.image_size, "
                f"{image_size}"
            )
        if max_shift >= image_size:
            raise UserError(
                f"augment.max_shift is {max_shift}; it must be less than download.image_size, "
                f"{image_size}"
            )


def check_shift(image_size: int, key: str) -> None:
    """Check that images can be shifted by a pixel, with their edges reflected."""
    if image_size < 2:
        raise UserError(
            f"{key} is 'mirror_shift', which needs images of 2 or more pixels; choose mirror"
        )
