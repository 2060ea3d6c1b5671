"""Speed, memory and accuracy, compared within one run, since a machine's speed drifts.

    python tools/benchmark.py training [--pictures 50000 | --images data/images] [--epochs 2] [--repeats 3]
    python tools/benchmark.py accuracy --images data/images [--recipes tutorial quick] [--epochs 2] [--seeds 0 1 2]
    python tools/benchmark.py recipes [--pictures 50000 | --images data/images] [--recipes quick] [--repeats 3]
    python tools/benchmark.py growth [--pictures 50000] [--times 1 2 4 10] [--source directory]
    python tools/benchmark.py download

``training`` holds the train stage, with the recipe ``tutorial``, against the usual loop of the same network and
optimizer: a DataLoader with 2 workers, and ToTensor and Normalize a picture. ``accuracy`` trains each recipe with each
seed, as many epochs as it has unless told otherwise, and evaluates it on the test pictures. ``recipes`` trains an epoch
of each. In all three, seconds are those of the epochs, without imports. ``growth`` runs download, train (an epoch of
``quick``) and evaluate, once each, on more and more pictures; seconds are those of the whole stage, and those of its
processors are what to compare on a machine that others use.

What is compared runs in turn, each in a process of its own. Memory is the largest resident size of a process, which
the system tells on Linux and macOS. Pictures are made up unless --images names a folder that download has filled: JPEGs
of 32 x 32, each a class's own noise and some more, and a fifth as many to test on.
Prints a table for a README; on standard error, what it is doing.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "stages"))

from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from common.errors import UserError
from common.params import read_yaml

ROOT = Path(__file__).resolve().parent.parent
Row = dict[str, str | float]
CLASSES = 10
TEST_SHARE = 5  # of the training pictures, one in so many is made again to test on, as in CIFAR-10

# A process's peak begins at that of the one that started it, so a small one does it in this one's place.
MEASURED = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=sys.stderr)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(status)
"""


@dataclass(frozen=True)
class Result:
    """Of one process: seconds, seconds of processors, and the peak of its resident memory in MB."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def main() -> None:
    recipes = read_yaml(ROOT / "params.yaml")["recipes"]
    tables = {"training": training, "accuracy": accuracy, "recipes": each_recipe, "growth": growth}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=[*tables, "download"])
    parser.add_argument(
        "--pictures", type=int, default=50_000, help="training pictures to make up; %(default)s"
    )
    parser.add_argument(
        "--images", type=Path, help="a data/images to use, instead of made-up pictures"
    )
    parser.add_argument(
        "--recipes", nargs="+", choices=recipes, metavar="RECIPE", help="all that need no network"
    )
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--repeats", type=int, default=3, help="of which the median counts; %(default)s"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of accuracy; 0")
    parser.add_argument(
        "--times", nargs="+", type=int, default=[1, 2, 4, 10], help="of growth; 1 2 4 10"
    )
    parser.add_argument(
        "--source", choices=["directory", "tar", "zip"], default="directory", help="%(default)s"
    )
    options = parser.parse_args()
    if options.what in ("accuracy", "recipes"):
        options.recipes = options.recipes or without_network(recipes)
    if options.what == "download":
        from download_benchmark import measure

        table = measure()
    else:
        with tempfile.TemporaryDirectory() as folder:
            table = tables[options.what](Path(folder), options)
    print(f"\n{machine()}\n")
    print_table(table)


def without_network(recipes: dict[str, Any]) -> list[str]:
    pretrained = [name for name, recipe in recipes.items() if recipe.get("pretrained")]
    if pretrained:
        say(f"left out, since their weights come from the network: {', '.join(pretrained)}")
    return [name for name in recipes if name not in pretrained]


def training(folder: Path, options: argparse.Namespace) -> list[Row]:
    """The usual loop against the tutorial's recipe."""
    pictures = prepare(folder, options)
    ours, usual = [], []
    for repeat in range(options.repeats):
        ours.append(train(folder, "tutorial", options.epochs))
        epochs = len(read_timing(folder))
        usual.append(with_epochs(folder, call(folder, ROOT / "tools" / "usual_loop.py", epochs)))
        say(
            f"{repeat + 1} of {options.repeats}: {ours[-1].seconds:.1f} s against {usual[-1].seconds:.1f} s"
        )
    ratio = median_ratio([result.seconds for result in usual], [result.seconds for result in ours])
    return [
        {"training": "the usual loop", **summarize(usual, pictures * epochs), "times as fast": 1},
        {
            "training": "train, recipe `tutorial`",
            **summarize(ours, pictures * epochs),
            "times as fast": round(ratio, 2),
        },
    ]


