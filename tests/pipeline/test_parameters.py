"""Each stage reads the parameters that dvc.yaml declares for it: recorded while the stages run."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from common.params import Machine, Params
from common.recipes import Recipe
from common.section import Section
from graph import GRAPH
from helpers import STAGES, lay_out, solid
from project import Project

RECIPE = "recipes.${train.recipe}"
# Small trainings of each recipe that reads keys which the others do not have.
RUNS: dict[str, dict[str, Any]] = {
    "tutorial": {"recipes__tutorial__epochs": 1, "recipes__tutorial__batch_size": 100},
    "quick": {
        "train__validation_fraction": 0.1,
        "train__early_stopping": 3,
        "recipes__quick__balance": 0.5,
        "recipes__quick__augment__crop": 0.5,
        "recipes__quick__augment__brightness": 0.2,
        "recipes__quick__augment__erasing": 0.25,
    },
    "digits": {
        "recipes__digits__trainable": "head",
        "recipes__digits__views": 2,
        "recipes__digits__augment__flip": "random",
        "recipes__digits__epochs": 1,
    },
    "accurate": {
        "recipes__accurate__network__channels": [8, 8],
        "recipes__accurate__precision": "float32",
        "recipes__accurate__epochs": 2,
        "recipes__accurate__batch_size": 500,
        "recipes__accurate__progressive_resizing__sizes": [16, 32],
    },
}


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections in an annotation, such as ``Annotated[Lenet | Whitened, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models(argument)


def leaves(model: type[BaseModel]) -> set[tuple[str, str]]:
    """Return (model, key) of each value in a section and the sections below it."""
    found = set()
    for key, field in model.model_fields.items():
        below = list(models(field.annotation))
        found |= set().union(*map(leaves, below)) if below else {(model.__name__, key)}
    return found


def declared(stage: str) -> set[tuple[str, str]]:
    """Return (model, key) of each parameter that dvc.yaml gives a stage."""
    found = set()
    for entry in GRAPH["stages"][stage]["params"]:
        section, _, key = entry.partition(".")
        if entry == RECIPE:
            found |= leaves(Recipe)
        else:
            (model,) = models(Params.model_fields[section].annotation)
            found |= {(model.__name__, key)} if key else leaves(model)
    return found


class Recorder:
    """Records which keys of which sections the stages read; what common/ checks does not count."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: set[tuple[str, str]] = set()
        original = BaseModel.__getattribute__

        def get(section: Section, name: str) -> Any:
            file = Path(sys._getframe(1).f_code.co_filename)
            if file.is_relative_to(STAGES) and file.parent.name != "common":
                self.read.add((type(section).__name__, name))
            return original(section, name)

        monkeypatch.setattr(Section, "__getattribute__", get, raising=False)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


EVERYTHING = leaves(Params) - leaves(Machine)


@pytest.mark.parametrize("stage", ["preview", "test-sample", "evaluate"])
def test_a_report_reads_what_it_declares(stage: str, trained: Project, recorder: Recorder) -> None:
    trained.call(stage.replace("-", "_"))
    read = recorder.read & EVERYTHING
    assert not recorder.read & {("Params", "recipe"), ("Params", "recipes")}
    assert read - leaves(Recipe) == declared(stage)  # the recipe of the model file may be read


def test_download_reads_what_it_declares(project: Project, recorder: Recorder) -> None:
    lay_out(
        project.path / "images",
        {f"{name}/{n}.png": solid((n, 0, 0)) for name in "ab" for n in range(9)},
    )
    project.call("download")  # digits
    lay_out(project.path / "images", {"a/damaged.png": b"no image"})
    project.change(
        download__dataset="folder", download__source="images", download__unreadable="skip"
    )
    project.call("download")
    assert recorder.read & EVERYTHING == declared("download")


def test_training_reads_what_it_declares(prepared: Project, recorder: Recorder) -> None:
    for recipe, changes in RUNS.items():
        prepared.change(train__recipe=recipe, **changes)
        prepared.call("train")
    read = recorder.read & EVERYTHING
    assert read <= declared("train")
    by_common = {"name", "pretrained"}  # the latter by weights_file
    unread = {(model, key) for model, key in declared("train") - read if key not in by_common}
    assert {model for model, _ in unread} <= {
        "AdamW",  # in none of the runs, as the next two
        "Torchvision",
        "Timm",
        "ProgressiveResizing",  # read as Recipe.train_sizes
    }
