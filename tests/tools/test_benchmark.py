"""tools/benchmark.py compares what it says it compares; memory does not grow with the images."""

import argparse
import contextlib
import io
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import sem, t

import benchmark
import evaluate
from benchmarking import augmentation, comparisons, few, process, project
from benchmarking.process import Result
from common.params import load_params
from common.yaml12 import read_yaml
from helpers import STAGES, encode, lay_out, refused, write_params
from project import Project

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the system does not tell a process's largest memory"
)


def options(**changes: Any) -> argparse.Namespace:
    defaults = {"images": 40, "arrays": None, "recipes": ["quick"], "epochs": 1, "seeds": [0]}
    return argparse.Namespace(**{**defaults, **changes})


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run stages in this process; each takes a second and 100 MB more than the last one.

    Returns their names.
    """
    ran: list[str] = []
    monkeypatch.setattr(evaluate, "save_figure", lambda *_: None)  # nobody looks at these charts

    def call(folder: Path, script: Path) -> Result:
        with contextlib.redirect_stdout(io.StringIO()):
            Project(folder).call(script.stem)
        ran.append(script.stem)
        return Result(len(ran), 2 * len(ran), 100 * len(ran))

    monkeypatch.setattr(process, "call", call)
    return ran


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_training_against_the_usual_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user runs it, with generated images and processes."""
    arguments = ["training", "--images=60", "--repeats=1", "--epochs=1"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
    benchmark.main()
    machine, titles, _, usual, ours = [
        line for line in capsys.readouterr().out.splitlines() if line
    ]
    assert re.search(r"^\d+ cores, .+, \d+ GB, \w+, Python 3\.\d+\.\d+, torch ", machine)
    columns = ["training", "seconds", "images per second", "peak memory, MB", "times as fast"]
    assert cells(titles) == columns
    assert (cells(usual)[0], cells(usual)[-1]) == ("the usual loop", "1")
    assert cells(ours)[0] == "train, recipe `tutorial`"
    assert all(float(number) > 0 for line in (usual, ours) for number in cells(line)[2:])


def test_the_pipeline_against_the_usual_script(
    prepared_once: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC runs every stage, also where nothing has changed; the times are made up."""
    repeated, measured = [], process.call

    def call(folder: Path, *command: str | Path | int) -> Result:
        if "repro" in command:
            repeated.append("-f" in command)
            for figure in (folder / "reports").glob("*.png"):
                figure.unlink()
        result = measured(folder, *command)
        if "repro" in command:
            figures = {path.name for path in (folder / "reports").glob("*.png")}
            assert {"preview.png", "history.png", "test_sample.png", "confusion.png"} <= figures
            return replace(result, seconds=5.0)
        return replace(result, seconds=10.0)

    monkeypatch.setattr(process, "call", call)
    arguments = ["pipeline", f"--arrays={prepared_once.images}", "--repeats=1", "--epochs=1"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
    benchmark.main()
    lines = [cells(line) for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert lines[0] == ["pipeline", "training images", "seconds", "times the usual"]
    assert lines[2:] == [
        ["the usual script", "1,444", "10.0", "1.0"],
        ["recipe `tutorial`, by `dvc repro`", "1,444", "5.0", "0.5"],
    ]
    assert repeated == [True]


def test_memory_is_the_process_s_own_and_not_that_of_the_one_that_started_it(
    tmp_path: Path,
) -> None:
    held = bytearray(random.Random(0).randbytes(200_000_000))
    (tmp_path / "small.py").write_text("pass")
    (tmp_path / "large.py").write_text(
        "import sys; sum(range(10**6)); bytearray(b'x') * 150_000_000"
    )
    small, large = (process.call(tmp_path, tmp_path / name) for name in ("small.py", "large.py"))
    assert small.peak_mb < 50 < len(held) / 1e6
    assert 145 < large.peak_mb - small.peak_mb < 155
    assert large.cpu_seconds > 0
    assert small.seconds > 0


def test_a_stage_that_fails_ends_the_benchmark_with_its_line(tmp_path: Path) -> None:
    write_params(tmp_path)
    line = refused(lambda: process.call(tmp_path, STAGES / "preview.py"))
    assert re.search(r"preview\.py failed: error: .*run the download stage first", line)


def test_accuracy_is_that_of_the_test_images_for_each_seed(
    prepared_once: Project, tmp_path: Path, in_process: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    correct, count = [], len(np.load(prepared_once.images / "test_labels.npy"))
    evaluated = process.call

    def call(folder: Path, script: Path) -> Result:
        result = evaluated(folder, script)
        if script.stem == "evaluate":
            rows = pd.read_csv(folder / "reports" / "predictions.csv")
            correct.append(round(100 * float((rows["actual"] == rows["predicted"]).mean()), 2))
            assert len(rows) == count
        return result

    monkeypatch.setattr(process, "call", call)
    seconds = iter([6.0, 2.0, 4.0, 1.0])
    monkeypatch.setattr(process, "read_timing", lambda folder: pd.Series([next(seconds)]))
    names = ["tutorial", "quick"]
    rows = comparisons.accuracy(
        tmp_path, options(arrays=prepared_once.images, recipes=names, seeds=[0, 1])
    )
    assert in_process == ["train", "evaluate"] * 4
    for row, of_recipe, trained, fast in zip(
        rows, (correct[::2], correct[1::2]), (5, 1.5), (1, 3.5), strict=True
    ):
        assert row["test accuracy, %"] == ", ".join(map(str, of_recipe))
        assert row["mean"] == round(sum(of_recipe) / 2, 1)
        assert (row["seeds"], row["seconds of training"]) == ("0, 1", trained)
        assert row["times as fast as `tutorial`"] == fast
    assert len(set(correct)) > 1


def test_accuracy_needs_real_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "accuracy"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "required: --arrays" in capsys.readouterr().err


def test_recipes_train_one_epoch_each(tmp_path: Path, in_process: list[str]) -> None:
    rows = comparisons.recipes(tmp_path, options(recipes=["quick", "tutorial"], repeats=2))
    assert in_process == ["download", *["train"] * 4]
    assert [row["recipe"] for row in rows] == ["`quick`", "`tutorial`"]
    assert len(pd.read_csv(tmp_path / "reports" / "history.csv")) == 1
    params = load_params(tmp_path / "params.yaml")
    assert (params.train.recipe, params.recipe.epochs) == ("tutorial", 1)


def test_augmentation_in_batches_against_torchvision_s_per_image(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(augmentation, "SIZES", {8: (6, 3), 16: (4, 4)})
    monkeypatch.setattr(augmentation, "keep_freed_memory", lambda: None)
    times = iter([(4.0, 12.0), (2.0, 6.0), (1.0, 1.0)] * 2)

    def time_of(work: Callable[[], object]) -> tuple[float, float]:
        work()
        return next(times)

    monkeypatch.setattr(augmentation, "time_of", time_of)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "augmentation", "--repeats=1"])
    benchmark.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert cells(lines[1])[2:] == ["images per second", "CPU ms per image", "times as fast"]
    assert [cells(line)[2:] for line in lines[3:6]] == [
        ["2", "2000.0", "1.0"],  # 6 images in 4 seconds, 12 of processors
        ["3", "1000.0", "2.0"],
        ["6", "166.667", "4.0"],
    ]
    assert [cells(line)[0] for line in lines[3:]] == ["8"] * 3 + ["16"] * 3


def test_processor_time_is_also_that_of_processes() -> None:
    command = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.4: pass"]
    _, worked = augmentation.time_of(lambda: subprocess.run(command, check=True))
    assert worked >= 0.3


def test_growth_is_relative_to_the_fewest_images(tmp_path: Path, in_process: list[str]) -> None:
    rows = comparisons.growth(tmp_path, options(times=[1, 3]))
    assert in_process == ["download", "train", "evaluate"] * 2
    dataset = json.loads((tmp_path / "data" / "arrays" / "dataset.json").read_text())
    assert dataset["counts"] == {"train": 120, "test": 24}
    # Three times the images in 4, 5, 6 seconds against 1, 2, 3.
    found = [tuple(row.values()) for row in rows]
    assert found == [
        ("download", "40", 1, 2, "1.00 times", 100, "+0 %"),
        ("download", "120", 4, 8, "1.33 times", 400, "+300 %"),
        ("train", "40", 2, 4, "1.00 times", 200, "+0 %"),
        ("train", "120", 5, 10, "0.83 times", 500, "+150 %"),
        ("evaluate", "40", 3, 6, "1.00 times", 300, "+0 %"),
        ("evaluate", "120", 6, 12, "0.67 times", 600, "+100 %"),
    ]


def test_generated_images_are_as_many_as_they_should_be_and_no_two_alike(tmp_path: Path) -> None:
    folder = project.generate_images(tmp_path, 30)
    contents = {path: path.read_bytes() for path in folder.rglob("*.jpg")}
    assert Counter(path.parent.relative_to(folder).as_posix() for path in contents) == {
        f"{split}/{label}": count
        for split, count in [("train", 3), ("test", 1)]
        for label in range(10)
    }
    assert len(set(contents.values())) == 40
    assert {Image.open(path).size for path in contents} == {(32, 32)}


def test_recipes_that_fetch_weights_are_left_out_with_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    networks: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"pretrained": True},
        "c": {"pretrained": False},
    }
    recipes = {name: {"network": network} for name, network in networks.items()}
    assert comparisons.without_network(recipes) == ["a", "c"]
    assert capsys.readouterr().err == "left out, since their weights come from the network: b\n"


def test_five_times_the_images_take_little_more_memory_to_convert(tmp_path: Path) -> None:
    """The larger array is 59 MB, nearly as much as the process."""
    peaks = []
    for count in (300, 1500):
        noise = np.random.default_rng(0).integers(0, 256, (count, 16, 16), np.uint8)
        names = [f"{label}/{index}.png" for label in ("cat", "dog") for index in range(count // 2)]
        images = [encode(Image.fromarray(each)) for each in noise]
        source = lay_out(tmp_path / str(count), dict(zip(names, images, strict=True)))
        changes = {"dataset": "folder", "source": str(source), "image_size": 128}
        write_params(tmp_path, {"download": changes})
        peaks.append(process.call(tmp_path, STAGES / "download.py").peak_mb)
    assert (tmp_path / "data" / "arrays" / "train_images.npy").stat().st_size > 4.5e7
    assert peaks[1] < 1.2 * peaks[0]


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A folder with train/ and test/ of two classes, nine and five images each."""
    rng = np.random.default_rng(0)
    lay_out(
        tmp_path / "source",
        {
            f"{split}/{name}/{number}.png": encode(
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
            )
            for split, count in (("train", 9), ("test", 5))
            for name in ("cat", "dog")
            for number in range(count)
        },
    )
    return tmp_path / "source"


def few_options(source: Path, **changes: Any) -> argparse.Namespace:
    return options(
        source=source, per_class=[3, 6], test_per_class=4, seeds=[0, 1, 2], weights=None, **changes
    )


@pytest.mark.usefixtures("in_process")
def test_few_trains_on_so_many_images_and_tells_each_accuracy(
    noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[str], set[str], float]] = []

    def read_and_see(path: Path) -> Any:
        content = read_yaml(path)
        if path.name == "metrics.json":
            train, test = (
                set((tmp_path / f"data/arrays/{split}_files.jsonl").read_text().splitlines())
                for split in ("train", "test")
            )
            seen.append((train, test, content["accuracy"]))
        return content

    monkeypatch.setattr("benchmarking.few.read_yaml", read_and_see)
    rows = few.few(tmp_path, few_options(noise))

    assert [len(train) for train, *_ in seen] == [6] * 3 + [12] * 3
    assert len({frozenset(test) for _, test, _ in seen}) == 1
    assert len({frozenset(train) for train, *_ in seen}) > 3  # a seed chooses the images
    for row, count, runs in zip(rows, (3, 6), (seen[:3], seen[3:]), strict=True):
        values = [accuracy for *_, accuracy in runs]
        assert row["images per class"] == count
        assert row["test accuracy, %"] == ", ".join(map(str, values))
        assert str(row["mean (95 % interval)"]).startswith(f"{np.mean(values):.1f} (")


def test_few_gives_the_mean_and_student_s_interval() -> None:
    values = [75.25, 73.65, 75.2, 73.1, 75.7]
    low, high = t.interval(0.95, 4, np.mean(values), sem(values))
    assert few.summary(values) == f"{np.mean(values):.1f} ({low:.1f} to {high:.1f})"
    assert few.summary(values[:1]) == "75.2"


def test_few_needs_a_folder_with_both_splits(tmp_path: Path) -> None:
    line = refused(lambda: few.few(tmp_path, few_options(tmp_path)))
    assert line == f"--source is {tmp_path}; name a folder that has train/ and test/"
