"""params.yaml: every mistake is named by its full path before anything is computed."""

import re
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


def test_a_key_with_terminal_escapes_is_printed_harmlessly(project: Project) -> None:
    project.change(**{"\x1b[2Jtrain\n": 1})
    message = error_of(project)
    assert r"\x1b[2Jtrain\n: unknown key" in message
    assert "\x1b" not in message


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
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path.write_text(re.sub(r"^  recipe: \w+", "  recipe: x", text, flags=re.MULTILINE))
    with pytest.raises(UserError, match=r"other\.yaml: train\.recipe is 'x'; "):
        load_params(path)
