"""params.yaml: every mistake is named by its full path before anything is computed."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from common.errors import UserError
from common.params import Params, load_params
from helpers import ROOT
from project import Project


def error_of(project: Project) -> str:
    with pytest.raises(UserError) as raised:
        load_params(project.path / "params.yaml")
    assert all("\n" not in line for line in raised.value.args)
    return str(raised.value)


def test_the_repository_s_file_is_valid() -> None:
    load_params(ROOT / "params.yaml")


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "0.001", "1E-3"])
def test_a_learning_rate_however_written_is_the_same_number(written: str, project: Project) -> None:
    path = project.path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    assert "learning_rate: 0.001" in text
    path.write_text(text.replace("learning_rate: 0.001", f"learning_rate: {written}"))
    assert load_params(path).recipes["tutorial"].learning_rate == 0.001


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("trian", "train"),
        ("download__image_sise", "image_size"),
        ("download__Seed", "seed"),
        ("preview__image", "images"),
        ("train__recipes", "recipe"),
        ("test_sample__sead", "seed"),
        ("evaluate__test_time_augment", "test_time_augmentation"),
        ("machine__thread", "threads"),
        ("recipes__quick__network__hiden", "hidden"),
        ("recipes__quick__normalize__Mean", "mean"),
        ("recipes__quick__augment__maxshift", "max_shift"),
        ("recipes__quick__optimizer__momentun", "momentum"),
        ("recipes__tutorial__learning-rate", "learning_rate"),
        ("recipes__accurate__progressive_resizing__size", "sizes"),
        ("recipes__accurate__optimizer__sgd__weightdecay", "weight_decay"),
    ],
)
def test_an_unknown_key_at_any_level_is_answered_with_the_one_meant(
    key: str, meant: str, project: Project
) -> None:
    project.change(**{key: 1})
    assert f"{key.replace('__', '.')}: unknown key; did you mean {meant!r}?" in error_of(project)


def test_an_unknown_key_is_answered_with_the_keys_of_its_own_section(project: Project) -> None:
    project.change(recipes__quick__optimizer__xyz=1)
    message = error_of(project)
    wanted = "recipes.quick.optimizer.xyz: unknown key; choose from "
    assert wanted + "name, momentum, nesterov, weight_decay; or remove it" in message


def test_an_optimizer_has_no_keys_of_another(project: Project) -> None:
    project.change(recipes__accurate__optimizer__weight_decay=0.1)
    message = error_of(project)
    wanted = "recipes.accurate.optimizer.weight_decay: unknown key; choose from "
    assert wanted + "name, momentum, nesterov, sgd; or remove it" in message


def paths_of(mapping: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of each key, at every level."""
    paths = []
    for key, value in mapping.items():
        paths.append((*before, key))
        paths += paths_of(value, paths[-1]) if isinstance(value, dict) else []
    return paths


def section_of(params: Any, path: tuple[str, ...]) -> Any:
    for key in path[:-1]:
        params = params[key]
    return params


PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
OPTIONAL = {  # of recipes
    "balance",
    "micro_batch",
    "progressive_resizing",
    "test_time_augmentation",
    "trainable",
}
NEEDED = [
    path
    for path in paths_of({**PARAMS, "recipes": {"accurate": PARAMS["recipes"]["accurate"]}})
    if path[:1] != ("recipes",) or (len(path) > 2 and path[2:] not in {(key,) for key in OPTIONAL})
]


@pytest.mark.parametrize("path", [*NEEDED, ("recipes",)], ids=".".join)
def test_a_missing_key_is_named_by_its_full_path(path: tuple[str, ...], project: Project) -> None:
    params = project.read_params()
    del section_of(params, path)[path[-1]]
    (project.path / "params.yaml").write_text(yaml.safe_dump(params))
    assert f"params.yaml: {'.'.join(path)}: missing" in error_of(project)


@pytest.mark.parametrize("key", sorted(OPTIONAL))
def test_what_a_recipe_need_not_have_may_be_left_out(key: str, project: Project) -> None:
    params = project.read_params()
    params["recipes"]["accurate"].pop(key, None)
    (project.path / "params.yaml").write_text(yaml.safe_dump(params))
    load_params(project.path / "params.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recipes__quick__epochs", True),
        ("recipes__quick__epochs", "10"),
        ("recipes__quick__epochs", 1.5),
        ("recipes__quick__epochs", 2.0),
        ("recipes__quick__epochs", None),
        ("recipes__quick__epochs", [2]),
        ("recipes__quick__optimizer__nesterov", 1),
        ("recipes__quick__optimizer__nesterov", "yes"),
        ("recipes__quick__learning_rate", "0.1"),
        ("recipes__quick__learning_rate", True),
        ("recipes__quick__network__channels", 6),
        ("recipes__quick__network__hidden", "120"),
        ("recipes__quick__optimizer", 1),
        ("recipes__quick__augment", None),
        ("recipes__quick", None),
        ("recipes", []),
        ("train__recipe", 1),
        ("train__seed", False),
        ("train", []),
        ("preview", "x"),
        ("machine__threads", "all"),
        ("machine__mirrors", "https://example.org"),
        ("download__source", 3),
        ("download__group", 3),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_key(
    key: str, value: object, project: Project
) -> None:
    project.change(**{key: value})
    message = error_of(project)
    assert f"params.yaml: {key.replace('__', '.')} is {value!r}; it must be " in message


