"""params.yaml as typed models. Every stage checks the whole file before it computes anything.

The file is read as YAML 1.2, as DVC reads it. PyYAML alone follows YAML 1.1: ``1e-3`` a string, ``no`` false.
"""

import difflib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from .files import PARAMS
from .shapes import lenet_sizes, whitened_sizes
from .stage import UserError

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Device = Literal["auto", "cpu", "cuda", "mps"]
Rate = Annotated[float, Field(gt=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
OWN_NETWORKS = ("lenet", "whitened")  # the others are torchvision's
PerChannel = Annotated[list[float], Field(min_length=3, max_length=3)]


def count_or_auto(value: Any) -> Any:
    """For one error instead of one for each of two types."""
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise PydanticCustomError("count_or_auto", "Input should be 1 or more, or auto")


class Section(BaseModel):
    """A mapping in params.yaml: no unknown keys, no conversion between types, no NaN, no infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Download(Section):
    dataset: Literal["CIFAR10", "CIFAR100", "digits", "folder"]
    source: str | None
    mirrors: Annotated[list[str], Field(min_length=1)] | None
    image_size: Annotated[int, Field(ge=1, le=1024)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class Preview(Section):
    images: Count
    seed: Seed


class Train(Section):
    recipe: str
    seed: Seed
    device: Device
    processes: Annotated[int | Literal["auto"], PlainValidator(count_or_auto)]
    threads: Count | None
    checkpoint_minutes: Annotated[float, Field(gt=0)]
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    early_stopping: Count | None


class TestSample(Section):
    images: Count
    seed: Seed


class Evaluate(Section):
    batch_size: Count
    device: Device


class Recipe(Section):
    """A network and how it is trained; stored whole in the model file."""

    network: str
    pretrained: bool
    channels: list[Count]
    kernel_size: Count | None
    hidden: list[Count]
    mean: PerChannel
    std: Annotated[list[Rate], Field(min_length=3, max_length=3)]
    crop_padding: Annotated[int, Field(ge=0)]
    flip: Literal["none", "random", "alternate"]
    train_sizes: Annotated[list[Count], Field(min_length=1)] | None
    epochs: Count
    batch_size: Count
    micro_batch: Count | None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    optimizer: Literal["sgd", "adamw", "muon"]
    learning_rate: Rate
    momentum: Momentum
    nesterov: bool
    weight_decay: Annotated[float, Field(ge=0)]
    sgd_learning_rate: Rate | None
    sgd_momentum: Momentum | None
    schedule: Literal["constant", "one_cycle", "linear"]
    precision: Literal["auto", "float32", "bfloat16"]
    test_time_averaging: Literal["none", "mirror", "mirror_shift"]

    def check(self, image_size: int) -> None:
        """Check that the choices go together, for pictures of this size.

        Raises:
            UserError: they do not.
        """
        own = self.network in OWN_NETWORKS
        if not own:
            check_torchvision(self.network)
        muon, smallest = self.optimizer == "muon", min(self.batch_size, self.micro_batch or self.batch_size)
        for wrong, what in [
            (
                own and (not self.channels or self.kernel_size is None),
                f"channels is {self.channels}, kernel_size {self.kernel_size}; the network {self.network!r} needs both",
            ),
            (
                own and self.pretrained,
                f"pretrained is true; for the network {self.network!r} there are no such weights: make it false",
            ),
            (
                not own and muon,
                f"optimizer is muon, which is for {' and '.join(OWN_NETWORKS)}; for {self.network} choose sgd, adamw",
            ),
            (
                not own and (self.channels or self.kernel_size is not None or self.hidden),
                f"channels is {self.channels}, kernel_size {self.kernel_size} and hidden {self.hidden}; torchvision's "
                f"{self.network} has its own: make them [], null and []",
            ),
            (
                self.network == "whitened" and self.hidden,
                f"hidden is {self.hidden}; the network 'whitened' has no linear layers but the last: make it []",
            ),
            (
                self.network != "lenet" and smallest < 3,  # of which, cut evenly, 1 never remains
                f"batch_size or micro_batch is {smallest}; batch norm in the network {self.network!r} needs 3 or more",
            ),
            (
                self.network == "lenet" and self.train_sizes is not None,
                f"train_sizes is {self.train_sizes}; the network 'lenet' takes one size of picture only: make it null",
            ),
            (
                max(self.train_sizes or [0]) > image_size,
                f"train_sizes is {self.train_sizes}; it must not go beyond download.image_size, {image_size}",
            ),
            (
                self.crop_padding >= image_size,
                f"crop_padding is {self.crop_padding}; it must be less than download.image_size, {image_size}",
            ),
            (
                self.nesterov and (self.optimizer == "adamw" or self.momentum == 0),
                f"nesterov is true with optimizer {self.optimizer} and momentum {self.momentum}; "
                "it needs sgd or muon, and a momentum above 0",
            ),
            (
                muon != (self.sgd_learning_rate is not None) or muon != (self.sgd_momentum is not None),
                f"sgd_learning_rate is {self.sgd_learning_rate} and sgd_momentum {self.sgd_momentum} with optimizer "
                f"{self.optimizer}; {'muon needs both' if muon else 'only muon has them: make them null'}",
            ),
        ]:
            if wrong:
                raise UserError(what)
        if self.kernel_size is not None:
            sizes = lenet_sizes if self.network == "lenet" else whitened_sizes
            for size in [image_size, *(self.train_sizes or [])]:
                sizes(size, self.channels, self.kernel_size)


def check_torchvision(network: str) -> None:
    """Check that torchvision has a classification model of this name.

    Raises:
        UserError: it has none.
    """
    from torchvision import models  # seconds that recipes with networks of this project need not wait

    names = models.list_models(module=models)
    if network not in names:
        raise UserError(f"network is {network!r}; {choose(network, [*OWN_NETWORKS, *names])}")


class Params(Section):
    download: Download
    preview: Preview
    train: Train
    test_sample: TestSample
    evaluate: Evaluate
    recipes: dict[str, Recipe]


def load_params(path: Path = PARAMS) -> Params:
    """Read and check the parameters.

    Raises:
        UserError: the file is missing or is not YAML; a key is unknown, missing or given twice; a value is of the wrong
            type or out of range; values do not fit together. A line a fault, with the full path of the key.
    """
    try:
        params = Params.model_validate(read_yaml(path))
    except ValidationError as error:
        raise UserError("\nerror: ".join(f"{path}: {explain(fault)}" for fault in error.errors())) from None
    check_together(params)
    return params


def check_together(params: Params) -> None:
    """Check what no key can tell alone.

    Raises:
        UserError: the recipe is unknown, or its choices do not go together; early stopping has nothing to stop by; a
            folder has no source.
    """
    name, recipes = params.train.recipe, params.recipes
    if name not in recipes:
        raise UserError(f"{PARAMS}: train.recipe is {name!r}; {choose(name, list(recipes))}")
    try:
        recipes[name].check(params.download.image_size)
    except UserError as error:
        raise UserError(f"{PARAMS}: recipes.{name}: {error}") from None
    if params.train.early_stopping is not None and params.train.validation_fraction == 0:
        raise UserError(
            f"{PARAMS}: train.early_stopping is {params.train.early_stopping} with validation_fraction 0; "
            "set pictures apart to stop by, or set it to null"
        )
    if params.download.dataset == "folder" and params.download.source is None:
        raise UserError(
            f"{PARAMS}: download.source is null; for dataset 'folder' name a directory or an archive of pictures"
        )


class Yaml12Loader(yaml.SafeLoader):
    """YAML 1.2's scalars, and an error for a key given twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise UserError(f"{PARAMS}: line {node.start_mark.line + 1}: the key {key!r} is given twice; keep one")
        return super().construct_mapping(node, deep)


for tag, pattern, first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    # No leading zeros: YAML 1.1 and 1.2 read 010 as different numbers.
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        # With a point or an exponent, so that 010 is not one; and after .5 only an exponent with a sign, as DVC has it.
        r"[-+]?[0-9]+(\.[0-9]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|[-+]?\.[0-9]+([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
]:
    Yaml12Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: there is no such file, it is not YAML, or it holds something else.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=Yaml12Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise UserError(f"{path}: no such file in {Path.cwd()}; run from the project's root") from None
    except (yaml.YAMLError, ValueError, LookupError) as error:  # not UTF-8; or !!int and the like before what is none
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {content!r:.60}; it must be a mapping with {', '.join(Params.model_fields)}")
    return content


def explain(fault: Any) -> str:
    """One of pydantic's faults in a line: the key's full path, the value, the rule, the way out."""
    location, value = fault["loc"], fault["input"]
    path = ".".join(map(str, location))
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key; {choose(str(location[-1]), keys_beside(location))}"
    if fault["type"] == "missing":
        return f"{path}: missing; add it"
    if fault["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        return f"{path} is {value!r}; {choose(str(value), choices)}"
    return f"{path} is {value!r}; {fault['msg'].replace('Input should', 'it must')}"


def choose(word: str, choices: list[str]) -> str:
    """Name the nearest spelling, if one is near, and all the choices."""
    by_lowercase = {choice.lower(): choice for choice in choices}
    nearest = difflib.get_close_matches(word.lower(), by_lowercase, n=1)
    hint = f"did you mean {by_lowercase[nearest[0]]!r}? " if nearest else ""
    return f"{hint}choose from {', '.join(choices)}"


def keys_beside(location: tuple[str | int, ...]) -> list[str]:
    """The keys that are known where ``location``, a path into Params, has an unknown one."""
    model: Any = Params
    for part in location[:-1]:
        model = model.model_fields[part].annotation if hasattr(model, "model_fields") else get_args(model)[1]
    return list(model.model_fields)
