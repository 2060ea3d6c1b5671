"""The card that goes with a model: what it says is what was measured, in Markdown, on a page."""

from typing import Any

import numpy as np
import pytest

from common.errors import printable
from evaluation.metrics import Measurements
from evaluation.model_card import model_card
from evaluation.provenance import Origin
from made_predictions import (
    class_names,
    make_dataset,
    make_description,
    make_findings,
    make_measurements,
)
from markdown_page import HOSTILE, read
from model.classifier import Classifier
from models import torchvision
from page import Page

FACTS = {
    "trained with": "torch 2 on cpu",
    "evaluated with": "Python 3",
    "test-time augmentation": "mirror, if unsure",
    "SHA-256 of the model": "0123abc",
}


def make_card(
    names: list[str],
    measured: Measurements | None = None,
    found: bool = True,
    source: str = "my images",
    **description: Any,
) -> str:
    classifier = Classifier(make_description(names).model_copy(update=description))
    dataset = make_dataset(names, 1000).model_copy(update={"source": source})
    origin = Origin(FACTS, make_findings(names) if found else None, None)
    return model_card(measured or make_measurements(names), classifier, dataset, origin, epochs=3)


def bodies(page: Page, heading: str) -> list[list[str]]:
    """Return the rows of the table whose first heading this is."""
    start = next(index for index, row in enumerate(page.rows) if row[0] == heading) + 1
    return page.rows[start:]


def test_what_was_measured_is_said() -> None:
    names = class_names(10)
    measured = make_measurements(names)
    page = read(make_card(names, measured))
    headline = measured.headline
    assert (
        f"{headline['accuracy']} % of 1,000 test images right (95 % interval "
        f"{headline['ci_low']} to {headline['ci_high']})" in page.text
    )
    for sentence in (
        f"Expected calibration error on the test images: {headline['ece']} %.",
        f"The mean of the classes' accuracies is {headline['macro']} %.",
        f"among the three most probable for {measured.top_3} %",
        "Better than chance: always answering",
        "Confidences are not calibrated",
        "This is one model, trained with seed 7; another seed gives another accuracy.",
        "also among the training images, exactly or nearly: 57.",
        "Files that could not be read, and were left out: 1,234.",
        "62,006 weights; initial weights: drawn with seed 7.",
        "Seed 7, 3 epochs, weights of the last epoch, computed in float32.",
        "Trained with torch 2 on cpu.",
        "Evaluated with Python 3; test-time augmentation: mirror, if unsure.",
        "SHA-256 of the model: 0123abc.",
        'network: {"name": "lenet", "channels": [6, 16]',
    ):
        assert sentence in page.text
    rows = bodies(page, "class")
    assert rows == [
        [
            row["class"],
            f"{1000 + label:,}",
            str(row["n"]),
            f"{row['percent']:.1f} ({row['percent_low']:.1f} to {row['percent_high']:.1f})",
            f"{row['chance']:.1f}",
            row["most_mistaken_for"],
        ]
        for label, row in enumerate(measured.per_class.to_dict("records"))
    ]
    assert ["images", "12,345", "1,000", ""] in page.rows
    assert ["pairs of the same pixels", "1,111", "3", "2"] in page.rows
    assert ["further pairs that look the same", "44", "66", "55"] in page.rows


def test_accuracy_above_a_confidence_is_that_of_the_images_counted() -> None:
    names = class_names(10)
    text = read(make_card(names)).text
    confidence = make_measurements(names).predictions["confidence"].to_numpy()
    for threshold in (0.5, 0.7, 0.9):
        share = 100 * float(np.mean(confidence >= threshold))
        assert f"Of confidence {threshold} or more: {share:.1f} % of the test images" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name: str) -> None:
    names = [name, *class_names(3)]
    page = read(make_card(names, dataset=f"{name} data", recipe_name=f"{name} recipe"))
    plain = read(make_card(class_names(4)))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    shown = printable(name).strip()
    assert bodies(page, "class")[0][0] == shown
    for words in (f"shows: {shown}", f"{shown} data, recipe", f"Recipe {shown} recipe:"):
        assert words in page.text


def test_of_many_classes_the_worst_and_the_best_are_listed() -> None:
    names = class_names(100)
    measured = make_measurements(names, n=5000)
    text = make_card(names, measured)
    ranked = measured.per_class.sort_values("percent", kind="stable")["class"].tolist()
    assert [row[0] for row in bodies(read(text), "class")] == ranked[:10] + ranked[-10:]
    assert "The 10 worst and the 10 best of 100 classes" in text
    assert len(text.splitlines()) < 120
    assert len(make_card(class_names(30)).splitlines()) < 120


def test_it_holds_no_path_of_the_machine() -> None:
    names = class_names(3)
    recipe = make_description(names).recipe
    network = torchvision("resnet18") | {"pretrained": "/home/somebody/weights.safetensors"}
    changed = recipe.model_validate(recipe.model_dump() | {"network": network})
    source, digest = "/home/somebody/my images", 64 * "a"
    text = make_card(names, source=source, recipe=changed, best_epoch=2, initial_weights=digest)
    assert "/home" not in text and "somebody" not in text
    assert "made up, from my images." in text
    assert f"initial weights: those of the file weights.safetensors, SHA-256 {digest}." in text
    assert '"pretrained": "weights.safetensors"' in text
    assert "weights of epoch 2" in text


def test_without_the_findings_of_preview_the_card_says_so() -> None:
    text = read(make_card(class_names(3), found=False)).text
    assert "Duplicates were not searched for." in text
    assert "exactly or nearly: not searched for." in text
    assert "training images\n" not in text  # the column of the table


@pytest.mark.parametrize(("images", "said"), [(199, "roughly calibrated"), (1234, "calibrated")])
def test_validation_and_temperature_are_told(images: int, said: str) -> None:
    names = class_names(3)
    measured = make_measurements(names, val_acc=12.25)
    text = read(make_card(names, measured, temperature=1.5, validation_images=images)).text
    assert f"{images:,} of the training images were held out for validation." in text
    assert "Accuracy on validation images: 12.25 %." in text
    assert f"are {said}: the logits are divided by 1.5, a temperature fitted on {images:,} " in text
    assert ("too few to determine it well" in text) == (images < 200)
    without = read(make_card(names, validation_images=images)).text  # the history is another's
    assert "held out for validation." in without
    assert "Accuracy on validation images" not in without


def test_never_predicted_classes_are_named() -> None:
    names = class_names(3)
    measured = make_measurements(names)
    per_class = measured.per_class.assign(
        predicted=[5, 0, 5], better_than_chance=[True, False, False]
    )
    text = read(make_card(names, Measurements(**{**vars(measured), "per_class": per_class}))).text
    assert "Never predicted: class 1." in text
    assert "No better than chance on the images of: class 2." in text
