"""tools/compare.py --experiments: what it reads from DVC, and what it says, writes and draws."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_ind, ttest_rel

import compare
from common.errors import UserError
from fabricated import Fabricated, params

PLAIN = (57.9, 58.3, 57.6, 58.1, 57.8)
SMOOTHED = (58.9, 59.1, 58.4, 59.2, 58.8)
SMOOTHING: dict[str, Any] = {"recipes__quick__label_smoothing": 0.1}
# Serves as every stage: train fails with seed 9, evaluate measures 50 and the seed.
RUNNABLE = """
import json, pathlib, sys, yaml
seed = yaml.safe_load(open("params.yaml"))["train"]["seed"]
pathlib.Path("data/arrays").mkdir(exist_ok=True, parents=True)
if "download" in sys.argv[0]:
    sys.exit(pathlib.Path("data/arrays/train_images.npy").write_text("images") == 0)
pathlib.Path("models").mkdir(exist_ok=True)
pathlib.Path("reports").mkdir(exist_ok=True)
if "train" in sys.argv[0]:
    pathlib.Path("models/classifier.safetensors").write_text(str(seed))
    sys.exit(seed == 9)
seed = int(pathlib.Path("models/classifier.safetensors").read_text())
pathlib.Path("reports/metrics.json").write_text(json.dumps({"accuracy": 50 + seed}))
"""
DVC = (sys.executable, "-m", "dvc")
Tool = Callable[..., str]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("groups") / "project"
    Fabricated(path).start(params(), metrics(PLAIN[0]))
    return path


@pytest.fixture
def project(started: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fabricated:
    """HEAD is a run with seed 0; there are no experiments."""
    shutil.copytree(started, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return Fabricated(tmp_path / "project")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Return what the tool prints with these arguments."""

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["compare.py", "--experiments", *arguments])
        compare.main()
        return capsys.readouterr().out

    return call


def metrics(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy, "loss": 3 - accuracy / 50, "n": 10000}


def add(project: Fabricated, values: tuple[float, ...], start: int = 0, **changes: Any) -> None:
    """Add an experiment per value, with seeds from ``start`` on."""
    for seed, value in enumerate(values, start):
        project.experiment(params(seed=seed, **changes), metrics(value))


def two_groups(project: Fabricated) -> None:
    """Seeds 0 to 4 without label smoothing, of which HEAD is the first, and with it."""
    add(project, PLAIN[1:], start=1)
    add(project, SMOOTHED, **SMOOTHING)


def test_groups_with_the_same_seeds_are_compared_in_pairs(project: Fabricated, tool: Tool) -> None:
    two_groups(project)

    baseline, other = json.loads(tool("--json"))["groups"]

    assert (baseline["group"], baseline["baseline"], baseline["n"]) == (
        "label_smoothing=0.0",
        True,
        5,
    )
    assert [run["value"] for run in baseline["runs"]] == list(PLAIN)
    assert [run["seeds"]["train.seed"] for run in other["runs"]] == [0, 1, 2, 3, 4]
    expected = ttest_rel(SMOOTHED, PLAIN)
    assert (other["test"], other["p"]) == ("paired t", pytest.approx(expected.pvalue))
    low, high = expected.confidence_interval()
    assert (other["difference_low"], other["difference_high"]) == pytest.approx((low, high))
    assert (other["difference"], other["verdict"]) == (pytest.approx(0.94), "better")


def test_groups_with_other_seeds_are_compared_by_welch(project: Fabricated, tool: Tool) -> None:
    add(project, PLAIN[1:], start=1)
    add(project, SMOOTHED, start=5, **SMOOTHING)

    other = json.loads(tool("--json"))["groups"][1]

    expected = ttest_ind(SMOOTHED, PLAIN, equal_var=False)
    assert (other["test"], other["p"]) == ("Welch", pytest.approx(expected.pvalue))


def test_a_group_with_fewer_seeds_is_compared_by_those(project: Fabricated, tool: Tool) -> None:
    add(project, PLAIN[1:], start=1)
    add(project, SMOOTHED[1:4], start=1, **SMOOTHING)

    other = json.loads(tool("--json"))["groups"][1]

    expected = ttest_rel(SMOOTHED[1:4], PLAIN[1:4])
    assert (other["pairs"], other["p"]) == (3, pytest.approx(expected.pvalue))
    assert other["difference"] == pytest.approx((59.1 + 58.4 + 59.2 - 58.3 - 57.6 - 58.1) / 3)
    assert "fewer seeds than the baseline" in tool()


def test_less_loss_is_better(project: Fabricated, tool: Tool) -> None:
    two_groups(project)
    text = tool("--metric", "loss")
    assert "loss in nats, lower is better" in text
    (line,) = [line for line in text.splitlines() if line.endswith("  better")]
    assert "-0.0188" in line


def test_no_difference_shown_says_which_would_have_been(project: Fabricated, tool: Tool) -> None:
    add(project, PLAIN[1:], start=1)
    add(project, (57.8, 58.4, 57.7, 57.9, 57.9), **SMOOTHING)

    other = json.loads(tool("--json"))["groups"][1]
    text = tool()

    assert other["verdict"] == "no difference shown"
    assert f"{other['smallest_difference']:.2f}  no difference shown" in text
    assert "80 %" in text


