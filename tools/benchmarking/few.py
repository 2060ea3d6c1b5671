"""Few images per class: every recipe on the same images, measured on the same test images."""

import argparse
import random
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from _paths import STAGES
from benchmarking import process, project
from benchmarking.comparisons import Row, read_recipes, report
from common.errors import UserError
from common.yaml12 import read_yaml
from comparison.statistics import mean_interval


def few(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Train each recipe on ``per_class`` images of each class, once per seed, which also chooses
    the images.

    Seconds are those of the whole train stage, imports and features included.
    """
    recipes = {name: recipe_for(name, options.weights) for name in options.recipes}
    seconds: dict[tuple[int, str], list[float]] = {}
    percents: dict[tuple[int, str], list[float]] = {}
    for count in options.per_class:
        for seed in options.seeds:
            choose_images(options.source, folder / "images", count, options.test_per_class, seed)
            for name, recipe in recipes.items():
                pretrained = recipe["network"].get("pretrained")
                size = options.size if pretrained else project.IMAGE_SIZE
                project.write_params(folder, folder / "images", name, None, seed, size, recipe)
                process.call(folder, STAGES / "download.py")
                took = process.call(folder, STAGES / "train.py").seconds
                process.call(folder, STAGES / "evaluate.py")
                percent = read_yaml(folder / "reports" / "metrics.json")["accuracy"]
                seconds.setdefault((count, name), []).append(took)
                percents.setdefault((count, name), []).append(percent)
                report(f"{count} per class, {name}, seed {seed}: {took:.1f} s, {percent} %")
    return [
        {
            "images per class": count,
            "recipe": f"`{name}`",
            "seeds": ", ".join(map(str, options.seeds)),
            "test accuracy, %": ", ".join(map(str, percents[count, name])),
            "mean (95 % interval)": summary(percents[count, name]),
            "seconds of train": round(statistics.median(seconds[count, name]), 1),
        }
        for count, name in percents
    ]


def recipe_for(name: str, weights: Path | None) -> dict[str, Any]:
    """Return a recipe; with ``weights``, one of a pretrained network has the timm model that the
    file is named after, with these weights.
    """
    recipe: dict[str, Any] = read_recipes()[name]
    if weights is not None and recipe["network"].get("pretrained"):
        import timm  # takes seconds

        published: Any = timm.get_pretrained_cfg(weights.stem)
        path = str(weights.absolute())
        recipe["network"] = {"name": "timm", "model": weights.stem, "pretrained": path}
        recipe["normalize"] = {"mean": list(published.mean), "std": list(published.std)}
    return recipe


def choose_images(source: Path, folder: Path, train: int, test: int, seed: int) -> None:
    """Copy images of ``source`` into ``folder``: per class, ``train`` images of train/ that the
    seed chooses, and ``test`` images of test/, always the same.

    Raises:
        UserError: ``source`` has no train/ and test/.
    """
    if not all((source / split).is_dir() for split in ("train", "test")):
        raise UserError(f"--source is {source}; name a folder that has train/ and test/")
    shutil.rmtree(folder, ignore_errors=True)
    for split, count, key in (("train", train, seed), ("test", test, 0)):
        for directory in sorted((source / split).iterdir()):
            images = sorted(directory.iterdir())
            (folder / split / directory.name).mkdir(parents=True)
            for image in random.Random(key).sample(images, min(count, len(images))):  # noqa: S311
                shutil.copyfile(image, folder / split / directory.name / image.name)


def summary(percents: list[float]) -> str:
    """Return the mean of accuracies and, of several, its 95 % interval."""
    mean = f"{statistics.mean(percents):.1f}"
    if len(percents) == 1:
        return mean
    low, high = mean_interval(np.array(percents))
    return f"{mean} ({low:.1f} to {high:.1f})"
