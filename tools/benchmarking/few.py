"""Few images per class: every recipe on the same images, measured on the same test images."""

import argparse
import os
import random
import shutil
import statistics
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import t

from _paths import ROOT, STAGES
from benchmarking import process
from benchmarking.comparisons import Row, read_recipes, report
from common.yaml12 import read_yaml

SMALL = 32  # pixels, for networks that are trained from scratch


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
                write_params(folder, name, recipe, options.size if pretrained else SMALL, seed)
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
            "seeds": len(options.seeds),
            **interval(percents[count, name]),
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
    """Link images of ``source`` into ``folder``: per class, ``train`` images of train/ that the
    seed chooses, and ``test`` images of test/, always the same.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for split, count, key in (("train", train, seed), ("test", test, 0)):
        for directory in sorted((source / split).iterdir()):
            images = sorted(directory.iterdir())
            (folder / split / directory.name).mkdir(parents=True)
            for image in random.Random(key).sample(images, min(count, len(images))):  # noqa: S311
                os.link(image, folder / split / directory.name / image.name)


def write_params(folder: Path, name: str, recipe: dict[str, Any], size: int, seed: int) -> None:
    """Write the repository's params.yaml with this recipe, image size and seed."""
    params = read_yaml(ROOT / "params.yaml")
    params["download"] |= {"dataset": "folder", "source": "images", "image_size": size}
    params["download"] |= {"fit": "squash", "unreadable": "stop", "group": None}
    params["train"] |= {"recipe": name, "seed": seed}
    params["train"] |= {"validation_fraction": 0.0, "early_stopping": "never"}
    params["evaluate"]["test_time_augmentation"] = "recipe"
    params["recipes"][name] = recipe
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def interval(percents: list[float]) -> Row:
    """Return the mean of accuracies and its 95 % interval by Student's t."""
    mean, count = statistics.mean(percents), len(percents)
    row: Row = {"test accuracy, %": round(mean, 1), "95 % interval": ""}
    if count > 1:
        half = float(t.ppf(0.975, count - 1)) * statistics.stdev(percents) / count**0.5
        row["95 % interval"] = f"{mean - half:.1f} to {mean + half:.1f}"
    return row
