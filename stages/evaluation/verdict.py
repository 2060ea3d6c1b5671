"""Sentences about the numbers, the same ones on the terminal, in the report and the model card."""

from collections.abc import Sequence

import pandas as pd

from common.errors import printable
from model.classifier import Description

NAMED = 10  # classes that a sentence names at most
FEW = 200  # validation images below which a temperature is uncertain
CHANCE = (
    "Chance is what answers reach that do not depend on the images: overall, always the commonest "
    "class; on the images of one class, that class as often as it is predicted here."
)
ABOUT_COVERAGE = [
    "predict.py --unsure leaves images unanswered whose confidence is below a threshold: the fewer "
    "it answers, the more of them are right.",
    "A threshold chosen by these numbers flatters: the images that chose it also measure it. "
    "Choose it with a margin, or on validation images.",
]


def verdicts(headline: dict[str, float], per_class: pd.DataFrame) -> list[str]:
    """Return one sentence about all classes and, where there is reason, about some of them."""
    sentences = [overall(headline["ci_low"], per_class)]
    never = per_class["predicted"] == 0
    for words, chosen in (
        ("Never predicted", never),
        ("No better than chance on the images of", ~per_class["better_than_chance"] & ~never),
    ):
        if chosen.any():
            sentences.append(f"{words}: {enumerate_names(per_class['class'][chosen].tolist())}.")
    return sentences


def overall(ci_low: float, per_class: pd.DataFrame) -> str:
    """Return whether the accuracy's interval lies above what the commonest answer gets right."""
    most = int(per_class["n"].to_numpy().argmax())
    chance = 100 * per_class["n"].iloc[most] / per_class["n"].sum()
    name = printable(per_class["class"].iloc[most])
    better = "Better" if ci_low > chance else "No better"
    return f"{better} than chance: always answering {name} gives {chance:.1f} %."


def about_the_seed(seed: int) -> str:
    """Return what the interval of an accuracy does not cover."""
    return f"This is one model, trained with seed {seed}; another seed gives another accuracy."


def about_calibration(description: Description) -> str:
    """Return what the confidences are worth, or what would make them worth more."""
    images = description.validation_images
    if images == 0:
        return (
            "Confidences are not calibrated; with train.validation_fraction 0.1, say, train would "
            "fit a temperature on the images that it holds out."
        )
    fitted = (
        f"the logits are divided by {description.temperature:g}, a temperature fitted on "
        f"{images:,} validation images (arXiv 1706.04599)"
    )
    if images < FEW:
        return f"Confidences are roughly calibrated: {fitted}, too few to determine it well."
    return f"Confidences are calibrated: {fitted}."


def about_heat_maps(missing: str) -> str:
    """Return how to read the heat maps of the mistakes, or why there are none."""
    if missing:
        return f"There are no heat maps: {missing}."
    return (
        "Beside each image, the brighter a part, the more it speaks for the class above, by "
        "Grad-CAM (arXiv 1610.02391): first for the predicted, then for the actual class."
    )


def enumerate_names(names: Sequence[str]) -> str:
    """Return the first names and how many more there are."""
    shown = ", ".join(printable(name) for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED:,} more" if len(names) > NAMED else shown