def test_two_seeds_get_no_verdict(project: Fabricated, tool: Tool) -> None:
    add(project, PLAIN[1:], start=1)
    add(project, SMOOTHED[:2], **SMOOTHING)
    other = json.loads(tool("--json"))["groups"][1]
    assert (other["verdict"], other["p"], other["difference_low"]) == ("too few seeds", None, None)
    assert "range(0,5)" in tool()


def test_p_is_adjusted_for_the_number_of_groups(project: Fabricated, tool: Tool) -> None:
    two_groups(project)
    add(project, PLAIN, recipes__quick__epochs=3)
    add(project, SMOOTHED[:2], recipes__quick__epochs=4)  # too few: not a comparison

    table = json.loads(tool("--json"))

    assert table["comparisons"] == 2
    smoothed = table["groups"][1]
    assert smoothed["p_holm"] == pytest.approx(2 * smoothed["p"])
    same = table["groups"][2]
    assert (same["verdict"], same["p"]) == ("identical results", None)
    assert table["notes"][-1].endswith(
        "choose by validation images (train.validation_fraction above 0)."
    )
    assert "adjusted for 2 comparisons (Holm)" in tool()


def test_groups_are_chosen_by_validation_metrics(project: Fabricated, tool: Tool) -> None:
    for epochs in (3, 4):
        measured = metrics(58.0) | {"val_acc": 57.0, "val_loss": 1.2}
        project.experiment(params(recipes__quick__epochs=epochs), measured)
    said = "choose by --metric val_acc or val_loss"
    assert said in " ".join(tool().split())
    text = " ".join(tool("--metric", "val_acc", "--baseline", "exp-1").split())
    assert said not in text
    assert "main (no val_acc)" in text


def test_what_cannot_change_the_metric_makes_no_group(project: Fabricated, tool: Tool) -> None:
    project.experiment(params(seed=1, preview__images=9), metrics(58.3))
    project.experiment(params(seed=2, recipes__slow__epochs=11), metrics(57.6))
    project.experiment(params(seed=3, machine__device="cuda"), metrics(58.1))

    table = json.loads(tool("--json"))

    (group,) = table["groups"]
    assert (group["group"], group["n"]) == ("quick", 4)
    (note,) = table["notes"]
    assert note.startswith("machine.device is cpu or cuda")
    assert "nothing to compare it with" in tool()


def test_groups_are_named_by_what_distinguishes_them(project: Fabricated, tool: Tool) -> None:
    def names() -> list[str]:
        return [group["group"] for group in json.loads(tool("--json"))["groups"]]

    project.experiment(params(recipes__quick__micro_batch=50), metrics(58.0))
    assert names() == ["no micro_batch", "micro_batch=50"]
    project.experiment(params(recipes__quick__epochs=3), metrics(58.0))
    project.experiment(params("slow"), metrics(58.0))  # all of its keys are its own
    assert names() == [
        "recipe=quick, epochs=2",
        "recipe=quick, epochs=2, micro_batch=50",
        "recipe=quick, epochs=3",
        "recipe=slow",
    ]


def test_a_blank_value_is_not_a_missing_one(project: Fabricated, tool: Tool) -> None:
    project.experiment(params(recipes__quick__micro_batch=None), metrics(58.0))
    groups = json.loads(tool("--json"))["groups"]
    assert [group["group"] for group in groups] == ["no micro_batch", "micro_batch=null"]


def test_other_code_is_another_group(project: Fabricated, tool: Tool) -> None:
    add(project, PLAIN[1:], start=1)
    for seed, value in enumerate(SMOOTHED):
        code = {"stages/train.py": "abcdef" + "0" * 26}
        project.experiment(params(seed=seed), metrics(value), code=code)
    names = [group["group"] for group in json.loads(tool("--json"))["groups"]]
    assert names == ["stages/train.py@11111", "stages/train.py@abcde"]


def test_the_same_run_counts_once(project: Fabricated, tool: Tool) -> None:
    project.experiment(params(seed=0), metrics(PLAIN[0]), "again")
    project.experiment(params(seed=1), metrics(58.3), "first")
    project.experiment(params(seed=1), metrics(58.5), "other")

    table = json.loads(tool("--json"))

    assert [run["name"] for run in table["groups"][0]["runs"]] == ["main", "first"]
    (note,) = table["notes"]
    assert "again repeats main" in note
    assert "other repeats first with another result, 58.3 then 58.5" in note


def test_the_workspace_counts_if_it_is_a_run_of_its_own(project: Fabricated, tool: Tool) -> None:
    project.experiment(params(seed=1), metrics(58.3))
    project.write(params(seed=2), metrics(57.6))
    (group,) = json.loads(tool("--json"))["groups"]
    assert [run["name"] for run in group["runs"]] == ["main", "exp-1", "workspace"]

    project.write(params(seed=7), None)  # only edited: the results are still those of seed 2
    (group,) = json.loads(tool("--json"))["groups"]
    assert [run["seeds"]["train.seed"] for run in group["runs"]] == [0, 1, 2]


