"""params.yaml: a value that is out of range or no choice is named with its key, in one line."""

import math

import pytest
import yaml

from common.errors import UserError
from common.params import load_params
from helpers import ROOT, refused
from project import Project


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0, 0.0])
@pytest.mark.parametrize("key", ["download__test_fraction", "recipes__quick__learning_rate"])
def test_a_number_without_sense_is_a_range_error(key: str, number: float, project: Project) -> None:
    project.change(**{key: number})
    assert f"{key.replace('__', '.')} is {number!r}; it must be " in refused(load_params)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("recipes__quick__epochs", 0, "greater than or equal to 1"),
        ("recipes__quick__epochs", -3, "greater than or equal to 1"),
        ("recipes__quick__batch_size", 0, "greater than or equal to 1"),
        ("recipes__quick__micro_batch", 0, "greater than or equal to 1"),
        ("recipes__quick__network__kernel_size", 0, "greater than or equal to 1"),
        ("recipes__quick__network__kernel_size", 1025, "less than or equal to 1024"),
        ("recipes__quick__optimizer__weight_decay", -0.1, "greater than or equal to 0"),
        ("recipes__quick__optimizer__momentum", 1.0, "less than 1"),
        ("recipes__quick__label_smoothing", 1.0, "less than 1"),
        ("recipes__quick__learning_rate", 1e39, "less than or equal to 1e+38"),
        ("recipes__quick__optimizer__weight_decay", 1e300, "less than or equal to 1e+38"),
        ("recipes__quick__augment__max_shift", -1, "greater than or equal to 0"),
        ("recipes__quick__augment__crop", 0.0, "greater than 0"),
        ("recipes__quick__augment__crop", 1.1, "less than or equal to 1"),
        ("recipes__quick__augment__zoom", 0.6, "less than or equal to 0.5"),
        ("recipes__quick__augment__rotation", -1.0, "greater than or equal to 0"),
        ("recipes__quick__augment__rotation", 181.0, "less than or equal to 180"),
        ("recipes__quick__augment__brightness", 1.5, "less than or equal to 1"),
        ("recipes__quick__augment__contrast", -0.1, "greater than or equal to 0"),
        ("recipes__quick__augment__saturation", 2.0, "less than or equal to 1"),
        ("recipes__quick__augment__erasing", 1.5, "less than or equal to 1"),
        ("download__test_fraction", 1.0, "less than 1"),
        ("download__image_size", 0, "greater than or equal to 1"),
        ("download__image_size", 1025, "less than or equal to 1024"),
        ("preview__images", 0, "greater than or equal to 1"),
        ("preview__images", 10**6, "less than or equal to 1000"),
        ("test_sample__images", -1, "greater than or equal to 1"),
        ("train__seed", -1, "greater than or equal to 0"),
        ("train__seed", 2**63, "less than"),
        ("train__early_stopping", 0, "1 to 1e+09, or never"),
        ("machine__predict_batch_size", 0, "greater than or equal to 1"),
        ("machine__threads", 0, "1 to 1024, or auto"),
        ("machine__processes", 10**6, "1 to 1024, or auto"),
    ],
)
def test_a_number_out_of_range_is_named_with_the_range(
    key: str, value: float, rule: str, project: Project
) -> None:
    project.change(**{key: value})
    message = refused(load_params)
    assert f"{key.replace('__', '.')} is {value!r}; it must be {rule}" in message


@pytest.mark.parametrize(
    "key",
    [
        "recipes__quick__epochs",
        "recipes__quick__learning_rate",
        "recipes__quick__network__kernel_size",
        "recipes__quick__optimizer__name",
        "train__seed",
        "train__recipe",
        "machine__threads",
        "download__test_fraction",
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_of_400_digits_is_one_short_line(key: str, sign: int, project: Project) -> None:
    project.change(**{key: sign * 10**399})
    message = refused(load_params)
    assert f"{key.replace('__', '.')} is {'-' * (sign < 0)}1000" in message
    assert len(message) < 400


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 5000, "0." + "1" * 5000 + "e999"])
def test_a_rate_beyond_what_a_number_holds_is_one_short_line(number: str, project: Project) -> None:
    path = project.path / "params.yaml"
    text = path.read_text()
    assert text.count("learning_rate: 0.05\n") == 1
    path.write_text(text.replace("learning_rate: 0.05\n", f"learning_rate: {number}\n"))
    assert len(refused(load_params)) < 400


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "0.001", "1E-3"])
def test_a_learning_rate_however_written_is_the_same_number(written: str, project: Project) -> None:
    path = project.path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    assert "learning_rate: 0.001" in text
    path.write_text(text.replace("learning_rate: 0.001", f"learning_rate: {written}"))
    assert load_params(path).recipes["tutorial"].learning_rate == 0.001


