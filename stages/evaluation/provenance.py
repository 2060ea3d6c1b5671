"""Where a model comes from: data, recipe, versions, and the commit of the code."""

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from common.arrays import Dataset, Split
from common.errors import UserError
from common.files import ARRAYS, MODEL, PARAMS, REPORTS, sha256
from common.network_options import LIBRARIES
from common.params import Download
from model.classifier import DOUBT, Classifier, Description

MAKES_THE_MODEL = ["stages", str(PARAMS)]  # with the data


class Pairs(BaseModel):
    """Numbers of pairs of duplicates, by where the two images are."""

    within_train: int
    across: int
    within_test: int


class Duplicates(BaseModel):
    exact: Pairs
    near: Pairs
    labels_disagree: int  # pairs


class Skipped(BaseModel):
    files: int  # that could not be read


class Findings(BaseModel):
    """What the preview stage found in the data: of reports/data.json what is said here."""

    classes: dict[str, dict[Split, int]]  # images
    duplicates: Duplicates
    test_images_in_train: int
    skipped: Skipped
    attention: list[str]  # sentences


@dataclass(frozen=True)
class Origin:
    """What a report says besides the measurements."""

    facts: dict[str, str]
    findings: Findings | None  # None if preview has not run
    folder: str | None  # URL of the folder that the images came from


def trace(classifier: Classifier, dataset: Dataset, download: Download) -> Origin:
    """Return where a classifier and the data it is tested on come from.

    Raises:
        UserError: What the preview stage wrote is damaged, or is of other data.
    """
    return Origin(
        facts=facts(classifier, dataset),
        findings=read_findings(REPORTS / "data.json", dataset),
        folder=folder_of_images(download, dataset),
    )


def facts(classifier: Classifier, dataset: Dataset) -> dict[str, str]:
    """Return what a reader needs to train or use the same model again, by name."""
    description = classifier.description
    return {
        "data": f"{dataset.name} from {dataset.source}",
        "SHA-256 of the data": dataset.sha256 or "not one file",
        "SHA-256 of the model": sha256(MODEL),
        "code and parameters": last_commit(),
        "SHA-256 of the initial weights": description.initial_weights or "not from a file",
        "seed": str(description.seed),
        "validation images": f"{description.validation_images:,} of the training images",
        "epoch of the weights": str(description.best_epoch or "the last"),
        "temperature": f"{description.temperature:g}",
        "trained with": f"torch {description.torch} on {description.device}; "
        f"processes: {description.processes}, CPU threads of each: {description.threads}",
        "evaluated with": f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in libraries(description)),
        "test-time augmentation": augmentation(classifier),
        "recipe": description.recipe_name,
        **dict(flatten(description.recipe.model_dump())),
    }


def libraries(description: Description) -> list[str]:
    """Return the packages whose versions may change what the classifier predicts."""
    network = description.recipe.network
    own = [network.name] if isinstance(network, LIBRARIES) else []
    return ["torch", "numpy", "pandas", *own]


def augmentation(classifier: Classifier) -> str:
    kind = classifier.test_time_augmentation
    if kind == "none":
        return kind
    return (
        f"{kind}, where the two highest probabilities, before the temperature, differ by less "
        f"than {DOUBT:g}"
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested mappings with their paths, such as ``network.name``."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", str(value)


def last_commit() -> str:
    """Return the commit that last changed what makes the model, its date, and changes since.

    Not HEAD and not today: an evaluation that is repeated with the same code and parameters writes
    the same bytes, whatever else was committed meanwhile.
    """
    try:
        commit = git("log", "-1", "--abbrev=12", "--format=commit %h of %cs")
        changed = git("status", "--porcelain", "--no-renames")
    except (OSError, subprocess.CalledProcessError):
        return "not in a Git repository"
    files = ", ".join(line[3:].strip('"') for line in changed.splitlines())
    return (commit or "not committed") + (f", with uncommitted changes in {files}" if files else "")


def git(*arguments: str) -> str:
    """Return what Git prints about the files that make the model."""
    command = ["git", "--no-optional-locks", *arguments, "--", *MAKES_THE_MODEL]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)  # noqa: S603
    return done.stdout.rstrip("\n")


def read_findings(path: Path, dataset: Dataset) -> Findings | None:
    """Return what the preview stage found in the data; None without it.

    Raises:
        UserError: The file is damaged, or is of other data.
    """
    if not path.exists():
        return None
    try:
        findings = Findings.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path}: damaged; run the preview stage again") from None
    counts = {
        split: sum(images[split] for images in findings.classes.values())
        for split in dataset.counts
    }
    if findings.classes.keys() != set(dataset.classes) or counts != dataset.counts:
        raise UserError(f"{path}: of other data than {ARRAYS}; run the preview stage again")
    return findings


def folder_of_images(download: Download, dataset: Dataset) -> str | None:
    """Return the URL of the folder that the images came from, as seen from reports/.

    None if they came from an archive or with a library. It is relative if the folder lies in the
    project, so that it holds in every copy of it.
    """
    path = Path(os.path.abspath(download.source))  # noqa: PTH100 - resolve would follow links
    if download.dataset != "folder" or dataset.sha256 is not None:
        return None
    if path.is_relative_to(Path.cwd()):
        return f"../{quote(path.relative_to(Path.cwd()).as_posix())}/"
    return f"{path.as_uri()}/"


def url_of_image(folder: str, name: str) -> str:
    """Return the URL of an image by its name in its folder."""
    return folder + quote(name, errors="surrogateescape")