def test_half_run_and_unmeasured_experiments_are_left_out(project: Fabricated, tool: Tool) -> None:
    project.experiment(params(seed=1), metrics(58.3))
    project.experiment(params(seed=2), metrics(57.6), "only-trained", evaluated=False)
    project.experiment(params(seed=3), {"n": 5}, "unmeasured")

    table = json.loads(tool("--json"))

    assert table["groups"][0]["n"] == 2
    (note,) = table["notes"]
    assert "only-trained (models/classifier.safetensors changed between its stages" in note
    assert "unmeasured (no accuracy)" in note


def test_seeds_that_decide_on_the_data_are_said(project: Fabricated, tool: Tool) -> None:
    for seed in (1, 2):
        held_out = params(seed=seed, train__validation_fraction=0.1)
        project.experiment(held_out, metrics(58.3))
        project.experiment(params(seed=seed, download__seed=seed), metrics(58.3))
    notes = json.loads(tool("--json"))["notes"]
    assert notes == [
        "download.seed also decides on the test images within validation_fraction=0.0.",
        "train.seed also decides on the validation images within validation_fraction=0.1.",
    ]


def test_a_baseline_can_be_named_by_group_or_run(project: Fabricated, tool: Tool) -> None:
    two_groups(project)
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
    with pytest.raises(UserError, match="no experiment has results"):
        tool()
    add(project, SMOOTHED, **SMOOTHING)
    add(project, SMOOTHED, recipes__quick__epochs=3)
    with pytest.raises(UserError, match="ambiguous: main has no results of its own, and no group"):
        tool()
    add(project, PLAIN)
    assert json.loads(tool("--json"))["groups"][0]["runs"][0]["value"] == PLAIN[0]


def test_an_unknown_metric_names_the_choices(project: Fabricated, tool: Tool) -> None:
    project.experiment(params(seed=1), metrics(58.3))
    with pytest.raises(UserError, match=r"did you mean 'accuracy'.* choose from accuracy, loss$"):
        tool("--metric", "acuracy")


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


def test_csv_holds_what_json_holds(project: Fabricated, tool: Tool) -> None:
    two_groups(project)
    rows = list(csv.DictReader(io.StringIO(tool("--csv"))))
    for row, group in zip(rows, json.loads(tool("--json"))["groups"], strict=True):
        assert row["group"] == group["group"]
        for key in ("n", "mean", "sd", "mean_low"):
            assert float(row[key]) == pytest.approx(group[key], rel=1e-4)
        assert row["verdict"] == (group["verdict"] or "")


def test_twelve_groups_with_long_and_odd_names_fit(project: Fabricated, tool: Tool) -> None:
    add(project, PLAIN[1:3], start=1)
    for number in range(11):
        odd = f"sgd\x1b[31m\u202e\n{number}"
        changes: dict[str, Any] = {"recipes__quick__optimizer__name": odd}
        add(project, SMOOTHED[:3], recipes__quick__epochs=number, **changes)

    text = tool("--figure", "groups.png")

    assert len(json.loads(tool("--json"))["groups"]) == 12
    assert max(map(len, text.splitlines())) <= 100
    assert not set(text) & {"\x1b", "\u202e"}
    with Image.open("groups.png") as image:
        assert image.width < image.height  # a row per group


def test_figure_shows_each_seed_and_the_interval(project: Fabricated) -> None:
    from comparison.experiments import read_runs
    from comparison.figure import group_figure
    from comparison.verdicts import tabulate

    two_groups(project)
    table = tabulate(read_runs(), "accuracy", None)

    (axes,) = group_figure(table).axes

    lines = [np.asarray(line.get_xdata(), float) for line in axes.lines]
    dots = [sorted(line) for line in lines if len(line) == 5]
    assert dots == [sorted(PLAIN), sorted(SMOOTHED)]
    bars = [np.asarray(bar.get_paths()[0].vertices)[:, 0] for bar in axes.collections]
    assert bars[1] == pytest.approx([table.rows[1].mean_low, table.rows[1].mean_high])
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "label_smoothing=0.0\nn = 5, baseline",
        "label_smoothing=0.1\nn = 5, better\n+0.94 (+0.77 to +1.11)",
    ]


def test_options_that_do_not_go_together(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for arguments in (["HEAD"], ["--json", "--csv"], ["--figure", str(tmp_path / "no" / "a.png")]):
        with pytest.raises(UserError):
            tool(*arguments)
    monkeypatch.setattr(sys, "argv", ["compare.py", "--metric", "loss"])
    with pytest.raises(UserError, match="add --experiments"):
        compare.main()


def test_queued_experiments_are_left_out(project: Fabricated, tool: Tool) -> None:
    project.experiment(params(seed=1), metrics(58.3))
    project.call(*DVC, "exp", "run", "--queue", "-n", "waiting", "-S", "train.seed=2")
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