@pytest.mark.parametrize("part", ["mean", "std"])
@pytest.mark.parametrize("values", [[0.5, 0.5], [0.5] * 4, []])
def test_normalisation_has_a_number_for_each_of_three_channels(
    part: str, values: list[float], project: Project
) -> None:
    project.change(**{f"recipes__quick__normalize__{part}": values})
    assert f"recipes.quick.normalize.{part} is {values!r}; " in refused(load_params)


def test_normalisation_is_for_pixels_in_0_to_1(project: Project) -> None:
    project.change(
        recipes__quick__normalize={"mean": [125.3, 0.5, 0.5], "std": [0.5, 0.0, 63.0]},
    )
    with pytest.raises(UserError) as raised:
        load_params()
    message = str(raised.value)
    assert "recipes.quick.normalize.mean.0 is 125.3; it must be less than or equal to 1" in message
    assert "recipes.quick.normalize.std.1 is 0.0; it must be greater than 0" in message
    assert "recipes.quick.normalize.std.2 is 63.0; it must be less than or equal to 1" in message


@pytest.mark.parametrize(
    ("key", "value", "answer"),
    [
        ("train__recipe", "tutorail", "did you mean 'tutorial'? choose from "),
        ("recipes__quick__network__name", "LeNet", "did you mean 'lenet'? choose from "),
        ("recipes__quick__network__name", 3, "choose from lenet, whitened, torchvision"),
        ("recipes__quick__network__name", ["lenet"], "choose from lenet, whitened, torchvision"),
        ("recipes__quick__optimizer__name", "adam", "did you mean 'adamw'? choose from sgd, adamw"),
        ("recipes__quick__schedule", "onecycle", "did you mean 'one_cycle'? choose from constant"),
        ("recipes__quick__augment__flip", "alternating", "did you mean 'alternate'? choose from "),
        ("recipes__quick__precision", "float16", "did you mean 'bfloat16'? choose from auto"),
        ("download__dataset", "cifar10", "did you mean 'CIFAR10'? choose from CIFAR10, CIFAR100"),
        ("download__fit", "cropped", "did you mean 'crop'? choose from squash, crop, pad"),
        ("download__unreadable", "go", "choose from stop, skip"),
        ("machine__device", "gpu", "choose from auto, cpu, cuda, mps"),
        ("machine__device", "cuda:0", "did you mean 'cuda'?"),
        ("evaluate__test_time_augmentation", "mirrors", "choose from recipe, none, mirror"),
    ],
)
def test_a_word_that_is_no_choice_is_answered_with_the_choices(
    key: str, value: object, answer: str, project: Project
) -> None:
    project.change(**{key: value})
    message = refused(load_params)
    assert f"params.yaml: {key.replace('__', '.')} is {value!r}; " in message
    assert answer in message


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<x>a", "a{99999999999}"])
def test_a_group_that_is_no_regular_expression_is_refused(pattern: str, project: Project) -> None:
    params = project.read_params()
    params["download"]["group"] = pattern
    (project.path / "params.yaml").write_text(yaml.safe_dump(params))
    message = refused(load_params)
    assert f"download.group is {pattern!r}; it must be a regular expression (" in message


def test_a_path_with_nul_in_it_is_refused(project: Project) -> None:
    project.change(download__dataset="folder", download__source="images\0")
    assert r"download.source is 'images\x00'; " in refused(load_params)


@pytest.mark.parametrize("source", [None, ""])
def test_a_source_that_is_no_path_is_named(source: str | None, project: Project) -> None:
    project.change(download__source=source)
    assert f"download.source is {source!r}; it must be a" in refused(load_params)


def test_early_stopping_without_images_to_stop_by_is_named(project: Project) -> None:
    project.change(train__early_stopping=3)
    assert "train.early_stopping is 3 with validation_fraction 0" in refused(load_params)