def test_a_section_of_the_wrong_type_is_answered_with_its_keys(project: Project) -> None:
    project.change(preview=3, recipes__quick__network=[1])
    message = error_of(project)
    assert "preview is 3; it must be a mapping with images, seed" in message
    assert "recipes.quick.network is [1]; it must be a mapping with a name" in message


def test_a_choice_without_a_name_is_answered_with_the_names(project: Project) -> None:
    project.change(recipes__quick__network={"channels": [6, 16]}, recipes__quick__optimizer={})
    message = error_of(project)
    assert (
        "recipes.quick.network.name: missing; choose from lenet, whitened, torchvision" in message
    )
    assert "recipes.quick.optimizer.name: missing; choose from sgd, adamw, muon" in message


def test_an_element_of_the_wrong_type_is_named_by_its_place(project: Project) -> None:
    project.change(recipes__quick__network__channels=[6, "16"], machine__mirrors=["a", 2])
    message = error_of(project)
    assert "recipes.quick.network.channels.1 is '16'" in message
    assert "machine.mirrors.1 is 2" in message


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0, 0.0])
@pytest.mark.parametrize("key", ["download__test_fraction", "recipes__quick__learning_rate"])
def test_a_number_without_sense_is_a_range_error(key: str, number: float, project: Project) -> None:
    project.change(**{key: number})
    assert f"{key.replace('__', '.')} is {number!r}; it must be " in error_of(project)


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
    message = error_of(project)
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
    message = error_of(project)
    assert f"{key.replace('__', '.')} is {'-' * (sign < 0)}1000" in message
    assert len(message) < 400


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 5000, "0." + "1" * 5000 + "e999"])
def test_a_rate_beyond_what_a_number_holds_is_one_short_line(number: str, project: Project) -> None:
    path = project.path / "params.yaml"
    text = path.read_text()
    assert text.count("learning_rate: 0.05\n") == 1
    path.write_text(text.replace("learning_rate: 0.05\n", f"learning_rate: {number}\n"))
    assert len(error_of(project)) < 400


@pytest.mark.parametrize("part", ["mean", "std"])
@pytest.mark.parametrize("values", [[0.5, 0.5], [0.5] * 4, []])
def test_normalisation_has_a_number_for_each_of_three_channels(
    part: str, values: list[float], project: Project
) -> None:
    project.change(**{f"recipes__quick__normalize__{part}": values})
    assert f"recipes.quick.normalize.{part} is {values!r}; " in error_of(project)


def test_normalisation_is_for_pixels_in_0_to_1(project: Project) -> None:
    project.change(
        recipes__quick__normalize={"mean": [125.3, 0.5, 0.5], "std": [0.5, 0.0, 63.0]},
    )
    message = error_of(project)
    assert "recipes.quick.normalize.mean.0 is 125.3; it must be less than or equal to 1" in message
    assert "recipes.quick.normalize.std.1 is 0.0; it must be greater than 0" in message
    assert "recipes.quick.normalize.std.2 is 63.0; it must be less than or equal to 1" in message


def test_every_fault_of_the_file_is_named_at_once(project: Project) -> None:
    project.change(train__seed=-1, trian=1, recipes__quick__epochs="2")
    message = error_of(project)
    assert "train.seed is -1" in message
    assert "trian: unknown key" in message
    assert "recipes.quick.epochs is '2'" in message


def test_many_faults_are_not_a_screen_full_of_lines(project: Project) -> None:
    project.change(**{f"unknown{number}": 1 for number in range(500)})
    lines = error_of(project).splitlines()
    assert len(lines) < 30
    assert lines[-1].endswith(f"{500 - len(lines) + 1} more")


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
    message = error_of(project)
    assert f"params.yaml: {key.replace('__', '.')} is {value!r}; " in message
    assert answer in message


def test_the_flat_format_of_earlier_versions_is_one_line_that_says_what_to_do(
    project: Project,
) -> None:
    (project.path / "params.yaml").write_text(FLAT)
    message = error_of(project)
    assert message.count("\n") == 0
    assert "flat format of earlier versions" in message
    assert "set your values in this version's params.yaml" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recipes__quick__network", "lenet"),
        ("recipes__quick__optimizer", "sgd"),
        ("recipes__quick__crop_padding", 4),
        ("recipes__quick__test_time_averaging", "mirror"),
        ("recipes__quick__train_sizes", None),
        ("train__device", "auto"),
        ("train__processes", 1),
        ("evaluate__batch_size", 500),
        ("download__mirrors", None),
    ],
)
def test_a_key_of_the_flat_format_is_answered_with_what_to_do(
    key: str, value: object, project: Project
) -> None:
    project.change(**{key: value})
    message = error_of(project)
    assert f"params.yaml: {key.replace('__', '.')}: this is the flat format" in message
    assert message.count("\n") == 0


