"""The train stage with a file of initial weights: needed, recorded, never exchanged unnoticed."""

import hashlib
import shutil
import signal
from pathlib import Path

import pytest
import torch

from common.arrays import load_images
from common.params import load_params
from evaluation.provenance import facts
from helpers import refused
from model.classifier import Classifier
from model.file import load_classifier
from models import make_description
from project import Project
from training.checkpoint import compute_fingerprint
from trainings import Trainings, described, posix


def test_other_stages_do_not_need_the_file(project: Project) -> None:
    project.change(recipes__quick__network__pretrained="nowhere.pth")
    assert load_params().recipe.network.pretrained == "nowhere.pth"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.pth", "network.pretrained is nowhere.pth: no such file; put it there or name"),
        ("folder.pth", "network.pretrained is folder.pth: no such file"),
        (
            "models/classifier.safetensors",
            "network.pretrained is models/classifier.safetensors, which the train stage itself "
            "writes; copy the file and name the copy",
        ),
    ],
)
def test_training_needs_the_file(prepared: Project, name: str, said: str) -> None:
    Path("folder.pth").mkdir()
    prepared.change(recipes__quick__network__pretrained=name)
    assert refused(lambda: prepared.call("train")).startswith(said)


def test_a_trained_model_begins_another_training_and_is_named_by_its_checksum(
    trained: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(trained.model, "before.safetensors")
    trained.change(
        recipes__quick__network__pretrained="before.safetensors", recipes__quick__learning_rate=1e-6
    )
    trained.call("train")
    assert "before.safetensors: all layers are loaded" in capsys.readouterr().err
    Path("before.safetensors").rename("kept.safetensors")  # a model does not need it
    before = load_classifier(Path("kept.safetensors")).network.state_dict()
    after = load_classifier(trained.model).network.state_dict()
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-3)
    digest = hashlib.sha256(Path("kept.safetensors").read_bytes()).hexdigest()
    assert described(trained.model)["initial_weights"] == digest
    found = facts(load_classifier(trained.model), load_images("test").dataset)
    assert found["SHA-256 of the initial weights"] == digest


@posix
def test_with_another_file_under_the_same_name_training_starts_anew(trainings: Trainings) -> None:
    project, path = Project(trainings.path), trainings.path / "a.pth"
    classes = [str(digit) for digit in range(10)]
    project.change(recipes__quick__network__pretrained="a.pth", recipes__quick__epochs=1000)
    for factor, said in [(1, "all layers"), (2, "a run with other initial weights, so training")]:
        state = Classifier(make_description(image_size=32, classes=classes)).network.state_dict()
        torch.save({name: factor * tensor for name, tensor in state.items()}, path)
        assert trainings.run_until_saved([{}], 0, signal.SIGKILL) == [-signal.SIGKILL]
        assert said in trainings.stderr()


def test_the_fingerprint_tells_files_apart(prepared: Project) -> None:
    options = load_params().train
    one, other = (
        compute_fingerprint(make_description(initial_weights=digits), options)
        for digits in ("a" * 64, "b" * 64)
    )
    assert {key for key in one if one[key] != other[key]} == {"initial weights"}
