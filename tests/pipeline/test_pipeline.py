"""The whole pipeline, run by DVC on digits: what runs when, what is restored, what is shown."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from checkout import OUTPUTS
from clone import Clone
from graph import GRAPH, outputs, paths
from helpers import snapshot, wait_until

LONGER: dict[str, Any] = {
    "train": {"seed": 7},
    "recipes": {"quick": {"epochs": 6}},
}  # is killed after the first epoch


def test_every_stage_runs_in_order(clone: Clone) -> None:
    assert sorted(clone.ran) == sorted(GRAPH["stages"])
    order = [
        ("download", "preview"),
        ("download", "train"),
        ("train", "test-sample"),
        ("train", "evaluate"),
    ]
    assert all(clone.ran.index(earlier) < clone.ran.index(later) for earlier, later in order)


def test_every_declared_file_is_written_and_every_report_is_declared(clone: Clone) -> None:
    assert [path for path in OUTPUTS if not (clone.path / path).exists()] == []
    reports = {
        f"reports/{name}" for name in snapshot(clone.path / "reports") if name != ".gitignore"
    }
    assert reports <= OUTPUTS.keys()
    for path in OUTPUTS:
        if path.endswith(".png"):
            Image.open(clone.path / path).load()
        elif path.endswith(".json"):
            json.loads((clone.path / path).read_text(encoding="utf-8"), parse_constant=pytest.fail)
        elif path.endswith(".csv"):
            lines = (clone.path / path).read_text(encoding="utf-8").splitlines()
            # Digits have no unreadable files and no duplicates to list below the header.
            assert len(lines) > (path not in {"reports/skipped.csv", "reports/duplicates.csv"})


def test_git_holds_the_small_files_and_ignores_the_others(clone: Clone) -> None:
    tracked = set(clone.call("git", "ls-files").splitlines())
    for path, options in OUTPUTS.items():
        assert (path in tracked) == (not options.get("cache", True)), path
    assert not [
        name for name in tracked if name.startswith((".dvc/cache", ".dvc/tmp", "data/arrays"))
    ]
    assert "dvc.lock" in tracked


def test_a_second_run_runs_nothing(base: Clone) -> None:
    before = base.outputs()
    assert base.repro() == []
    assert base.outputs() == before


def test_a_recipe_that_is_not_in_use_runs_nothing(base: Clone) -> None:
    base.set(recipes={"tutorial": {"epochs": 7, "learning_rate": 0.5}})
    assert base.repro() == []


def test_parameters_set_back_are_restored_and_not_trained_again(quick: Clone) -> None:
    before = quick.outputs()
    quick.set(recipes={"quick": {"learning_rate": 0.01}}, test_sample={"seed": 1})
    changes = json.loads(quick.dvc("params", "diff", "--json"))
    assert changes["params.yaml"]["recipes.quick.learning_rate"] == {
        "old": 0.05,
        "new": 0.01,
        "diff": -0.04,
    }
    assert changes["params.yaml"].keys() == {"recipes.quick.learning_rate", "test_sample.seed"}
    assert sorted(quick.repro()) == ["evaluate", "test-sample", "train"]
    after = quick.outputs()
    changed = {"models/classifier.safetensors/", "reports/history.csv/", "reports/predictions.csv/"}
    assert all(after[name] != before[name] for name in changed)
    assert all(after[name] == before[name] for name in before if name.startswith("data/"))
    assert "accuracy" in quick.dvc("metrics", "diff")

    quick.set(test_sample={"seed": 1})
    assert sorted(quick.repro()) == ["evaluate", "test-sample"]
    assert quick.printed.count("is cached - skipping run") == 1
    after = quick.outputs()
    assert {name for name in after if after[name] != before[name]} == {
        "reports/test_sample.png/",
        "reports/report.html/",
    }

    quick.set()
    assert quick.repro() == []
    assert quick.outputs() == before


def test_a_failing_stage_keeps_what_came_before(quick: Clone) -> None:
    before = quick.outputs()
    quick.set(recipes={"quick": {"learning_rate": 1e30}})
    printed = quick.dvc("repro", status=None)
    assert re.search(
        r"^error: the loss is .*; choose a lower learning_rate$", printed, re.MULTILINE
    )
    assert "Traceback" not in printed
    assert "Running stage 'evaluate'" not in printed
    quick.set()
    quick.dvc("checkout")
    cached = {path for path, options in OUTPUTS.items() if options.get("cache", True)}
    after = quick.outputs()
    for name in before:
        if any(name.startswith(f"{path}/") for path in cached):
            assert after[name] == before[name]
    quick.call("git", "checkout", "-q", "--", "reports")
    assert quick.outputs() == before
    assert quick.repro() == []


def test_parameters_are_checked_before_anything_is_removed(base: Clone) -> None:
    text = (base.path / "params.yaml").read_text(encoding="utf-8")
    (base.path / "params.yaml").write_text(text.replace("epochs:", "epoch:"), encoding="utf-8")
    line = base.call(sys.executable, "stages/preview.py", status=1)
    assert "recipes.quick.epoch: unknown key; did you mean 'epochs'?" in line


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_outputs_are_never_written_through_into_the_cache(quick: Clone, link: str) -> None:
    quick.dvc("config", "cache.type", link)
    quick.dvc("checkout", "--relink")
    for path in [
        "models/classifier.safetensors",
        "data/arrays/train_images.npy",
        "reports/preview.png",
    ]:
        file = quick.path / path
        assert file.is_symlink() if link == "symlink" else file.stat().st_nlink > 1
    cache = snapshot(quick.path / ".dvc" / "cache" / "files")
    before = quick.outputs()
    quick.set(download={"seed": 1}, train={"seed": 1}, preview={"seed": 1})
    for stage in ["download", "preview", "train"]:
        quick.call(sys.executable, f"stages/{stage}.py")
    after = quick.outputs()
    for name in [
        "data/arrays/train_labels.npy",
        "reports/preview.png/",
        "models/classifier.safetensors/",
    ]:
        assert after[name] != before[name]
    assert snapshot(quick.path / ".dvc" / "cache" / "files") == cache


def test_metrics_are_shown(clone: Clone) -> None:
    shown = json.loads(clone.dvc("metrics", "show", "--json"))[""]["data"]
    declared = {
        path
        for stage in GRAPH["stages"].values()
        for entry in stage.get("metrics", [])
        for path in entry
    }
    assert shown.keys() == declared
    for path, entry in shown.items():
        assert entry["data"] == json.loads((clone.path / path).read_text(encoding="utf-8"))
    assert 50 < shown["reports/metrics.json"]["data"]["accuracy"] <= 100


def test_exactly_the_declared_plots_are_shown(clone: Clone) -> None:
    shown = json.loads(clone.dvc("plots", "show", "--json"))
    assert "errors" not in shown
    of_stages = paths(
        [plot for stage in GRAPH["stages"].values() for plot in stage.get("plots", [])]
    )
    together = paths(GRAPH["plots"])
    assert shown["data"].keys() == of_stages.keys() | together.keys()
    for name, options in (of_stages | together).items():
        (plot,) = shown["data"][name]
        if name.endswith(".png"):
            assert plot["type"] == "image"
            assert Path(plot["url"]).read_bytes() == (clone.path / name).read_bytes()
        else:
            assert plot["type"] == "vega"
            assert plot["content"]["title"]["text"] == options["title"]
            values = plot["content"]["data"]["values"]
            assert values
            if isinstance(options["y"], dict):
                (columns,) = options["y"].values()
                assert {value["field"] for value in values} == set(columns)


def test_the_plots_are_a_page(clone: Clone) -> None:
    assert clone.dvc("plots", "show").strip().endswith("dvc_plots/index.html")
    html = (clone.path / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    images = re.findall(r'<img src="([^"]+)"', html)
    declared = [paths(stage.get("plots", [])) for stage in GRAPH["stages"].values()]
    assert len(images) == sum(path.endswith(".png") for plots in declared for path in plots)
    assert all((clone.path / "dvc_plots" / image).is_file() for image in images)


def test_the_graph_is_shown(clone: Clone) -> None:
    edges = set(re.findall(r'"([\w-]+)" -> "([\w-]+)"', clone.dvc("dag", "--dot")))
    assert edges == {
        ("download", "preview"),
        ("download", "train"),
        ("download", "test-sample"),
        ("download", "evaluate"),
        ("train", "test-sample"),
        ("train", "evaluate"),
        ("preview", "evaluate"),  # whose report shows what these two drew
        ("test-sample", "evaluate"),
    }


@pytest.fixture(scope="module")
def undisturbed(clone: Clone) -> dict[str, bytes]:
    """What a longer training writes that nobody disturbs, but for its speed."""
    clone.set(**LONGER)
    clone.dvc("repro", "train")
    written = written_by_train(clone)
    clone.restore()
    return written


def written_by_train(clone: Clone) -> dict[str, bytes]:
    return {
        path: (clone.path / path).read_bytes()
        for path in outputs("train").keys() - {"reports/timing.csv"}
    }


@pytest.mark.parametrize(
    "command", ["repro train", "exp run -S train.seed=7 -S recipes.quick.epochs=6 train"]
)
def test_a_kill_in_mid_training_leaves_nothing_to_repair(
    base: Clone, undisturbed: dict[str, bytes], command: str
) -> None:
    if command.startswith("repro"):
        base.set(**LONGER)
    shutil.rmtree(
        base.path / ".dvc" / "cache" / "runs"
    )  # or DVC would restore what an earlier run made
    state = base.path / "models" / "resume.state"
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *command.split()],
        cwd=base.path,
        env=base.environment,
        start_new_session=True,
    )
    wait_until(lambda: state.exists() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (base.path / "models" / "classifier.safetensors").exists()

    base.dvc(*command.split())
    assert "resuming after epoch" in base.errors
    if command.startswith("exp"):
        base.call("git", "switch", "-")  # DVC had left the branch while the experiment ran
    assert base.call("git", "branch", "--show-current") == "main\n"
    assert written_by_train(base) == undisturbed
    assert not state.exists()
