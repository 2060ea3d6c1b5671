"""What `dvc exp run -S` makes of params.yaml, by the function that it calls."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides

from common.params import Params, load_params
from common.yaml12 import read_yaml
from helpers import ROOT, refused

LINES = (ROOT / "params.yaml").read_text().splitlines()


def override(directory: Path, *values: str) -> Path:
    """Apply `-S` with each of the values to a copy of the repository's params.yaml."""
    path = directory / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    (overrides,) = to_path_overrides(values).values()
    apply_overrides(path, overrides)
    return path


def load(directory: Path, *values: str) -> Params:
    return load_params(override(directory, *values))


def changed(path: Path) -> list[str]:
    """The lines that differ from the repository's, of which there are as many."""
    lines = path.read_text().splitlines()
    assert len(lines) == len(LINES)
    return [line for line, before in zip(lines, LINES, strict=True) if line != before]


def leaves(mapping: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Every value that is no mapping, by its full path."""
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        path = f"{before}{key}"
        found |= leaves(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return found


VALUES = leaves(read_yaml(ROOT / "params.yaml"))


def test_a_number_of_a_recipe_is_set_and_nothing_else_changes(tmp_path: Path) -> None:
    path = override(tmp_path, "recipes.quick.epochs=8")
    assert changed(path) == ["    epochs: 8"]
    assert load_params(path).recipes["quick"].epochs == 8
    before = load_params(ROOT / "params.yaml").recipes["tutorial"]
    assert load_params(path).recipes["tutorial"] == before


def test_a_recipe_is_chosen(tmp_path: Path) -> None:
    path = override(tmp_path, "train.recipe=accurate")
    assert [line.split("#")[0].strip() for line in changed(path)] == ["recipe: accurate"]
    assert load_params(path).recipe.network.name == "whitened"


def test_several_settings_change_as_many_lines(tmp_path: Path) -> None:
    path = override(
        tmp_path, "train.recipe=quick", "recipes.quick.learning_rate=1e-2", "machine.device=cpu"
    )
    assert len(changed(path)) == 3
    assert load_params(path).recipe.learning_rate == 0.01


@pytest.mark.parametrize("key", [key for key, value in VALUES.items() if type(value) is not list])
def test_setting_any_value_changes_its_line_alone(key: str, tmp_path: Path) -> None:
    path = override(tmp_path, f"{key}=7")
    (line,) = changed(path)
    (before,) = (b for b, a in zip(LINES, path.read_text().splitlines(), strict=True) if a != b)
    assert line.split("#")[1:] == before.split("#")[1:]  # the comment is still there
    assert leaves(read_yaml(path)) == VALUES | {key: 7}


def test_an_optimizer_is_switched_by_its_name_and_the_keys_that_go(tmp_path: Path) -> None:
    recipe = load(
        tmp_path, "recipes.quick.optimizer.name=adamw", "~recipes.quick.optimizer.nesterov"
    ).recipes["quick"]
    assert recipe.optimizer.model_dump() == {
        "name": "adamw",
        "momentum": 0.9,
        "weight_decay": 0.0005,
    }


def test_an_optimizer_is_switched_by_the_keys_that_go_and_come(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        "recipes.quick.optimizer.name=muon",
        "~recipes.quick.optimizer.weight_decay",
        "+recipes.quick.optimizer.sgd={learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0}",
    ).recipes["quick"]
    assert recipe.optimizer.name == "muon"
    assert recipe.optimizer.sgd.learning_rate == 0.1


def test_a_network_is_switched(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        "recipes.quick.network={name: whitened, channels: [8, 8], kernel_size: 3}",
        "~recipes.quick.network.hidden",
    ).recipes["quick"]
    assert recipe.network.name == "whitened"
    assert recipe.network.channels == [8, 8]


def test_a_key_left_of_the_optimizer_before_is_answered_with_how_to_remove_it(
    tmp_path: Path,
) -> None:
    path = override(tmp_path, "recipes.quick.optimizer.name=adamw")
    line = refused(lambda: load_params(path))
    assert "recipes.quick.optimizer.nesterov: unknown key; choose from name, momentum, " in line
    assert line.endswith("or remove it: -S '~recipes.quick.optimizer.nesterov'")


def test_what_a_recipe_need_not_have_is_added_and_removed(tmp_path: Path) -> None:
    path = override(
        tmp_path, "+recipes.quick.micro_batch=32", "~recipes.accurate.progressive_resizing"
    )
    recipes = load_params(path).recipes
    assert recipes["quick"].micro_batch == 32
    assert recipes["accurate"].train_sizes == []
    assert len(path.read_text().splitlines()) == len(LINES)


def test_a_regular_expression_comes_through(tmp_path: Path) -> None:
    path = override(tmp_path, "download.group='^[^_]+/(?P<scene>[a-z]{2,})_'")
    assert load_params(path).download.group == "^[^_]+/(?P<scene>[a-z]{2,})_"
    assert len(changed(path)) == 1
