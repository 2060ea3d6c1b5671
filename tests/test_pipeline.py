"""The whole pipeline, run by DVC in a clone of its own on digits: what runs when, what is restored, what is shown."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from helpers import ROOT, merge, snapshot, wait_until
from test_graph import GRAPH, outputs, paths

BASE: dict[str, Any] = {
    "download": {"dataset": "digits", "source": None, "image_size": 32, "seed": 0},
    "train": {"recipe": "quick", "seed": 0, "device": "cpu", "threads": 1},
    "test_sample": {"seed": 0},
    "evaluate": {"device": "cpu"},
    "recipes": {"quick": {"learning_rate": 0.05}},  # few pictures need large steps
}
OUTPUTS = {path: options for stage in GRAPH["stages"] for path, options in outputs(stage).items()}


@dataclass
class Clone:
    """A checkout in which the pipeline has run once."""

    path: Path
    environment: dict[str, str]
    ran: list[str]
    printed: str
    errors: str = ""

    def call(self, *command: str, status: int | None = 0) -> str:
        """What a command prints; ``status`` None for any but 0."""
        done = subprocess.run(
            command, cwd=self.path, env=self.environment, capture_output=True, encoding="utf-8", check=False
        )
        self.errors = done.stderr
        assert done.returncode == status if status is not None else done.returncode, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stdout + done.stderr

    def dvc(self, *arguments: str, status: int | None = 0) -> str:
        return self.call(sys.executable, "-m", "dvc", *arguments, status=status)

    def repro(self) -> list[str]:
        """Names of the stages that ``dvc repro`` ran."""
        self.printed = self.dvc("repro")
        return re.findall(r"Running stage '([\w-]+)'", self.printed)

    def set(self, **changes: dict[str, Any]) -> None:
        """The parameters of the first run, with ``changes``."""
        params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        merge(params, BASE)
        merge(params, changes)
        (self.path / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")

    def outputs(self) -> dict[str, bytes]:
        """Every declared output, by path; of a directory its files."""
        return {
            f"{path}/{name}": content
            for path in OUTPUTS
            if (self.path / path).exists()
            for name, content in snapshot(self.path / path).items()
        }


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone of the working tree, in a path with spaces and umlauts (fault 56)."""
    home = tmp_path_factory.mktemp("home")
    path = tmp_path_factory.mktemp("pipeline") / "mein Ordner für Bilder"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in files:
        if name and name != "dvc.lock" and name not in OUTPUTS and (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # dvc.yaml's python
        "HOME": str(home),
        "DVC_GLOBAL_CONFIG_DIR": str(home),
        "DVC_SYSTEM_CONFIG_DIR": str(home),
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "PYTHONIOENCODING": "utf-8",
        "OMP_NUM_THREADS": "1",  # on a busy machine threads that wait for each other take many times as long
    }
    clone = Clone(path, environment, [], "")
    clone.set()
    clone.call("git", "init", "-q")
    clone.call("git", "config", "user.email", "test@localhost")
    clone.call("git", "config", "user.name", "test")
    clone.call("git", "add", ".")
    clone.call("git", "commit", "-qm", "before")
    clone.ran = clone.repro()
    clone.call("git", "add", ".")
    clone.call("git", "commit", "-qm", "after the first run")
    return clone


@pytest.fixture
def base(clone: Clone) -> Iterator[Clone]:
    """The clone with the first run's parameters and outputs, and back to them afterwards."""
    yield clone
    clone.set()
    clone.call("git", "checkout", "-q", "--", ".")
    clone.dvc("checkout", "--force", "--quiet")


def test_56_every_stage_runs_in_order(clone: Clone) -> None:
    assert sorted(clone.ran) == sorted(GRAPH["stages"])
    order = [("download", "preview"), ("download", "train"), ("train", "test-sample"), ("train", "evaluate")]
    assert all(clone.ran.index(earlier) < clone.ran.index(later) for earlier, later in order)


def test_every_declared_file_is_written_and_every_report_is_declared(clone: Clone) -> None:
    assert [path for path in OUTPUTS if not (clone.path / path).exists()] == []
    reports = {f"reports/{name}" for name in snapshot(clone.path / "reports") if name != ".gitignore"}
    assert reports <= OUTPUTS.keys()
    for path in OUTPUTS:
        if path.endswith(".png"):
            Image.open(clone.path / path).load()
        elif path.endswith(".json"):
            json.loads((clone.path / path).read_text(encoding="utf-8"), parse_constant=pytest.fail)
        elif path.endswith(".csv"):
            assert (clone.path / path).read_text(encoding="utf-8").count("\n") > 1


def test_git_holds_the_small_files_and_ignores_the_others(clone: Clone) -> None:
    tracked = set(clone.call("git", "ls-files").splitlines())
    for path, options in OUTPUTS.items():
        assert (path in tracked) == (not options.get("cache", True)), path
    assert not [name for name in tracked if name.startswith((".dvc/cache", ".dvc/tmp", "data/images"))]
    assert "dvc.lock" in tracked


def test_51_a_second_run_runs_nothing(base: Clone) -> None:
    before = base.outputs()
    assert base.repro() == []
    assert base.outputs() == before


def test_another_sample_of_test_pictures_runs_one_stage(base: Clone) -> None:
    before = base.outputs()
    base.set(test_sample={"seed": 1})
    assert base.repro() == ["test-sample"]
    after = base.outputs()
    assert {name for name in after if after[name] != before[name]} == {"reports/test_sample.png/"}


def test_a_recipe_that_is_not_in_use_runs_nothing(base: Clone) -> None:
    base.set(recipes={"tutorial": {"epochs": 7, "learning_rate": 0.5}})
    assert base.repro() == []


