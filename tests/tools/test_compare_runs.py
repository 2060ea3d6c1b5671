"""tools/compare.py --experiments: which runs it reads from DVC, how it groups and names them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import UserError
from fabricated import (
    PLAIN,
    SMOOTHED,
    SMOOTHING,
    Fabricated,
    Tool,
    add,
    metrics,
    params,
    two_groups,
)

# Serves as every stage: train fails with seed 9, evaluate measures 50 and the seed.
RUNNABLE = """
import json, pathlib, sys, yaml
seed = yaml.safe_load(open("params.yaml"))["train"]["seed"]
pathlib.Path("data/arrays").mkdir(exist_ok=True, parents=True)
if "download" in sys.argv[0]:
    sys.exit(pathlib.Path("data/arrays/train_images.npy").write_text("images") == 0)
pathlib.Path("models").mkdir(exist_ok=True)
pathlib.Path("reports").mkdir(exist_ok=True)
if "preview" in sys.argv[0]:
    sys.exit(pathlib.Path("reports/preview.png").write_text("an image") == 0)
if "train" in sys.argv[0]:
    pathlib.Path("models/classifier.safetensors").write_text(str(seed))
    sys.exit(seed == 9)
seed = int(pathlib.Path("models/classifier.safetensors").read_text())
pathlib.Path("reports/metrics.json").write_text(json.dumps({"accuracy": 50 + seed}))
"""
DVC = (sys.executable, "-m", "dvc")


def test_what_cannot_change_the_metric_makes_no_group(experiments: Fabricated, tool: Tool) -> None:
    experiments.experiment(params(seed=1, preview__images=9), metrics(58.3))
    experiments.experiment(params(seed=2, recipes__slow__epochs=11), metrics(57.6))
    experiments.experiment(params(seed=3, machine__device="cuda"), metrics(58.1))

    table = json.loads(tool("--json"))

    (group,) = table["groups"]
    assert (group["group"], group["n"]) == ("quick", 4)
    (note,) = table["notes"]
    assert note.startswith("machine.device is cpu or cuda")
    assert "nothing to compare it with" in tool()


def test_what_preview_drew_makes_no_group_and_no_further_seed(
    experiments: Fabricated, tool: Tool
) -> None:
    add(experiments, PLAIN[1:3], start=1)
    experiments.experiment(params(seed=2, preview__seed=5), metrics(PLAIN[2]), "drawn")
    experiments.experiment(
        params(seed=2), metrics(PLAIN[2]), "edited", code={"stages/preview.py": "f" * 32}
    )

    table = json.loads(tool("--json"))

    (group,) = table["groups"]
    assert group["n"] == 3
    assert [run["seeds"] for run in group["runs"]] == [
        {"download.seed": 0, "train.seed": seed} for seed in (0, 1, 2)
    ]
    assert "drawn repeats" in table["notes"][0]


def test_groups_are_named_by_what_distinguishes_them(experiments: Fabricated, tool: Tool) -> None:
    def names() -> list[str]:
        return [group["group"] for group in json.loads(tool("--json"))["groups"]]

    experiments.experiment(params(recipes__quick__micro_batch=50), metrics(58.0))
    assert names() == ["no micro_batch", "micro_batch=50"]
    experiments.experiment(params(recipes__quick__epochs=3), metrics(58.0))
    experiments.experiment(params("slow"), metrics(58.0))  # all of its keys are its own
    assert names() == [
        "recipe=quick, epochs=2",
        "recipe=quick, epochs=2, micro_batch=50",
        "recipe=quick, epochs=3",
        "recipe=slow",
    ]


def test_a_blank_value_is_not_a_missing_one(experiments: Fabricated, tool: Tool) -> None:
    experiments.experiment(params(recipes__quick__micro_batch=None), metrics(58.0))
    groups = json.loads(tool("--json"))["groups"]
    assert [group["group"] for group in groups] == ["no micro_batch", "micro_batch=null"]


def test_other_code_is_another_group(experiments: Fabricated, tool: Tool) -> None:
    add(experiments, PLAIN[1:], start=1)
    for seed, value in enumerate(SMOOTHED):
        code = {"stages/train.py": "abcdef" + "0" * 26}
        experiments.experiment(params(seed=seed), metrics(value), code=code)
    names = [group["group"] for group in json.loads(tool("--json"))["groups"]]
    assert names == ["stages/train.py@11111", "stages/train.py@abcde"]


def test_the_same_run_counts_once(experiments: Fabricated, tool: Tool) -> None:
    experiments.experiment(params(seed=0), metrics(PLAIN[0]), "again")
    experiments.experiment(params(seed=1), metrics(58.3), "first")
    experiments.experiment(params(seed=1), metrics(58.5), "other")

    table = json.loads(tool("--json"))

    assert [run["name"] for run in table["groups"][0]["runs"]] == ["main", "first"]
    (note,) = table["notes"]
    assert "again repeats main" in note
    assert "other repeats first with another result, 58.3 then 58.5" in note


def test_the_workspace_counts_if_it_is_a_run_of_its_own(
    experiments: Fabricated, tool: Tool
) -> None:
    experiments.experiment(params(seed=1), metrics(58.3))
    experiments.write(params(seed=2), metrics(57.6))
    (group,) = json.loads(tool("--json"))["groups"]
    assert [run["name"] for run in group["runs"]] == ["main", "exp-1", "workspace"]

    experiments.write(params(seed=7), None)  # only edited: the results are still those of seed 2
    (group,) = json.loads(tool("--json"))["groups"]
    assert [run["seeds"]["train.seed"] for run in group["runs"]] == [0, 1, 2]


def test_half_run_and_unmeasured_experiments_are_left_out(
    experiments: Fabricated, tool: Tool
) -> None:
    experiments.experiment(params(seed=1), metrics(58.3))
    experiments.experiment(params(seed=2), metrics(57.6), "only-trained", evaluated=False)
    experiments.experiment(params(seed=3), {"n": 5}, "unmeasured")

    table = json.loads(tool("--json"))

    assert table["groups"][0]["n"] == 2
    (note,) = table["notes"]
    assert "only-trained (models/classifier.safetensors changed between its stages" in note
    assert "unmeasured (no accuracy)" in note


def test_seeds_that_decide_on_the_data_are_said(experiments: Fabricated, tool: Tool) -> None:
    for seed in (1, 2):
        held_out = params(seed=seed, train__validation_fraction=0.1)
        experiments.experiment(held_out, metrics(58.3))
        experiments.experiment(params(seed=seed, download__seed=seed), metrics(58.3))
    notes = json.loads(tool("--json"))["notes"]
    assert notes == [
        "download.seed also decides on the test images within validation_fraction=0.0.",
        "train.seed also decides on the validation images within validation_fraction=0.1.",
    ]


def test_a_baseline_can_be_named_by_group_or_run(experiments: Fabricated, tool: Tool) -> None:
    two_groups(experiments)
    for name in ("label_smoothing=0.1", "exp-6"):
        groups = json.loads(tool("--json", "--baseline", name))["groups"]
        assert [group["group"] for group in groups] == [
            "label_smoothing=0.1",
            "label_smoothing=0.0",
        ]
        assert groups[1]["verdict"] == "worse"
    with pytest.raises(UserError, match=r"did you mean 'label_smoothing=0\.1'"):
        tool("--baseline", "label_smoothing=0.2")


def test_without_a_run_of_head_its_parameters_name_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool
) -> None:
    project = Fabricated(tmp_path / "new")
    project.start(params(), None)
    monkeypatch.chdir(project.path)
    with pytest.raises(UserError, match="no experiment of main has results"):
        tool()
    add(project, SMOOTHED, **SMOOTHING)
    add(project, SMOOTHED, recipes__quick__epochs=3)
    with pytest.raises(UserError, match="ambiguous: main has no results of its own, and no group"):
        tool()
    add(project, PLAIN)
    assert json.loads(tool("--json"))["groups"][0]["runs"][0]["value"] == PLAIN[0]


def test_outside_of_a_project_or_before_a_commit_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="not inside of a DVC repository"):
        tool()
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    with pytest.raises(UserError, match="commit first"):
        tool()


def test_queued_experiments_are_left_out(experiments: Fabricated, tool: Tool) -> None:
    experiments.experiment(params(seed=1), metrics(58.3))
    experiments.call(*DVC, "exp", "run", "--queue", "-n", "waiting", "-S", "train.seed=2")
    (note,) = json.loads(tool("--json"))["notes"]
    assert note == "Left out: waiting (queued)."


def test_what_dvc_ran_is_read_and_what_failed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool
) -> None:
    project = Fabricated(tmp_path / "real")
    project.start(params(), None, RUNNABLE)
    project.call(*DVC, "exp", "run", "--queue", "-S", "train.seed=1,2,9")
    subprocess.run([*DVC, "exp", "run", "--run-all"], cwd=project.path, check=False)
    monkeypatch.chdir(project.path)

    table = json.loads(tool("--json"))

    runs = table["groups"][0]["runs"]
    assert [(run["seeds"]["train.seed"], run["value"]) for run in runs] == [(1, 51), (2, 52)]
    (note,) = table["notes"]
    assert re.fullmatch(r"Left out: main \(not run\), [\w-]+ \(failed\)\.", note)
