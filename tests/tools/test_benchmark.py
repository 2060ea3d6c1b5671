"""What the benchmark compares is what it says; and the promise that the pictures may be many."""

import argparse
import contextlib
import io
import json
import random
import re
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import STAGES, encode, lay_out, write_params
from PIL import Image
from project import Project
from test_archives import tarred

import benchmark
import evaluate
from benchmark import Result
from common.errors import UserError
from sources.archives import open_tree

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the system does not tell a process's largest memory"
)


def options(**changes: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{
            "images": None,
            "pictures": 40,
            "recipes": ["quick"],
            "epochs": 1,
            "seeds": [0],
            "source": "directory",
        }
        | changes
    )


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages run in this process, and each takes a second more than the last one and 100 MB; their names."""
    ran: list[str] = []
    monkeypatch.setattr(evaluate, "draw_all", lambda *_: None)  # nobody looks at these charts

    def call(folder: Path, script: Path) -> Result:
        with contextlib.redirect_stdout(io.StringIO()):
            Project(folder).call(script.stem)
        ran.append(script.stem)
        return Result(len(ran), 2 * len(ran), 100 * len(ran))

    monkeypatch.setattr(benchmark, "call", call)
    return ran


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_training_against_the_usual_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one that runs as a user runs it, made-up pictures, processes and all."""
    monkeypatch.setattr(
        sys, "argv", ["benchmark.py", "training", "--pictures=60", "--repeats=1", "--epochs=1"]
    )
    benchmark.main()
    machine, titles, _, usual, ours = [
        line for line in capsys.readouterr().out.splitlines() if line
    ]
    assert re.search(r"^\d+ cores, .+, \d+ GB, \w+, Python 3\.\d+\.\d+, torch ", machine)
    assert cells(titles) == [
        "training",
        "seconds",
        "pictures a second",
        "peak memory, MB",
        "times as fast",
    ]
    assert (cells(usual)[0], cells(usual)[-1]) == ("the usual loop", "1")
    assert cells(ours)[0] == "train, recipe `tutorial`"
    assert all(float(number) > 0 for line in (usual, ours) for number in cells(line)[2:])


def test_memory_is_the_process_s_own_and_not_that_of_the_one_that_started_it(
    tmp_path: Path,
) -> None:
    held = bytearray(random.Random(0).randbytes(200_000_000))
    (tmp_path / "small.py").write_text("pass")
    (tmp_path / "large.py").write_text(
        "import sys; sum(range(10**6)); bytearray(b'x') * 150_000_000"
    )
    small, large = (benchmark.call(tmp_path, tmp_path / name) for name in ("small.py", "large.py"))
    assert small.peak_mb < 50 < len(held) / 1e6
    assert 145 < large.peak_mb - small.peak_mb < 155
    assert large.cpu_seconds > 0
    assert small.seconds > 0


def test_a_stage_that_fails_ends_the_benchmark_with_its_line(tmp_path: Path) -> None:
    write_params(tmp_path)
    with pytest.raises(
        UserError, match=r"preview\.py failed: error: .*run the download stage first"
    ):
        benchmark.call(tmp_path, STAGES / "preview.py")