def accuracy(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Seconds of training, their median over the seeds, and what they come to on the test pictures.

    Raises:
        UserError: no pictures are named.
    """
    if options.images is None:
        raise UserError(
            "--images is missing; made-up pictures are too easy: name a data/images of real ones"
        )
    prepare(folder, options)
    seconds: dict[str, list[float]] = {name: [] for name in options.recipes}
    percents: dict[str, list[float]] = {name: [] for name in options.recipes}
    for seed in options.seeds:
        for name in options.recipes:
            seconds[name].append(train(folder, name, options.epochs, seed).seconds)
            call(folder, ROOT / "stages" / "evaluate.py")
            percents[name].append(read_yaml(folder / "reports" / "metrics.json")["accuracy"])
            say(f"{name}, seed {seed}: {seconds[name][-1]:.1f} s, {percents[name][-1]} %")
    first = options.recipes[0]
    return [
        {
            "recipe": f"`{name}`",
            "seeds": ", ".join(map(str, options.seeds)),
            "test accuracy, %": ", ".join(map(str, percents[name])),
            "mean": round(statistics.mean(percents[name]), 1),
            "seconds of training": round(statistics.median(seconds[name]), 1),
            f"times as fast as `{first}`": round(median_ratio(seconds[first], seconds[name]), 2),
        }
        for name in options.recipes
    ]


def each_recipe(folder: Path, options: argparse.Namespace) -> list[Row]:
    """An epoch of each recipe."""
    pictures = prepare(folder, options)
    return [
        {
            "recipe": f"`{name}`",
            **summarize([train(folder, name, 1) for _ in range(options.repeats)], pictures),
        }
        for name in options.recipes
    ]


def growth(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Time and memory of the stages that read pictures."""
    results: dict[str, dict[int, Result]] = {"download": {}, "train": {}, "evaluate": {}}
    for times in options.times:
        source = make_pictures(folder, times * options.pictures, options.source)
        write_params(folder, source, "quick", 1)
        for stage, of_times in results.items():
            of_times[times] = call(folder, ROOT / "stages" / f"{stage}.py")
            say(
                f"{stage}, {times} times: {of_times[times].seconds:.1f} s, {of_times[times].peak_mb:.0f} MB"
            )
    return [
        row
        for stage, of_times in results.items()
        for row in growth_rows(stage, of_times, options.pictures)
    ]


def growth_rows(stage: str, results: dict[int, Result], pictures: int) -> list[Row]:
    """What each multiple of the pictures takes, and how much more that is than the first."""
    first = next(iter(results))
    base = results[first]
    return [
        {
            "stage": stage,
            "training pictures": f"{times * pictures:,}",
            "seconds": round(result.seconds, 1),
            "CPU seconds": round(result.cpu_seconds, 1),
            "CPU time a picture": f"{result.cpu_seconds / base.cpu_seconds * first / times:.2f} times",
            "peak memory, MB": round(result.peak_mb),
            "growth": f"{round(100 * (result.peak_mb / base.peak_mb - 1)):+d} %",
        }
        for times, result in results.items()
    ]


def prepare(folder: Path, options: argparse.Namespace) -> int:
    """Fill data/images, and give the number of training pictures."""
    if options.images is None:
        write_params(folder, make_pictures(folder, options.pictures), "quick", 1)
        call(folder, ROOT / "stages" / "download.py")
    else:
        shutil.copytree(options.images, folder / "data" / "images")
    return int(read_yaml(folder / "data" / "images" / "dataset.json")["counts"]["train"])


def make_pictures(folder: Path, count: int, kind: str = "directory") -> Path:
    """Make up a source for download: train/CLASS/PICTURE and test/CLASS/PICTURE, in a directory or an archive."""
    directory, generator = folder / "pictures", np.random.default_rng(0)
    shutil.rmtree(directory, ignore_errors=True)
    base = generator.integers(0, 256, (CLASSES, 32, 32, 3), np.int16)
    for split, number in {"train": count, "test": max(CLASSES, count // TEST_SHARE)}.items():
        for label in range(CLASSES):
            (directory / split / str(label)).mkdir(parents=True)
        for index in range(number):
            label = index % CLASSES
            pixels = base[label] + generator.integers(-99, 100, (32, 32, 3), np.int16)
            path = directory / split / str(label) / f"{index}.jpg"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return (
        directory
        if kind == "directory"
        else Path(shutil.make_archive(str(directory), kind, directory))
    )


def train(folder: Path, recipe: str, epochs: int | None, seed: int = 0) -> Result:
    """Run the train stage; seconds are those of its epochs."""
    write_params(folder, None, recipe, epochs, seed)
    return with_epochs(folder, call(folder, ROOT / "stages" / "train.py"))


def write_params(
    folder: Path, source: Path | None, recipe: str, epochs: int | None, seed: int = 0
) -> None:
    """The project's parameters, but for these; ``source`` is a folder of pictures, ``epochs`` None the recipe's own."""
    params = read_yaml(ROOT / "params.yaml")
    if source is not None:
        params["download"] |= {"dataset": "folder", "source": str(source), "image_size": 32}
    params["train"] |= {"recipe": recipe, "seed": seed}
    if epochs is not None:
        params["recipes"][recipe]["epochs"] = epochs
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def call(folder: Path, *command: str | Path | int) -> Result:
    """Run a Python script in ``folder``.

    Raises:
        UserError: it failed.
    """
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, *map(str, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise UserError(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    cpu_seconds, peak = map(float, done.stdout.split())
    return Result(seconds, cpu_seconds, peak * (1 if sys.platform == "darwin" else 1024) / 1e6)


def read_timing(folder: Path) -> "pd.Series[float]":
    """Seconds of each epoch."""
    return pd.read_csv(folder / "reports" / "timing.csv")["seconds"]


def with_epochs(folder: Path, result: Result) -> Result:
    return replace(result, seconds=float(read_timing(folder).sum()))


def summarize(results: Iterable[Result], pictures: int) -> Row:
    seconds = statistics.median(result.seconds for result in results)
    return {
        "seconds": round(seconds, 1),
        "pictures a second": round(pictures / seconds),
        "peak memory, MB": round(max(result.peak_mb for result in results)),
    }


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """Of what ran in turn, one by one."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = f"Python {platform.python_version()}, torch {version('torch')}"
    return (
        f"{os.cpu_count()} cores, {processor()}, {memory:.0f} GB, {platform.system()}, {versions}"
    )


def processor() -> str:
    """The processor's model, where the system tells it; otherwise its architecture."""
    names = []
    if sys.platform == "darwin":
        names = subprocess.check_output(
            ["sysctl", "-n", "machdep.cpu.brand_string"], text=True
        ).splitlines()  # noqa: S607
    elif sys.platform == "linux":
        names = re.findall(r"^model name\s*: (.+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return str([*names, platform.machine()][0])


def print_table(table: list[Row]) -> None:
    print("| " + " | ".join(table[0]) + " |")
    print("|---" * len(table[0]) + "|")
    for row in table:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_tool(main)
