"""What tools/compare.py says about two runs of one seed each: what changed, what to run."""

import shlex
import sys
from typing import Any

import pytest
import yaml

from comparison.changes import explain
from fabricated import Fabricated, params


def queued(text: str) -> list[str]:
    """Return the commands that queue experiments, without the line breaks in long ones."""
    assert max(map(len, text.splitlines())) <= 100
    lines = text.replace("\\\n", "").splitlines()
    return [" ".join(line.split()) for line in lines if "--queue" in line]


def test_one_changed_parameter_becomes_one_sweep_that_dvc_takes(experiments: Fabricated) -> None:
    experiments.write(params(recipes__quick__label_smoothing=0.1), {"accuracy": 51})

    text = explain("HEAD", "workspace")

    assert "They differ in recipes.quick.label_smoothing (0.0, then 0.1)." in text
    (command,) = queued(text)
    assert command == (
        "dvc exp run --queue -S 'train.seed=range(0,5)' -S 'recipes.quick.label_smoothing=0.0,0.1'"
    )
    fewer = command.replace("range(0,5)", "range(0,2)")
    out = experiments.call(sys.executable, "-m", *shlex.split(fewer))
    assert out.count("Queued experiment") == 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([6, 16], [6, 32]),
        ("a,b", "[1]"),
        ("1", 1),
        ("null", None),
        ("", "x y"),
        (["a,b"], []),
        (0.01, "1x"),
    ],
)
def test_what_is_printed_sets_the_values_that_differed(
    before: Any, after: Any, experiments: Fabricated
) -> None:
    one, other = (params(recipes__quick__value=value) for value in (before, after))
    experiments.write(one, {"accuracy": 50})
    experiments.call("git", "commit", "-qam", "before")
    experiments.write(other, {"accuracy": 51})

    (command,) = queued(explain("HEAD", "workspace"))

    fewer = command.replace("range(0,5)", "range(0,1)")
    experiments.call(sys.executable, "-m", *shlex.split(fewer))
    stashed = experiments.call("git", "log", "-g", "--format=%H", "refs/exps/celery/stash").split()
    texts = [experiments.call("git", "show", f"{commit}:params.yaml") for commit in stashed]
    values = [yaml.safe_load(text)["recipes"]["quick"]["value"] for text in texts]
    assert sorted(values, key=repr) == sorted([before, after], key=repr)
    assert sorted(map(type, values), key=repr) == sorted(map(type, [before, after]), key=repr)


def test_several_changed_parameters_become_a_sweep_per_variant(experiments: Fabricated) -> None:
    changes = {"recipes__quick__optimizer__name": "adamw"}
    experiments.write(params(seed=1, recipes__quick__epochs=3, **changes), {"accuracy": 51})
    text = explain("HEAD", "workspace")
    assert "train.seed (0, then 1)" in text
    first, second = queued(text)
    assert "'recipes.quick.epochs=2' -S 'recipes.quick.optimizer.name=sgd'" in first
    assert "'recipes.quick.epochs=3' -S 'recipes.quick.optimizer.name=adamw'" in second


def test_another_recipe_is_one_change(experiments: Fabricated) -> None:
    experiments.write(params("slow"), {"accuracy": 51})
    assert queued(explain("HEAD", "workspace")) == [
        "dvc exp run --queue -S 'train.seed=range(0,5)' -S 'train.recipe=quick,slow'"
    ]


def test_values_that_a_shell_could_execute_are_not_put_in_a_command(
    experiments: Fabricated,
) -> None:
    name = "x'; reboot; '\x1b[31m"
    experiments.write(params(recipes__quick__optimizer__name=name), {"accuracy": 51})
    text = explain("HEAD", "workspace")
    assert all("reboot" not in command for command in queued(text))
    assert "\x1b" not in text


def test_another_seed_alone_is_no_change(experiments: Fabricated) -> None:
    experiments.write(params(seed=1), {"accuracy": 51})
    text = explain("HEAD", "workspace")
    assert "nothing but train.seed (0, then 1)" in text
    assert not queued(text)


def test_the_same_run_is_said_to_be_the_same(experiments: Fabricated) -> None:
    assert explain("HEAD", "workspace").startswith("Both were run with the same")
