"""What the benchmark compares: each function returns a table, one row per what is compared."""

import argparse
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from _paths import ROOT, STAGES
from benchmarking import process, project
from benchmarking.process import Result
from common.yaml12 import read_yaml

Row = dict[str, str | float]
STAGES_AFTER_DOWNLOAD = ("preview", "train", "test-sample", "evaluate")


def training(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Compare the recipe ``tutorial`` with the usual loop, one after the other, several times."""
    images = project.fill(folder, options.images, options.arrays)
    ours, usual = [], []
    for repeat in range(options.repeats):
        ours.append(project.train(folder, "tutorial", options.epochs))
        epochs = len(process.read_timing(folder))
        loop = process.call(folder, ROOT / "tools" / "usual_loop.py", epochs)
        usual.append(process.of_epochs(folder, loop))
        report(f"repeat {repeat + 1}: {ours[-1].seconds:.1f} s, {usual[-1].seconds:.1f} s as usual")
    ratio = median_ratio(seconds_of(usual), seconds_of(ours))
    return [
        {"training": "the usual loop", **summarize(usual, images * epochs), "times as fast": 1},
        {
            "training": "train, recipe `tutorial`",
            **summarize(ours, images * epochs),
            "times as fast": round(ratio, 2),
        },
    ]


def pipeline(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Compare `dvc repro` of every stage but download with the usual script, which trains and tests
    the same network and draws nothing; one after the other, several times.
    """
    images = project.fill(folder, options.images, options.arrays)
    project.init_dvc(folder)
    project.write_params(folder, None, "tutorial", options.epochs)
    ours, usual = [], []
    for repeat in range(options.repeats):
        ours.append(process.call(folder, "-m", "dvc", "repro", "-f", "-s", *STAGES_AFTER_DOWNLOAD))
        epochs = len(process.read_timing(folder))
        usual.append(process.call(folder, ROOT / "tools" / "usual_loop.py", epochs, "test"))
        report(f"repeat {repeat + 1}: {ours[-1].seconds:.1f} s, {usual[-1].seconds:.1f} s as usual")
    names = ["the usual script", "recipe `tutorial`, by `dvc repro`"]
    return [
        {
            "pipeline": name,
            "training images": f"{images:,}",
            "seconds": round(statistics.median(seconds_of(results)), 1),
            "times the usual": round(median_ratio(seconds_of(results), seconds_of(usual)), 2),
        }
        for name, results in zip(names, [usual, ours], strict=True)
    ]


def accuracy(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Train each recipe with each seed; the table has test accuracies and median seconds."""
    recipes = options.recipes or without_network(read_recipes())
    project.fill(folder, 0, options.arrays)
    seconds: dict[str, list[float]] = {name: [] for name in recipes}
    percents: dict[str, list[float]] = {name: [] for name in recipes}
    for seed in options.seeds:
        for name in recipes:
            seconds[name].append(project.train(folder, name, options.epochs, seed).seconds)
            process.call(folder, STAGES / "evaluate.py")
            percents[name].append(read_yaml(folder / "reports" / "metrics.json")["accuracy"])
            report(f"{name}, seed {seed}: {seconds[name][-1]:.1f} s, {percents[name][-1]} %")
    first = recipes[0]
    return [
        {
            "recipe": f"`{name}`",
            "seeds": ", ".join(map(str, options.seeds)),
            "test accuracy, %": ", ".join(map(str, percents[name])),
            "mean": round(statistics.mean(percents[name]), 1),
            "seconds of training": round(statistics.median(seconds[name]), 1),
            f"times as fast as `{first}`": round(median_ratio(seconds[first], seconds[name]), 2),
        }
        for name in recipes
    ]


def recipes(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Train one epoch of each recipe, several times."""
    names = options.recipes or without_network(read_recipes())
    images = project.fill(folder, options.images, options.arrays)
    results = {
        name: [project.train(folder, name, 1) for _ in range(options.repeats)] for name in names
    }
    return [{"recipe": f"`{name}`", **summarize(results[name], images)} for name in results]


def growth(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Run download, train and evaluate on more and more images."""
    results: dict[str, dict[int, Result]] = {"download": {}, "train": {}, "evaluate": {}}
    for times in options.times:
        source = project.generate_images(folder, times * options.images)
        project.write_params(folder, source, "quick", 1)
        for stage, of_times in results.items():
            result = of_times[times] = process.call(folder, STAGES / f"{stage}.py")
            report(f"{stage}, {times} times: {result.seconds:.1f} s, {result.peak_mb:.0f} MB")
    return [
        row
        for stage, of_times in results.items()
        for row in growth_rows(stage, of_times, options.images)
    ]


def growth_rows(stage: str, results: dict[int, Result], images: int) -> list[Row]:
    """Return, per multiple of the images, what it took and how much more than the first."""
    first = next(iter(results))
    base = results[first]
    cpu = {times: result.cpu_seconds / times for times, result in results.items()}
    return [
        {
            "stage": stage,
            "training images": f"{times * images:,}",
            "seconds": round(result.seconds, 1),
            "CPU seconds": round(result.cpu_seconds, 1),
            "CPU time per image": f"{cpu[times] / cpu[first]:.2f} times",
            "peak memory, MB": round(result.peak_mb),
            "growth": f"{round(100 * (result.peak_mb / base.peak_mb - 1)):+d} %",
        }
        for times, result in results.items()
    ]


def read_recipes() -> dict[str, Any]:
    recipes: dict[str, Any] = read_yaml(ROOT / "params.yaml")["recipes"]
    return recipes


def without_network(recipes: dict[str, Any]) -> list[str]:
    """Return the names of the recipes that fetch no weights; print those of the others."""
    fetching = [name for name, recipe in recipes.items() if recipe["network"].get("pretrained")]
    if fetching:
        report(f"left out, since their weights come from the network: {', '.join(fetching)}")
    return [name for name in recipes if name not in fetching]


def summarize(results: Sequence[Result], images: int) -> Row:
    seconds = statistics.median(seconds_of(results))
    return {
        "seconds": round(seconds, 1),
        "images per second": round(images / seconds),
        "peak memory, MB": round(max(result.peak_mb for result in results)),
    }


def seconds_of(results: Iterable[Result]) -> list[float]:
    return [result.seconds for result in results]


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median of the ratios of what ran one after the other."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
