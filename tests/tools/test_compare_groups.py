"""tools/compare.py --experiments: verdicts, and how they are printed, written and drawn."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_ind, ttest_rel

import compare
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


def test_groups_with_the_same_seeds_are_compared_in_pairs(
    experiments: Fabricated, tool: Tool
) -> None:
    two_groups(experiments)

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


def test_groups_with_other_seeds_are_compared_by_welch(experiments: Fabricated, tool: Tool) -> None:
    add(experiments, PLAIN[1:], start=1)
    add(experiments, SMOOTHED, start=5, **SMOOTHING)

    other = json.loads(tool("--json"))["groups"][1]

    expected = ttest_ind(SMOOTHED, PLAIN, equal_var=False)
    assert (other["test"], other["p"]) == ("Welch", pytest.approx(expected.pvalue))


def test_a_group_with_fewer_seeds_is_compared_by_those(experiments: Fabricated, tool: Tool) -> None:
    add(experiments, PLAIN[1:], start=1)
    add(experiments, SMOOTHED[1:4], start=1, **SMOOTHING)

    other = json.loads(tool("--json"))["groups"][1]

    expected = ttest_rel(SMOOTHED[1:4], PLAIN[1:4])
    assert (other["pairs"], other["p"]) == (3, pytest.approx(expected.pvalue))
    assert other["difference"] == pytest.approx((59.1 + 58.4 + 59.2 - 58.3 - 57.6 - 58.1) / 3)
    assert "fewer seeds than the baseline" in tool()


def test_less_loss_is_better(experiments: Fabricated, tool: Tool) -> None:
    two_groups(experiments)
    text = tool("--metric", "loss")
    assert "loss in nats, lower is better" in text
    (line,) = [line for line in text.splitlines() if line.endswith("  better")]
    assert "-0.0188" in line


def test_no_difference_shown_says_which_would_have_been(
    experiments: Fabricated, tool: Tool
) -> None:
    add(experiments, PLAIN[1:], start=1)
    add(experiments, (57.8, 58.4, 57.7, 57.9, 57.9), **SMOOTHING)

    other = json.loads(tool("--json"))["groups"][1]
    text = tool()

    assert other["verdict"] == "no difference shown"
    assert f"{other['smallest_difference']:.2f}  no difference shown" in text
    assert "80 %" in text


def test_two_seeds_get_no_verdict(experiments: Fabricated, tool: Tool) -> None:
    add(experiments, PLAIN[1:], start=1)
    add(experiments, SMOOTHED[:2], **SMOOTHING)
    other = json.loads(tool("--json"))["groups"][1]
    assert (other["verdict"], other["p"], other["difference_low"]) == ("too few seeds", None, None)
    assert "range(0,5)" in tool()


def test_p_is_adjusted_for_the_number_of_groups(experiments: Fabricated, tool: Tool) -> None:
    two_groups(experiments)
    add(experiments, PLAIN, recipes__quick__epochs=3)
    add(experiments, SMOOTHED[:2], recipes__quick__epochs=4)  # too few: not a comparison

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


def test_groups_are_chosen_by_validation_metrics(experiments: Fabricated, tool: Tool) -> None:
    for epochs in (3, 4):
        measured = metrics(58.0) | {"val_acc": 57.0, "val_loss": 1.2}
        experiments.experiment(params(recipes__quick__epochs=epochs), measured)
    said = "choose by --metric val_acc or val_loss"
    assert said in " ".join(tool().split())
    text = " ".join(tool("--metric", "val_acc", "--baseline", "exp-1").split())
    assert said not in text
    assert "main (no val_acc)" in text


def test_an_unknown_metric_names_the_choices(experiments: Fabricated, tool: Tool) -> None:
    experiments.experiment(params(seed=1), metrics(58.3))
    with pytest.raises(UserError, match=r"did you mean 'accuracy'.* choose from accuracy, loss$"):
        tool("--metric", "acuracy")


def test_csv_holds_what_json_holds(experiments: Fabricated, tool: Tool) -> None:
    two_groups(experiments)
    rows = list(csv.DictReader(io.StringIO(tool("--csv"))))
    for row, group in zip(rows, json.loads(tool("--json"))["groups"], strict=True):
        assert row["group"] == group["group"]
        for key in ("n", "mean", "sd", "mean_low"):
            assert float(row[key]) == pytest.approx(group[key], rel=1e-4)
        assert row["verdict"] == (group["verdict"] or "")


def test_twelve_groups_with_long_and_odd_names_fit(experiments: Fabricated, tool: Tool) -> None:
    add(experiments, PLAIN[1:3], start=1)
    for number in range(11):
        odd = f"sgd\x1b[31m\u202e\n{number}"
        changes: dict[str, Any] = {"recipes__quick__optimizer__name": odd, "machine__device": odd}
        add(experiments, SMOOTHED[:3], recipes__quick__epochs=number, **changes)

    text = tool("--figure", "groups.png")

    assert len(json.loads(tool("--json"))["groups"]) == 12
    assert max(map(len, text.splitlines())) <= 100
    assert not set(text) & {"\x1b", "\u202e"}
    with Image.open("groups.png") as image:
        assert image.width < image.height  # a row per group


def test_figure_shows_each_seed_and_the_interval(experiments: Fabricated) -> None:
    from comparison.experiments import read_runs
    from comparison.figure import group_figure
    from comparison.verdicts import tabulate

    two_groups(experiments)
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