@pytest.mark.parametrize("name", ["a.b", "a[0]", "a]", "${x}", "a b", "a:b", "", "a\nb", "x" * 200])
def test_a_recipe_s_name_that_dvc_would_take_for_syntax_is_refused(
    name: str, project: Project
) -> None:
    params = project.read_params()
    params["recipes"][name] = params["recipes"]["quick"]
    (project.path / "params.yaml").write_text(yaml.safe_dump(params, width=10**6))
    message = error_of(project)
    assert "a name has 1 to 100 letters, digits, _ and - only" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["Quick-2", "schnell_ü", "2"])
def test_other_names_of_recipes_are_taken(name: str, project: Project) -> None:
    params = project.read_params()
    params["recipes"][name] = params["recipes"]["quick"]
    params["train"]["recipe"] = name
    (project.path / "params.yaml").write_text(yaml.safe_dump(params))
    assert load_params(project.path / "params.yaml").recipe.epochs == 2


@pytest.mark.parametrize("key", [1, 2.5, None])
@pytest.mark.parametrize("path", [(), ("train",), ("recipes",), ("recipes", "quick", "optimizer")])
def test_a_key_that_is_not_text_is_named(
    path: tuple[str, ...], key: object, project: Project
) -> None:
    params = project.read_params()
    section_of(params, (*path, ""))[key] = 1
    (project.path / "params.yaml").write_text(yaml.safe_dump(params))
    assert f"{'.'.join([*path, str(key)])}: a key must be text" in error_of(project)


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<x>a)(?P<x>b)", "a{99999999999}"])
def test_a_group_that_is_no_regular_expression_is_refused(pattern: str, project: Project) -> None:
    params = project.read_params()
    params["download"]["group"] = pattern
    (project.path / "params.yaml").write_text(yaml.safe_dump(params))
    message = error_of(project)
    assert f"download.group is {pattern!r}; it must be a regular expression (" in message


def test_a_path_with_nul_in_it_is_refused(project: Project) -> None:
    project.change(download__dataset="folder", download__source="images\0")
    assert r"download.source is 'images\x00'; " in error_of(project)


def test_a_key_with_terminal_escapes_is_printed_harmlessly(project: Project) -> None:
    project.change(**{"\x1b[2Jtrain\n": 1})
    message = error_of(project)
    assert r"\x1b[2Jtrain\n: unknown key" in message
    assert "\x1b" not in message


@pytest.mark.parametrize("source", [None, ""])
def test_a_source_that_is_no_path_is_named(source: str | None, project: Project) -> None:
    project.change(download__source=source)
    assert f"download.source is {source!r}; it must be a" in error_of(project)


def test_early_stopping_without_images_to_stop_by_is_named(project: Project) -> None:
    project.change(train__early_stopping=3)
    assert "train.early_stopping is 3 with validation_fraction 0" in error_of(project)


@pytest.mark.parametrize("stage", ["download", "preview", "train", "test_sample", "evaluate"])
def test_every_stage_checks_the_whole_file_before_it_computes(stage: str, project: Project) -> None:
    """The mistake is in a part that the stage does not read; there are neither data nor a model."""
    project.change(**{"preview__imagse": 1} if stage != "preview" else {"evaluate__tests": 1})
    before = sorted(project.path.rglob("*"))
    with pytest.raises(UserError, match="unknown key; "):
        project.call(stage)
    assert sorted(project.path.rglob("*")) == before


def test_every_section_is_that_of_a_stage_or_the_machine_or_the_recipes() -> None:
    stages = {"download", "preview", "train", "test_sample", "evaluate"}
    assert set(Params.model_fields) == stages | {"machine", "recipes"}
    assert all((ROOT / "stages" / f"{stage}.py").exists() for stage in stages)


def test_a_path_given_is_the_one_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("recipe: tutorial", "recipe: x"))
    with pytest.raises(UserError, match=r"other\.yaml: train\.recipe is 'x'; "):
        load_params(path)


# As it was before recipes were nested.
FLAT = """
download: {dataset: CIFAR10, source: , mirrors: , image_size: 32, test_fraction: 0.2, seed: 0}
preview: {images: 10, seed: 0}
train:
  recipe: tutorial
  device: auto
  processes: 1
  threads: auto
  seed: 0
  validation_fraction: 0.0
  early_stopping: never
  checkpoint_minutes: 1.0
test_sample: {images: 10, seed: 0}
evaluate: {device: auto, batch_size: 500}
recipes:
  tutorial:
    network: lenet
    channels: [6, 16]
    kernel_size: 5
    hidden: [120, 84]
    pretrained: false
    mean: [0.5, 0.5, 0.5]
    std: [0.5, 0.5, 0.5]
    crop_padding: 0
    flip: none
    train_sizes:
    optimizer: sgd
    learning_rate: 0.001
    momentum: 0.9
    nesterov: false
    weight_decay: 0.0
    sgd_learning_rate:
    sgd_momentum:
    sgd_weight_decay:
    schedule: constant
    epochs: 2
    batch_size: 10
    micro_batch:
    label_smoothing: 0.0
    precision: float32
    test_time_averaging: none
"""
