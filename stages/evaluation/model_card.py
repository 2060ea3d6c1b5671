"""The model card: one page about a model, for those who did not train it.

After Mitchell et al., "Model Cards for Model Reporting", arXiv:1810.03993.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from common.arrays import Dataset
from evaluation.markdown import bullets, escape, table
from evaluation.metrics import Measurements, records
from evaluation.provenance import Findings, Origin
from evaluation.verdict import (
    CHANCE,
    about_calibration,
    about_the_seed,
    enumerate_names,
    verdicts,
)
from model.classifier import Classifier, Description

EACH = 30  # classes, if there are more, only the worst and the best stand in the card
ENDS = 10  # of either
CONFIDENCES = (0.5, 0.7, 0.9, 0.99)  # what is reached by answering only above them is told
FITS = {
    "squash": "squashed to",
    "crop": "cropped to the square in their middle and brought to",
    "pad": "padded with black to a square and brought to",
}
USE = """```bash
python tools/predict.py models/classifier.safetensors IMAGE         # its likeliest classes
python tools/predict.py models/classifier.safetensors FOLDER --csv OUT.csv --unsure 0.8
python tools/export.py              # models/classifier.onnx, for programs without PyTorch
```"""
CLASSES = {
    "class": ("text", "{class}"),
    "training images": ("number", "{train}"),
    "test images": ("number", "{n:,}"),
    "accuracy, %": ("number", "{percent:.1f} ({percent_low:.1f} to {percent_high:.1f})"),
    "chance, %": ("number", "{chance:.1f}"),
    "most mistaken for": ("text", "{most_mistaken_for}"),
}
DATA = {
    "": ("text", "{what}"),
    "training": ("number", "{train:,}"),
    "test": ("number", "{test:,}"),
    "across both": ("number", "{across}"),
}


def model_card(
    measured: Measurements, classifier: Classifier, dataset: Dataset, origin: Origin, epochs: int
) -> str:
    """Return the card in Markdown. It holds no time and no path, so that it can be given away.

    Args:
        measured: everything that is said about the test images.
        classifier: on any device.
        dataset: that it was tested on.
        origin: where both come from.
        epochs: that the training took.
    """
    description = classifier.description
    sections = {
        "What it is for": purpose(description),
        "How to use it": [USE],
        "Data": data(dataset, origin),
        "Training": training(measured, classifier, origin, epochs),
        "Accuracy": accuracy(measured, origin.findings),
        "Confidence": confidence(measured, description),
        "Limits": [bullets(limits(description, origin.findings))],
    }
    headline = measured.headline
    parts = [
        f"# {escape(description.title)}",
        f"**{headline['accuracy']} % of {len(measured.predictions):,} test images right** (95 % "
        f"interval {headline['ci_low']} to {headline['ci_high']}). "
        + escape(" ".join(verdicts(headline, measured.per_class))),
    ]
    for title, paragraphs in sections.items():
        parts += [f"## {title}", *paragraphs]
    return "\n\n".join(parts) + "\n"


def purpose(description: Description) -> list[str]:
    size, classes = description.image_size, description.classes
    return [
        f"It names which of {len(classes)} classes an image shows: "
        f"{escape(enumerate_names(classes))}. Images are {FITS[description.fit]} "
        f"{size} x {size} pixels. An image of anything else gets one of these names as well."
    ]


def data(dataset: Dataset, origin: Origin) -> list[str]:
    """Return paragraphs about the images: where they are from, how many, and what is wrong."""
    source = Path(dataset.source).name if Path(dataset.source).is_absolute() else dataset.source
    digest = f", SHA-256 {dataset.sha256}" if dataset.sha256 else ""
    paragraphs = [f"{escape(dataset.name)}, from {escape(source)}{digest}."]
    train, test = dataset.counts["train"], dataset.counts["test"]
    rows: list[dict[str, Any]] = [{"what": "images", "train": train, "test": test, "across": ""}]
    if origin.findings is None:
        return [*paragraphs, table(DATA, rows), "Duplicates were not searched for."]
    duplicates = origin.findings.duplicates
    for what, pairs in (
        ("pairs of the same pixels", duplicates.exact),
        ("further pairs that look the same", duplicates.near),
    ):
        counts = {"train": pairs.within_train, "test": pairs.within_test}
        rows.append({"what": what, **counts, "across": f"{pairs.across:,}"})
    skipped = f"Files that could not be read, and were left out: {origin.findings.skipped.files:,}."
    return [*paragraphs, table(DATA, rows), bullets([skipped, *origin.findings.attention])]


def training(
    measured: Measurements, classifier: Classifier, origin: Origin, epochs: int
) -> list[str]:
    """Return how the model was trained, with which recipe and versions."""
    description = classifier.description
    weights = sum(parameter.numel() for parameter in classifier.network.parameters())
    kept = f"epoch {description.best_epoch}" if description.best_epoch else "the last epoch"
    sentences = [
        f"{weights:,} weights; initial weights: {initial_weights(description)}.",
        f"Seed {description.seed}, {epochs} epochs, weights of {kept}, computed in "
        f"{description.recipe.precision}.",
        f"Trained with {origin.facts['trained with']}.",
        f"Evaluated with {origin.facts['evaluated with']}; test-time augmentation: "
        f"{origin.facts['test-time augmentation']}.",
        f"SHA-256 of the model: {origin.facts['SHA-256 of the model']}.",
    ]
    recipe = description.recipe.model_dump(exclude_defaults=True)
    if isinstance(path := recipe["network"].get("pretrained"), str):
        recipe["network"]["pretrained"] = Path(path).name
    if held_out := description.validation_images:
        sentences.append(f"{held_out:,} of the training images were held out for validation.")
    if "val_acc" in measured.headline:
        sentences.append(f"Accuracy on validation images: {measured.headline['val_acc']} %.")
    lines = [f"{key}: {json.dumps(value)}" for key, value in recipe.items()]
    block = "\n".join(["```yaml", *lines, "```"])
    return [bullets(sentences), f"Recipe {escape(description.recipe_name)}:", block]


def initial_weights(description: Description) -> str:
    """Return where the initial weights came from."""
    network = description.recipe.network
    match getattr(network, "pretrained", None):
        case str(path):
            return f"those of the file {Path(path).name}, SHA-256 {description.initial_weights}"
        case True:
            return f"those that {network.name} publishes"
    return f"drawn with seed {description.seed}"


def accuracy(measured: Measurements, findings: Findings | None) -> list[str]:
    """Return the accuracy of each class, of the worst and the best if they are many."""
    per_class = measured.per_class
    if findings is not None:
        train = [f"{findings.classes[name]['train']:,}" for name in per_class["class"]]
        per_class = per_class.assign(train=train)
    columns = {title: column for title, column in CLASSES.items() if title != "training images"}
    chosen, about = per_class, []
    if len(per_class) > EACH:
        ranked = per_class.sort_values("percent", kind="stable")
        chosen = pd.concat([ranked.head(ENDS), ranked.tail(ENDS)])
        about = [
            f"The {ENDS} worst and the {ENDS} best of {len(per_class):,} classes; "
            "`class_accuracy.csv` has all of them."
        ]
    means = f"The mean of the classes' accuracies is {measured.headline['macro']} %."
    if measured.top_3 is not None:
        means += f" The class is among the three most probable for {measured.top_3} %."
    shown = table(CLASSES if findings else columns, records(chosen))
    return [f"{means} {escape(CHANCE)}", *about, shown]


def confidence(measured: Measurements, description: Description) -> list[str]:
    """Return what confidences are worth, and what answering only above some of them gives."""
    headline = measured.headline
    error = f"Expected calibration error on the test images: {headline['ece']} %."
    answered = [
        f"Of confidence {row['confidence']:g} or more: {row['share']:.1f} % of the test images, "
        f"{row['percent']:.1f} % of them right (95 % interval {row['percent_low']:.1f} to "
        f"{row['percent_high']:.1f})."
        for row in records(measured.thresholds)
        if row["confidence"] in CONFIDENCES
    ]
    calibration = escape(about_calibration(description))
    return [f"{calibration} {error}", *([bullets(answered)] if answered else [])]


def limits(description: Description, findings: Findings | None) -> list[str]:
    """Return what the numbers do not cover."""
    leaked = "not searched for" if findings is None else f"{findings.test_images_in_train:,}"
    return [
        f"{about_the_seed(description.seed)} The intervals cover the choice of the test images "
        "alone.",
        "The test images come from the same source as the training images. Other cameras, places, "
        "times and kinds of images are not measured.",
        f"Test images that are also among the training images, exactly or nearly: {leaked}. They "
        "make the accuracy look better than it is on new images.",
        "Wrong labels among the test images count as mistakes.",
        "Classes that are never predicted, or predicted no better than by chance, are named above.",
    ]