def test_54_a_parameter_set_back_is_restored_and_not_trained_again(base: Clone) -> None:
    before = base.outputs()
    base.set(recipes={"quick": {"learning_rate": 0.01}})
    changes = json.loads(base.dvc("params", "diff", "--json"))
    assert changes == {"params.yaml": {"recipes.quick.learning_rate": {"old": 0.05, "new": 0.01, "diff": -0.04}}}
    assert sorted(base.repro()) == ["evaluate", "test-sample", "train"]
    after = base.outputs()
    changed = {"models/classifier.safetensors/", "reports/history.csv/", "reports/predictions.csv/"}
    assert all(after[name] != before[name] for name in changed)
    assert all(after[name] == before[name] for name in before if name.startswith("data/"))
    assert "accuracy" in base.dvc("metrics", "diff")

    base.set()
    assert base.repro() == []
    assert base.printed.count("is cached - skipping run") == 3
    assert base.outputs() == before


def test_53_a_failing_stage_keeps_what_came_before(base: Clone) -> None:
    before = base.outputs()
    base.set(recipes={"quick": {"learning_rate": 1e30}})
    printed = base.dvc("repro", status=None)
    assert re.search(r"^error: the loss is .*; choose a lower learning_rate$", printed, re.MULTILINE)
    assert "Traceback" not in printed
    assert "Running stage 'evaluate'" not in printed
    base.set()
    base.dvc("checkout")
    cached = {path for path, options in OUTPUTS.items() if options.get("cache", True)}
    after = base.outputs()
    for name in before:
        if any(name.startswith(f"{path}/") for path in cached):
            assert after[name] == before[name]
    base.call("git", "checkout", "-q", "--", "reports")
    assert base.outputs() == before
    assert base.repro() == []


def test_20_parameters_are_checked_before_anything_is_removed(base: Clone) -> None:
    text = (base.path / "params.yaml").read_text(encoding="utf-8")
    (base.path / "params.yaml").write_text(text.replace("epochs:", "epoch:"), encoding="utf-8")
    line = base.call(sys.executable, "stages/preview.py", status=1)
    assert "recipes.quick.epoch: unknown key; did you mean 'epochs'?" in line


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_55_outputs_are_never_written_through_into_the_cache(base: Clone, link: str) -> None:
    base.dvc("config", "cache.type", link)
    base.dvc("checkout", "--relink")
    for path in ["models/classifier.safetensors", "data/images/train_images.npy", "reports/preview.png"]:
        file = base.path / path
        assert file.is_symlink() if link == "symlink" else file.stat().st_nlink > 1
    cache = snapshot(base.path / ".dvc" / "cache" / "files")
    before = base.outputs()
    base.set(download={"seed": 1}, train={"seed": 1}, preview={"seed": 1})
    for stage in ["download", "preview", "train"]:
        base.call(sys.executable, f"stages/{stage}.py")
    after = base.outputs()
    for name in ["data/images/train_labels.npy", "reports/preview.png/", "models/classifier.safetensors/"]:
        assert after[name] != before[name]
    assert snapshot(base.path / ".dvc" / "cache" / "files") == cache


def test_metrics_are_shown(clone: Clone) -> None:
    shown = json.loads(clone.dvc("metrics", "show", "--json"))[""]["data"]
    declared = {path for stage in GRAPH["stages"].values() for entry in stage.get("metrics", []) for path in entry}
    assert shown.keys() == declared
    for path, entry in shown.items():
        assert entry["data"] == json.loads((clone.path / path).read_text(encoding="utf-8"))
    assert 50 < shown["reports/metrics.json"]["data"]["accuracy"] <= 100


def test_exactly_the_declared_plots_are_shown(clone: Clone) -> None:
    shown = json.loads(clone.dvc("plots", "show", "--json"))
    assert "errors" not in shown
    of_stages = paths([plot for stage in GRAPH["stages"].values() for plot in stage.get("plots", [])])
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
            assert plot["content"]["data"]["values"]


def test_the_plots_are_a_page(clone: Clone) -> None:
    assert clone.dvc("plots", "show").strip().endswith("dvc_plots/index.html")
    html = (clone.path / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img src="([^"]+)"', html)
    assert len(pictures) == len([path for path in OUTPUTS if path.endswith(".png")])
    assert all((clone.path / "dvc_plots" / picture).is_file() for picture in pictures)


def test_the_graph_is_shown(clone: Clone) -> None:
    edges = set(re.findall(r'"([\w-]+)" -> "([\w-]+)"', clone.dvc("dag", "--dot")))
    assert edges == {
        ("download", "preview"),
        ("download", "train"),
        ("download", "test-sample"),
        ("download", "evaluate"),
        ("train", "test-sample"),
        ("train", "evaluate"),
    }


def test_52_a_kill_in_mid_training_leaves_nothing_to_repair(base: Clone) -> None:
    slow: dict[str, dict[str, Any]] = {
        "train": {"seed": 7, "checkpoint_minutes": 1e-6},
        "recipes": {"quick": {"epochs": 12}},
    }
    base.set(**slow)
    assert "train" in base.repro()
    undisturbed = base.outputs()
    base.set()
    base.repro()

    base.set(**slow)
    shutil.rmtree(base.path / ".dvc" / "cache" / "runs")  # or DVC would restore what the first run made
    state = base.path / "models" / "resume.state"
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "train"], cwd=base.path, env=base.environment, start_new_session=True
    )
    wait_until(lambda: state.exists() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (base.path / "models" / "classifier.safetensors").exists()

    assert "train" in base.repro()
    assert "carrying on after epoch" in base.errors
    same = [path for path in undisturbed if not path.startswith("reports/timing.csv")]
    assert {path: base.outputs()[path] for path in same} == {path: undisturbed[path] for path in same}
    assert not state.exists()
