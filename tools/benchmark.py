"""Speed and memory of training and of the download, compared within one run, since a machine's speed drifts.

    python tools/benchmark.py training [--pictures 50000] [--epochs 2] [--repeats 3] [--images data/images]
    python tools/benchmark.py recipes
    python tools/benchmark.py growth
    python tools/benchmark.py download

``training`` holds the train stage, with the recipe ``tutorial``, against the usual loop of the same network and
optimizer: a DataLoader with 2 workers, and ToTensor and Normalize a picture. The two run in turn, each in a process of
its own; seconds are those of the epochs, without imports. Pictures are made up unless --images names some.
Prints a table for a README; on standard error, what it is doing.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "stages"))

from common.images import Dataset, Split, dataset_path, images_path, labels_path  # noqa: E402

Table = list[dict[str, str | float]]


@dataclass(frozen=True)
class Result:
    """One training: seconds of its epochs, accuracy on the pictures it saw, and the largest process's peak in MB."""

    seconds: float
    accuracy: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["training", "recipes", "growth", "download"])
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=Path, help="a data/images to train on, instead of made-up pictures")
    options = parser.parse_args()
    if options.what == "download":
        from download_benchmark import measure

        table = measure()
    else:
        with tempfile.TemporaryDirectory() as folder:
            table = {"training": training, "recipes": recipes, "growth": growth}[options.what](Path(folder), options)
    machine = platform.processor() or platform.machine()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"\n{os.cpu_count()} cores, {machine}, {platform.system()}, {versions}\n")
    print_table(table)


def training(folder: Path, options: argparse.Namespace) -> Table:
    """The usual loop against the tutorial's recipe, in turn."""
    prepare(folder, options.pictures, options.images)
    ours, usual = [], []
    for repeat in range(options.repeats):
        ours.append(run_stage(folder, "tutorial", options.epochs))
        usual.append(run(folder, [str(ROOT / "tools" / "usual_loop.py"), str(options.epochs)]))
        say(f"{repeat + 1} of {options.repeats}: {ours[-1].seconds:.1f} s against {usual[-1].seconds:.1f} s")
    ratios = [slow.seconds / fast.seconds for slow, fast in zip(usual, ours, strict=True)]
    return [
        {"training": "the usual loop"} | summarize(usual, options) | {"times as fast": 1},
        {"training": "train, recipe tutorial"}
        | summarize(ours, options)
        | {"times as fast": round(statistics.median(ratios), 2)},
    ]


def recipes(folder: Path, options: argparse.Namespace) -> Table:
    """An epoch of each recipe."""
    prepare(folder, options.pictures, options.images)
    options.epochs = 1
    names = yaml.safe_load((ROOT / "params.yaml").read_text())["recipes"]
    rows = [
        {"recipe": name} | summarize([run_stage(folder, name, 1) for _ in range(options.repeats)], options)
        for name in names
    ]
    return list(rows)


def growth(folder: Path, options: argparse.Namespace) -> Table:
    """Time and memory of an epoch of ``quick`` with 1, 2 and 4 times the pictures."""
    options.epochs = 1
    rows: Table = []
    for times in (1, 2, 4):
        shutil.rmtree(folder / "data", ignore_errors=True)
        count, options.pictures = options.pictures, options.pictures * times
        prepare(folder, options.pictures, None)
        results = [run_stage(folder, "quick", 1) for _ in range(options.repeats)]
        rows.append({"pictures": options.pictures} | summarize(results, options))
        options.pictures = count
    return rows


def prepare(folder: Path, count: int, images: Path | None) -> None:
    """Fill data/images, with noise around a picture a class unless ``images`` names something better."""
    target = folder / "data" / "images"
    if images is not None:
        shutil.copytree(images, target)
        return
    target.mkdir(parents=True)
    generator = np.random.default_rng(0)
    classes = generator.integers(0, 256, (10, 3, 32, 32), np.int16)
    counts: dict[Split, int] = {"train": count, "test": 100}
    for split, number in counts.items():
        labels = generator.integers(0, 10, number)
        pictures = np.lib.format.open_memmap(images_path(split, target), "w+", np.uint8, (number, 3, 32, 32))
        for start in range(0, number, 1000):
            noise = generator.integers(-99, 100, (len(labels[start : start + 1000]), 3, 32, 32), np.int16)
            pictures[start : start + 1000] = (classes[labels[start : start + 1000]] + noise).clip(0, 255)
        np.save(labels_path(split, target), labels)
    names = [f"class {number}" for number in range(10)]
    dataset = Dataset(name="made up", classes=names, image_size=32, counts=counts, source="noise", sha256=None)
    dataset_path(target).write_text(dataset.model_dump_json())


def run_stage(folder: Path, recipe: str, epochs: int) -> Result:
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["train"]["recipe"] = recipe
    params["recipes"][recipe]["epochs"] = epochs
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return run(folder, [str(ROOT / "stages" / "train.py")])


def run(folder: Path, command: list[str]) -> Result:
    """Run a training in ``folder`` and read what it wrote there."""
    log = (folder / "log.txt").open("w+")
    process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        log.seek(0)
        sys.exit(f"{command} failed:\n{log.read()}")
    timing = (folder / "reports" / "timing.csv").read_text().split()[1:]
    history = (folder / "reports" / "history.csv").read_text().split()
    accuracy = float(history[-1].split(",")[history[0].split(",").index("train_accuracy")])
    return Result(sum(float(row.split(",")[1]) for row in timing), accuracy, usage.ru_maxrss / 1000)


def summarize(results: list[Result], options: argparse.Namespace) -> dict[str, str | float]:
    seconds = statistics.median(result.seconds for result in results)
    return {
        "seconds": round(seconds, 1),
        "pictures a second": round(options.pictures * options.epochs / seconds),
        "accuracy on them, %": round(results[-1].accuracy, 1),
        "peak memory, MB": round(max(result.peak_mb for result in results)),
    }


def print_table(table: Table) -> None:
    print("| " + " | ".join(table[0]) + " |")
    print("|---" * len(table[0]) + "|")
    for row in table:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
