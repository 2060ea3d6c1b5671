"""params.yaml as typed models. Every stage checks the whole file before it computes anything."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, ValidationError

from common.errors import UserError, choose, shown
from common.explain import explain
from common.files import PARAMS
from common.recipes import Recipe, check_shift
from common.section import Count, Device, Fit, Fraction, Pixels, Positive, Section, Seed
from common.yaml12 import read_yaml

# Section and key of what stood elsewhere in the flat format of earlier versions.
MOVED = {
    ("download", "mirrors"),
    *(("train", key) for key in ("device", "processes", "threads", "checkpoint_minutes")),
    *(("evaluate", key) for key in ("device", "batch_size")),
    *(("recipes", key) for key in ("crop_padding", "train_sizes", "test_time_averaging")),
}
Shown = Annotated[int, Field(ge=1, le=1000)]


def number_or(word: str, most: int) -> PlainValidator:
    """Accept 1 to ``most``, or ``word``: one error instead of one per type of a union."""

    def validate(value: Any) -> Any:
        if value != word and (type(value) is not int or not 1 <= value <= most):
            raise ValueError(f"it must be 1 to {most}, or {word}")
        return value

    return PlainValidator(validate)


def check_name(name: str) -> str:
    if not re.fullmatch(r"[\w-]{1,100}", name):  # for DVC, a dot, brackets and ${} are syntax
        raise ValueError("a name has 1 to 100 letters, digits, _ and - only")
    return name


def check_pattern(pattern: str) -> str:
    import regex  # takes 40 ms, and few need it

    try:
        regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"it must be a regular expression ({error})") from None
    return pattern


def check_path(path: str) -> str:
    if not path or "\0" in path or path != path.encode(errors="ignore").decode():
        raise ValueError("it must be a path, such as data/images")
    return path


class Download(Section):
    """Parameters of the download stage."""

    dataset: Literal["CIFAR10", "CIFAR100", "digits", "folder"]
    source: Annotated[str, AfterValidator(check_path)]
    image_size: Pixels
    fit: Fit
    unreadable: Literal["stop", "skip"]
    group: Annotated[str, Field(max_length=1000), AfterValidator(check_pattern)] | None
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class Preview(Section):
    """Parameters of the preview stage."""

    images: Shown
    seed: Seed


class Train(Section):
    """Parameters of the train stage, beside those of a recipe."""

    recipe: str
    seed: Seed
    validation_fraction: Fraction
    early_stopping: Annotated[int | Literal["never"], number_or("never", 10**9)]


class TestSample(Section):
    """Parameters of the test-sample stage."""

    images: Shown
    seed: Seed


class Evaluate(Section):
    """Parameters of the evaluate stage, and of test-sample."""

    test_time_augmentation: Literal["recipe", "none", "mirror", "mirror_shift"]


class Machine(Section):
    """How fast, where and how safely the stages run. Nothing here makes a stage run again."""

    device: Device
    processes: Annotated[int | Literal["auto"], number_or("auto", 1024)]
    threads: Annotated[int | Literal["auto"], number_or("auto", 1024)]
    checkpoint_minutes: Positive
    predict_batch_size: Count
    mirrors: Annotated[list[str], Field(min_length=1)] | None


class Params(Section):
    """All of params.yaml."""

    download: Download
    preview: Preview
    train: Train
    test_sample: TestSample
    evaluate: Evaluate
    machine: Machine
    recipes: dict[Annotated[str, AfterValidator(check_name)], Recipe]

    @property
    def recipe(self) -> Recipe:
        """The recipe in use."""
        return self.recipes[self.train.recipe]


def load_params(path: Path = PARAMS) -> Params:
    """Read and check the parameters.

    Raises:
        UserError: The file is missing, is not YAML or is of an earlier version; a key is unknown,
            missing or given twice; a value has the wrong type or is out of range; values do not
            work together. One line per fault, with the key's full path.
    """
    content = read_yaml(path)
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        lines = earlier_format(error) or explain(error, Params)
        raise UserError(*(f"{path}: {line}" for line in lines)) from None
    try:
        check_together(params)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return params


def earlier_format(error: ValidationError) -> list[str]:
    """Return what to do about a file in the flat format of earlier versions; empty for others."""
    for fault in error.errors():
        key, kind = ".".join(map(str, fault["loc"])), fault["type"]
        moved = kind == "extra_forbidden" and (fault["loc"][0], fault["loc"][-1]) in MOVED
        flat = kind == "model_attributes_type" and isinstance(fault["input"], str)
        if moved or flat:
            return [
                f"{key}: this is the flat format of earlier versions; recipes are nested now, such "
                "as network: {name: lenet}, and what changes no result is under machine; set your "
                "values in this version's params.yaml"
            ]
    return []


def check_together(params: Params) -> None:
    """Check the values that are right by themselves against each other.

    Raises:
        UserError: The recipe is unknown or does not fit the images; early stopping has no
            validation images.
    """
    name, train, download = params.train.recipe, params.train, params.download
    if name not in params.recipes:
        raise UserError(f"train.recipe is {shown(name)}; {choose(name, list(params.recipes))}")
    try:
        params.recipe.check(download.image_size)
    except UserError as error:
        raise UserError(f"recipes.{name}.{error}") from None
    if train.early_stopping != "never" and train.validation_fraction == 0:
        raise UserError(
            f"train.early_stopping is {train.early_stopping} with validation_fraction 0; hold out "
            "images to stop by, or set it to never"
        )
    if params.evaluate.test_time_augmentation == "mirror_shift":
        check_shift(download.image_size, "evaluate.test_time_augmentation")
