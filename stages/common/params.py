"""params.yaml as typed models. Every stage checks the whole file before it computes anything."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from common.errors import UserError, choose
from common.files import PARAMS
from common.recipes import Recipe
from common.section import (
    Count,
    Device,
    Fit,
    Fraction,
    Positive,
    Section,
    Seed,
    TestTimeAugmentation,
)
from common.yaml12 import read_yaml


def count_or(word: str) -> PlainValidator:
    """Accept 1 or more, or ``word``: one error instead of one per type of a union."""

    def validate(value: Any) -> Any:
        if value == word or (type(value) is int and 1 <= value <= 10**9):
            return value
        raise PydanticCustomError("count_or_word", f"Input should be 1 or more, or {word}")

    return PlainValidator(validate)


def check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise PydanticCustomError(
            "pattern",
            "it must be a regular expression as Python has them ({reason})",
            {"reason": str(error)},
        ) from None
    return pattern


class Download(Section):
    """What the download stage obeys."""

    dataset: Literal["CIFAR10", "CIFAR100", "digits", "folder"]
    source: str | None
    image_size: Annotated[int, Field(ge=1, le=1024)]
    fit: Fit
    unreadable: Literal["stop", "skip"]
    group: Annotated[str, AfterValidator(check_pattern)] | None
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class Preview(Section):
    """What the preview stage obeys."""

    images: Count
    seed: Seed


class Train(Section):
    """What the train stage obeys, beside a recipe."""

    recipe: str
    seed: Seed
    validation_fraction: Fraction
    early_stopping: Annotated[int | Literal["never"], count_or("never")]


class TestSample(Section):
    """What the test-sample stage obeys."""

    images: Count
    seed: Seed


class Evaluate(Section):
    """What the evaluate stage obeys."""

    test_time_augmentation: Literal["recipe"] | TestTimeAugmentation


class Machine(Section):
    """How fast, where and how safely the stages run. Nothing here makes a stage run again."""

    device: Device
    processes: Annotated[int | Literal["auto"], count_or("auto")]
    threads: Annotated[int | Literal["auto"], count_or("auto")]
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
    recipes: dict[str, Recipe]

    @property
    def recipe(self) -> Recipe:
        """The recipe in use."""
        return self.recipes[self.train.recipe]


def load_params(path: Path = PARAMS) -> Params:
    """Read and check the parameters.

    Raises:
        UserError: The file is missing or is not YAML; a key is unknown, missing or given twice; a value has the
            wrong type or is out of range; values do not work together. One line per fault, with the key's full path.
    """
    content = read_yaml(path)
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        raise UserError(*(f"{path}: {explain(fault)}" for fault in error.errors())) from None
    check_together(params)
    return params


def check_together(params: Params) -> None:
    """Check what no key can tell alone.

    Raises:
        UserError: The recipe is unknown, or its choices do not work together; early stopping has no validation
            images; a folder has no source.
    """
    name, train = params.train.recipe, params.train
    if name not in params.recipes:
        raise UserError(f"{PARAMS}: train.recipe is {name!r}; {choose(name, list(params.recipes))}")
    try:
        params.recipe.check(params.download.image_size)
    except UserError as error:
        raise UserError(f"{PARAMS}: recipes.{name}: {error}") from None
    if train.early_stopping != "never" and train.validation_fraction == 0:
        raise UserError(
            f"{PARAMS}: train.early_stopping is {train.early_stopping} with validation_fraction 0; "
            "hold out images to stop by, or set it to never"
        )
    if params.download.dataset == "folder" and params.download.source is None:
        raise UserError(
            f"{PARAMS}: download.source is missing; for dataset 'folder' name a directory or an archive of images"
        )


def explain(fault: Any) -> str:
    """Put one of pydantic's faults in a line: the key's full path, the value, the rule, the way out."""
    keys, model = resolve(fault["loc"])
    path, value = ".".join(map(str, keys)), fault["input"]
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key; {choose(str(keys[-1]), list(model.model_fields))}"
    if fault["type"] == "missing":
        return f"{path}: missing; add it"
    if fault["type"] == "union_tag_not_found":
        return f"{path}.name: missing; add it"
    if fault["type"] in ("literal_error", "union_tag_invalid"):
        context = fault["ctx"]
        value = context.get("tag", value)
        path = f"{path}.name" if "tag" in context else path
        choices = re.findall(
            r"'([^']*)'", context.get("expected", context.get("expected_tags", ""))
        )
        return f"{path} is {value!r}; {choose(str(value), choices)}"
    return f"{path} is {value!r}; {fault['msg'].replace('Input should', 'it must')}"


def resolve(location: tuple[str | int, ...]) -> tuple[list[str | int], Any]:
    """Return the keys of a fault's location without pydantic's union tags, and the model that has the last key."""
    keys: list[str | int] = []
    model: Any = Params
    annotation: Any = Params
    for part in location:
        tagged = {
            get_args(each.model_fields["name"].annotation)[0]: each
            for each in tagged_models(annotation)
        }
        if part in tagged:
            annotation = tagged[part]
            continue
        keys.append(part)
        model = annotation
        annotation = inner(annotation, part)
    return keys, model


def inner(annotation: Any, part: str | int) -> Any:
    """Return the annotation of a key or an element of what has ``annotation``."""
    if is_model(annotation):
        field = annotation.model_fields.get(part)
        return field.annotation if field else None
    arguments = get_args(annotation)
    models = [each for each in arguments if is_model(each)]
    if get_origin(annotation) is dict:
        return arguments[1]
    return inner(models[0], part) if len(models) == 1 else None


def tagged_models(annotation: Any) -> list[Any]:
    """Return the models of a discriminated union; none of anything else."""
    models = [
        each for each in get_args(annotation) if is_model(each) and "name" in each.model_fields
    ]
    return models if len(models) > 1 else []


is_model: Callable[[Any], bool] = lambda each: (
    isinstance(each, type) and issubclass(each, BaseModel)
)  # noqa: E731
