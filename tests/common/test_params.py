"""Faults 20-29: params.yaml as DVC reads it, and every mistake named before anything is computed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT
from project import Project
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from common.errors import UserError
from common.params import Params, load_params, read_yaml
from model.networks import build_network
from train import epoch_order

# What a person may write, each of them a number, a truth, nothing or a word in some version of YAML.
SCALARS = """
1e-3 1.0e-3 0.001 1E5 .5 5. +5 -.5 +.5 .5e5 .5e-5 .5E+5 5.e3 1e+3 1e3 0e0 007e1 01.5 12e03 0.0 -0.0 1e400
true True TRUE tRUE false False FALSE yes Yes no NO on On off OFF y n
~ null Null NULL nULL None
0 -1 +0 -0 00 010 -010 0777 08 1_000 1_0.5 0.1_ 0x1F 0o17 0b1 123456789012345678901234567890
.inf -.inf +.inf .Inf .nan .NaN inf nan -.nan NaN
2001-01-01 2001-01-01T00:00:00Z 1:30 190:20:30 1.2.3 1e 1e3.5 e3 1-1 '1' "2"
"""


def ours(scalar: str, path: Path) -> Any:
    path.write_text(f"key: {scalar}\n")
    return read_yaml(path)["key"]


def error_of(project: Project) -> str:
    with pytest.raises(UserError) as raised:
        load_params(project.path / "params.yaml")
    return str(raised.value)


@pytest.mark.parametrize("scalar", SCALARS.split())
def test_a_scalar_is_what_dvc_reads_or_a_string_that_no_typed_key_takes(
    scalar: str, tmp_path: Path
) -> None:
    value, dvc = (
        ours(scalar, tmp_path / "params.yaml"),
        YAML(typ="safe").load(f"key: {scalar}")["key"],
    )
    if not isinstance(value, str):
        assert type(value) is type(dvc)
        assert value == dvc or (math.isnan(value) and math.isnan(dvc))
    elif not isinstance(dvc, str):
        assert (
            value == scalar
        )  # left as it was written: strict types refuse it where DVC might read a number


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-3", 0.001),
        ("0.001", 0.001),
        (".5", 0.5),
        ("-1", -1),
        ("0", 0),
        ("true", True),
    ],
)
def test_numbers_and_truths_are_not_left_as_strings(
    scalar: str, value: object, tmp_path: Path
) -> None:
    found = ours(scalar, tmp_path / "params.yaml")
    assert found == value
    assert type(found) is type(value)


def test_the_repository_s_file_is_valid_and_what_dvc_reads() -> None:
    path = ROOT / "params.yaml"
    assert read_yaml(path) == YAML(typ="safe").load(path)
    load_params(path)


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
        ("evaluate__batchsize", "batch_size"),
        ("recipes__quick__momentun", "momentum"),
        ("recipes__tutorial__learning-rate", "learning_rate"),
    ],
)
def test_an_unknown_key_at_any_level_is_answered_with_the_one_meant(
    key: str, meant: str, project: Project
) -> None:
    project.change(**{key: 1})
    message = error_of(project)
    assert key.replace("__", ".") + ": unknown key" in message
    assert f"did you mean '{meant}'?" in message


def test_an_unknown_key_like_no_other_is_answered_with_the_choices(project: Project) -> None:
    project.change(evaluate__xyz=1)
    message = error_of(project)
    assert "evaluate.xyz: unknown key" in message
    assert "did you mean" not in message
    assert "batch_size" in message
    assert "device" in message


def every_key() -> list[str]:
    """The full path of each key that must be there, in the recipes of one of them."""
    keys = []
    for section, content in YAML(typ="safe").load(ROOT / "params.yaml").items():
        parts = {"quick": content["quick"]} if section == "recipes" else {"": content}
        for part, values in parts.items():
            keys += [section, *(".".join(filter(None, (section, part, key))) for key in values)]
    return keys


@pytest.mark.parametrize("key", every_key())
def test_a_missing_key_is_named_by_its_full_path(key: str, project: Project) -> None:
    params = project.read_params()
    *sections, last = key.split(".")
    section = params
    for part in sections:
        section = section[part]
    del section[last]
    YAML(typ="safe").dump(params, project.path / "params.yaml")
    assert f"{key}: missing" in error_of(project)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recipes__quick__epochs", True),
        ("recipes__quick__epochs", "10"),
        ("recipes__quick__epochs", 1.5),
        ("recipes__quick__epochs", 2.0),
        ("recipes__quick__epochs", None),
        ("recipes__quick__epochs", [2]),
        ("recipes__quick__nesterov", 1),
        ("recipes__quick__nesterov", "yes"),
        ("recipes__quick__learning_rate", "0.1"),
        ("recipes__quick__learning_rate", True),
        ("recipes__quick__channels", 6),
        ("recipes__quick__hidden", "120"),
        ("recipes__quick__optimizer", 1),
        ("recipes__quick", None),
        ("train__recipe", 1),
        ("train__seed", False),
        ("train__threads", "all"),
        ("train", []),
        ("preview", "x"),
        ("download__source", 3),
        ("download__mirrors", "https://example.org"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_key(
    key: str, value: object, project: Project
) -> None:
    project.change(**{key: value})
    message = error_of(project)
    assert f"{key.replace('__', '.')} is {value!r}; " in message
    assert "must be" in message or "choose from" in message


def test_an_element_of_the_wrong_type_is_named_by_its_place(project: Project) -> None:
    project.change(recipes__quick__channels=[6, "16"])
    assert "recipes.quick.channels.1 is '16'" in error_of(project)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0, 0.0])
@pytest.mark.parametrize(
    "key", ["download__test_fraction", "recipes__quick__learning_rate", "recipes__quick__momentum"]
)
def test_a_number_without_sense_is_a_range_error(key: str, number: float, project: Project) -> None:
    if key.endswith("momentum") and number == 0:
        project.change(recipes__quick__nesterov=False)
        project.change(**{key: number})
        assert load_params(project.path / "params.yaml").recipes["quick"].momentum == 0
        return
    project.change(**{key: number})
    assert f"{key.replace('__', '.')} is {number!r}; it must be " in error_of(project)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("recipes__quick__epochs", 0, "greater than or equal to 1"),
        ("recipes__quick__epochs", -3, "greater than or equal to 1"),
        ("recipes__quick__batch_size", 0, "greater than or equal to 1"),
        ("recipes__quick__kernel_size", 0, "greater than or equal to 1"),
        ("recipes__quick__weight_decay", -0.1, "greater than or equal to 0"),
        ("recipes__quick__momentum", 1.0, "less than 1"),
        ("download__test_fraction", 1.0, "less than 1"),
        ("download__image_size", 0, "greater than or equal to 1"),
        ("preview__images", 0, "greater than or equal to 1"),
        ("test_sample__images", -1, "greater than or equal to 1"),
        ("evaluate__batch_size", 0, "greater than or equal to 1"),
        ("train__threads", 0, "greater than or equal to 1"),
        ("train__seed", -1, "greater than or equal to 0"),
        ("train__seed", 2**63, "less than"),
    ],
)
def test_a_number_out_of_range_is_named_with_the_range(
    key: str, value: float, rule: str, project: Project
) -> None:
    project.change(**{key: value})
    message = error_of(project)
    assert f"{key.replace('__', '.')} is {value!r}; " in message
    assert rule in message


def test_a_deviation_of_zero_would_divide_by_zero(project: Project) -> None:
    project.change(recipes__quick__std=[0.5, 0.0, 0.5])
    message = error_of(project)
    assert "recipes.quick.std.1 is 0.0; " in message
    assert "greater than 0" in message


@pytest.mark.parametrize("values", [[0.5, 0.5], [0.5] * 4, []])
def test_normalisation_has_a_number_for_each_of_three_channels(
    values: list[float], project: Project
) -> None:
    project.change(recipes__quick__mean=values)
    assert f"recipes.quick.mean is {values!r}; " in error_of(project)


@pytest.mark.parametrize("key", ["seed", "train", "quick"])
def test_a_key_given_twice_is_an_error_at_every_level(key: str, project: Project) -> None:
    path = project.path / "params.yaml"
    lines = (ROOT / "params.yaml").read_text().splitlines()
    at = next(index for index, line in enumerate(lines) if line.lstrip().startswith(f"{key}:"))
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    path.write_text("\n".join([*lines[:at], f"{indent}{key}: {{}}", *lines[at:]]) + "\n")
    message = error_of(project)
    assert f"{key!r} is given twice" in message
    with pytest.raises(YAMLError, match="duplicate key"):  # as DVC sees it
        YAML(typ="safe").load(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it must be a mapping with download, preview, train, test_sample, evaluate, recipes"),
        (b"# only a comment\n", "it must be a mapping"),
        (b"- download\n- train\n", "it must be a mapping"),
        (b"just words", "it must be a mapping"),
        (b"train: [1, 2\n", "not YAML"),
        (b"train: {a: b: c}\n", "not YAML"),
        (b"\tkey: 1\n", "not YAML"),
        (b"a: 1\n---\nb: 2\n", "not YAML"),
        (b"train: {seed: !!python/object/apply:os.system ['touch ran']}\n", "not YAML"),
        (b"train: {seed: !!int }\n", "not YAML"),
        (b"train: {seed: !!float x}\n", "not YAML"),
        (b"train: {seed: !!bool x}\n", "not YAML"),
        (b"train: {seed: " + b"9" * 5000 + b"}\n", "not YAML"),
        ("name: Gänse\n".encode("latin-1"), "not YAML"),
        (b"\x00\x01\x02", "not YAML"),
    ],
)
def test_a_file_that_is_no_mapping_in_yaml(content: bytes, reason: str, project: Project) -> None:
    (project.path / "params.yaml").write_bytes(content)
    message = error_of(project)
    assert reason in message
    assert "\n" not in message
    assert not (project.path / "ran").exists()


def test_no_file_says_where_to_run(project: Project) -> None:
    (project.path / "params.yaml").unlink()
    message = error_of(project)
    assert "params.yaml: no such file" in message
    assert str(project.path) in message


def test_every_fault_of_the_file_is_told_at_once(project: Project) -> None:
    project.change(train__seed=-1, trian=1, recipes__quick__epochs="2")
    message = error_of(project)
    assert all(
        part in message
        for part in ["train.seed is -1", "trian: unknown key", "recipes.quick.epochs is '2'"]
    )


@pytest.mark.parametrize(
    ("key", "value", "choices"),
    [
        ("train__recipe", "tutorail", ["did you mean 'tutorial'?", "quick"]),
        ("recipes__quick__network", "LeNet", ["did you mean 'lenet'?"]),
        ("recipes__quick__optimizer", "adam", ["did you mean 'adamw'?", "sgd"]),
        ("recipes__quick__schedule", "onecycle", ["did you mean 'one_cycle'?", "constant"]),
        (
            "download__dataset",
            "cifar10",
            ["did you mean 'CIFAR10'?", "CIFAR100", "digits", "folder"],
        ),
        ("train__device", "gpu", ["auto", "cpu", "cuda", "mps"]),
        ("evaluate__device", "cuda:0", ["did you mean 'cuda'?", "auto", "cpu", "mps"]),
    ],
)
def test_a_word_that_is_no_choice_is_answered_with_the_choices(
    key: str, value: str, choices: list[str], project: Project
) -> None:
    project.change(**{key: value})
    message = error_of(project)
    section, _, name = key.replace("__", ".").rpartition(".")
    assert section in message
    assert f"{name} is {value!r}; " in message
    assert all(choice in message for choice in choices)


def test_a_network_that_shrinks_the_picture_to_nothing_is_told_with_its_numbers(
    project: Project,
) -> None:
    """13 pixels: convolution 13 - 5 + 1 = 9, pooling 4, convolution 4 - 5 + 1 = 0, pooling none."""
    project.change(download__image_size=13)
    message = error_of(project)
    assert "recipes.quick" in message
    assert "convolution 2" in message
    assert "(4 - 5 + 2*0)/1 + 1 = 0" in message
    assert "image_size (13)" in message


def test_the_smallest_picture_that_the_network_takes_is_taken(project: Project) -> None:
    """16 pixels: 12, 6, 2, 1; 15 pixels: 11, 5, 1, 0."""
    project.change(download__image_size=16)
    assert load_params(project.path / "params.yaml").download.image_size == 16
    project.change(download__image_size=15)
    assert "(1 - 2 + 2*0)/2 + 1 = 0" in error_of(project)


@pytest.mark.parametrize("changes", [{"optimizer": "adamw"}, {"momentum": 0.0}])
def test_nesterov_without_the_momentum_of_sgd(changes: dict[str, object], project: Project) -> None:
    project.change(**{f"recipes__quick__{key}": value for key, value in changes.items()})
    assert "recipes.quick: nesterov is true" in error_of(project)


def test_a_folder_without_its_source(project: Project) -> None:
    project.change(download__dataset="folder")
    assert "download.source is null" in error_of(project)


@pytest.mark.parametrize("stage", ["download", "preview", "train", "test_sample", "evaluate"])
def test_every_stage_checks_the_whole_file_before_it_computes(stage: str, project: Project) -> None:
    """The mistake is in a part that no stage but one reads, and there are neither data nor a model."""
    project.change(**{"preview__imagse": 1} if stage != "preview" else {"evaluate__batchsize": 1})
    before = sorted(project.path.rglob("*"))
    with pytest.raises(UserError, match="unknown key; did you mean"):
        project.call(stage)
    assert sorted(project.path.rglob("*")) == before


def test_the_process_ends_with_one_line_and_status_1(project: Project) -> None:
    project.change(recipes__quick__epochs="10")
    assert "params.yaml: recipes.quick.epochs is '10'; it must be a valid integer" in project.fails(
        "preview"
    )


def test_two_faults_are_two_lines_and_status_1(project: Project) -> None:
    project.change(recipes__quick__epochs=True, preview__seeds=1)
    done = project.run("download")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: params.yaml: ") for line in lines)


def test_seed_0_is_honoured_and_differs_from_seed_1() -> None:
    orders = [epoch_order(1000, seed, epoch=1) for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    recipe = load_params(ROOT / "params.yaml").recipes["tutorial"]
    first = [build_network(recipe, 32, 10, seed).state_dict()["conv1.weight"] for seed in (0, 0, 1)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_every_section_is_that_of_a_stage_or_the_recipes() -> None:
    stages = {"download", "preview", "train", "test_sample", "evaluate"}
    assert set(Params.model_fields) == stages | {"recipes"}
    assert all((ROOT / "stages" / f"{stage}.py").exists() for stage in stages)
