"""The networks that a recipe can name, each with the keys that it needs."""

from difflib import get_close_matches
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from common.errors import UserError, choose, shown
from common.section import Pixels, Section
from common.sizes import lenet_sizes, whitened_sizes
from common.stage import importing

Width = Annotated[int, Field(ge=1, le=100_000)]
Channels = Annotated[list[Width], Field(min_length=1, max_length=20)]
FORMATS = (".safetensors", ".pth")  # of files of weights
MOST_WEIGHTS = 10**9  # 4 GB, and as much again for the gradients and each of the optimizer's states


def file_or(*values: bool | None) -> PlainValidator:
    """Accept the path of a file of weights, or one of ``values``: one error instead of one per type
    of a union.
    """
    words = [str(value).lower() for value in values if value is not None]
    rule = " or ".join([*words, f"the path of a {' or '.join(FORMATS)} file"])

    def validate(value: Any) -> Any:
        if any(value is each for each in values):
            return value
        # Whether the file exists is not checked: only the train stage needs it.
        if isinstance(value, str) and value.isprintable() and Path(value).suffix in FORMATS:
            return value
        raise ValueError(f"it must be {rule}")

    return PlainValidator(validate)


Pretrained = Annotated[bool | str, file_or(True, False)]
WeightsFile = Annotated[str | None, file_or(None)]


class Lenet(Section):
    """Convolution, ReLU and 2x2 max-pooling for each of ``channels``, then linear layers."""

    name: Literal["lenet"]
    channels: Channels
    kernel_size: Pixels
    hidden: Annotated[list[Width], Field(max_length=20)]
    pretrained: WeightsFile = None

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
    pretrained: WeightsFile = None

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
    pretrained: Pretrained

    def check(self, image_size: int) -> None:
        """Check that torchvision has a classification model of this name.

        Whether the model takes images of ``image_size`` pixels is known once it is built.

        Raises:
            UserError: It has none.
        """
        with importing():  # takes seconds, which the networks above do not need
            from torchvision import models

        names = models.list_models(module=models)
        if self.model not in names:
            raise UserError(f"network.model is {shown(self.model)}; {choose(self.model, names)}")


class Timm(Section):
    """Any image classification model of timm, by its name there, with or without a tag."""

    name: Literal["timm"]
    model: str
    pretrained: Pretrained

    def check(self, image_size: int) -> None:
        """Check that timm has a model of this name, and that its weights are not to be downloaded.

        Whether the model takes images of ``image_size`` pixels is known once it is built.

        Raises:
            UserError: timm is not installed or has no such model, or ``pretrained`` is true.
        """
        if find_spec("timm") is None:
            raise UserError(
                "network.name is 'timm', which is not installed; install it by "
                "pip install -e '.[timm]', or choose torchvision"
            )
        with importing():  # takes seconds, which the networks above do not need
            import timm

        names = [*timm.list_models(), *timm.list_models(include_tags=True)]
        if self.model not in names:
            nearest = " or ".join(map(repr, get_close_matches(self.model.lower(), names)))
            raise UserError(
                f"network.model is {shown(self.model)}, which timm does not have; "
                + (f"did you mean {nearest}? " if nearest else "")
                + "python -c 'import timm; print(*timm.list_models())' prints all names"
            )
        if self.pretrained is True:
            published: Any = timm.get_pretrained_cfg(self.model)
            raise UserError(
                "network.pretrained is true, but timm names no SHA-256 to check its weights by; "
                "download model.safetensors from https://huggingface.co/"
                f"{published.hf_hub_id or 'timm'} and set pretrained to its path, or to false"
            )


Network = Lenet | Whitened | Torchvision | Timm
LIBRARIES = (Torchvision, Timm)  # whose models have dropout and the like


def weights_file(network: Network) -> Path | None:
    """Return the file that the network's initial weights come from; None if from none."""
    return Path(network.pretrained) if isinstance(network.pretrained, str) else None


def check_weights(count: int) -> None:
    if count > MOST_WEIGHTS:
        raise UserError(
            f"network has {count:,} weights, and at most {MOST_WEIGHTS:,} are possible; choose "
            "fewer channels, a smaller kernel_size or narrower hidden layers"
        )