def test_accuracy_is_that_of_the_test_pictures_for_each_seed(
    prepared_once: Project, tmp_path: Path, in_process: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = []
    evaluated = benchmark.call

    def call(folder: Path, script: Path) -> Result:
        result = evaluated(folder, script)
        if script.stem == "evaluate":
            rows = pd.read_csv(folder / "reports" / "predictions.csv")
            correct.append(round(100 * float((rows["actual"] == rows["predicted"]).mean()), 2))
            assert len(rows) == 359
        return result

    monkeypatch.setattr(benchmark, "call", call)
    seconds = iter([6.0, 2.0, 4.0, 1.0])
    monkeypatch.setattr(benchmark, "read_timing", lambda folder: pd.Series([next(seconds)]))
    rows = benchmark.accuracy(
        tmp_path, options(images=prepared_once.images, recipes=["tutorial", "quick"], seeds=[0, 1])
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


def test_accuracy_of_made_up_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--images is missing"):
        benchmark.accuracy(tmp_path, options())


def test_growth_is_relative_to_the_fewest_pictures(tmp_path: Path, in_process: list[str]) -> None:
    rows = benchmark.growth(tmp_path, options(times=[1, 3]))
    assert in_process == ["download", "train", "evaluate"] * 2
    assert json.loads((tmp_path / "data/images/dataset.json").read_text())["counts"] == {
        "train": 120,
        "test": 24,
    }
    # Three times the pictures in 4, 5, 6 seconds against 1, 2, 3.
    found = [tuple(row.values()) for row in rows]
    assert found == [
        ("download", "40", 1, 2, "1.00 times", 100, "+0 %"),
        ("download", "120", 4, 8, "1.33 times", 400, "+300 %"),
        ("train", "40", 2, 4, "1.00 times", 200, "+0 %"),
        ("train", "120", 5, 10, "0.83 times", 500, "+150 %"),
        ("evaluate", "40", 3, 6, "1.00 times", 300, "+0 %"),
        ("evaluate", "120", 6, 12, "0.67 times", 600, "+100 %"),
    ]


@pytest.mark.parametrize("kind", ["directory", "tar", "zip"])
def test_made_up_pictures_are_as_many_as_they_should_be_and_no_two_alike(
    tmp_path: Path, kind: str
) -> None:
    with open_tree(benchmark.make_pictures(tmp_path, 30, kind)) as tree:
        contents = {name: tree.read(name) for name in tree}
    assert Counter(name.rpartition("/")[0] for name in contents) == {
        f"{split}/{label}": count
        for split, count in [("train", 3), ("test", 1)]
        for label in range(10)
    }
    assert len(set(contents.values())) == 40
    assert {Image.open(io.BytesIO(content)).size for content in contents.values()} == {(32, 32)}


def test_recipes_that_need_the_network_are_left_out_with_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipes: dict[str, Any] = {"a": {}, "b": {"pretrained": True}, "c": {"pretrained": False}}
    assert benchmark.without_network(recipes) == ["a", "c"]
    assert capsys.readouterr().err == "left out, since their weights come from the network: b\n"


# --- many pictures


def test_five_times_the_pictures_take_little_more_memory_to_convert(tmp_path: Path) -> None:
    """The larger array is 59 MB, nearly as much as the process."""
    noise, peaks = encode(Image.effect_noise((16, 16), 50)), []
    for count in (300, 1500):
        names = [f"{label}/{index}.png" for label in ("cat", "dog") for index in range(count // 2)]
        source = lay_out(tmp_path / str(count), dict.fromkeys(names, noise))
        write_params(
            tmp_path, {"download": {"dataset": "folder", "source": str(source), "image_size": 128}}
        )
        peaks.append(benchmark.call(tmp_path, STAGES / "download.py").peak_mb)
    assert (tmp_path / "data" / "images" / "train_images.npy").stat().st_size > 1200 * 3 * 128 * 128
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize(("kind", "count"), [("directory", 2000), ("tar", 8000)])
def test_names_of_many_pictures_are_not_held_in_memory(
    tmp_path: Path, kind: str, count: int
) -> None:
    """Python's own allocations, which a database's are not."""
    path = tmp_path / f"many.{kind}"
    names = [f"{number % 10}/{number:0100}.png" for number in range(count)]
    if kind == "tar":
        path.write_bytes(tarred(dict.fromkeys(names, b"")))
    else:
        lay_out(path, dict.fromkeys(names, b""))
    tracemalloc.start()
    with open_tree(path) as tree:
        assert sum(1 for _ in tree) == count
        held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 50 * count  # a name alone takes 150 bytes
    assert (
        peak < 300 * count
    )  # what tarfile keeps of a member takes 1000, and two buffers 2 MB in all
