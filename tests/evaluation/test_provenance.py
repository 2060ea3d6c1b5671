"""What a report says of the code and the data."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from common.arrays import load_images
from evaluation.provenance import augmentation, flatten, last_commit, libraries, read_findings
from helpers import refused, snapshot
from made_predictions import make_dataset
from model.classifier import Classifier
from models import make_description, make_recipe, torchvision
from project import Project


def git(*arguments: str, date: str = "2026-01-02T12:00:00") -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(
        ["git", *identity, *arguments],
        env={"PATH": "/usr/bin:/bin", "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages").mkdir()
    for name in ("stages/train.py", "params.yaml", "README.md"):
        (tmp_path / name).write_text("first")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "code")
    return tmp_path


def test_the_commit_is_the_last_one_of_code_and_parameters(repository: Path) -> None:
    code = git("rev-parse", "--short=12", "HEAD")
    (repository / "README.md").write_text("second")
    git("commit", "-qam", "words", date="2026-03-04T12:00:00")
    assert last_commit() == f"commit {code} of 2026-01-02"

    (repository / "params.yaml").write_text("second")
    git("commit", "-qam", "parameters", date="2026-05-06T12:00:00")
    assert last_commit() == f"commit {git('rev-parse', '--short=12', 'HEAD')} of 2026-05-06"


def test_what_is_not_committed_is_named(repository: Path) -> None:
    (repository / "params.yaml").write_text("second")
    (repository / "stages" / "new.py").write_text("new")
    (repository / "README.md").write_text("second")
    assert last_commit().endswith(
        " of 2026-01-02, with uncommitted changes in params.yaml, stages/new.py"
    )


def test_a_repository_without_a_commit_and_no_repository_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert last_commit() == "not in a Git repository"
    git("init", "-q")
    assert last_commit() == "not in a Git repository"
    (tmp_path / "README.md").write_text("words")
    git("add", ".")
    git("commit", "-qm", "words")
    (tmp_path / "params.yaml").write_text("first")
    assert last_commit() == "not committed, with uncommitted changes in params.yaml"


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert last_commit() == "not in a Git repository"


def test_the_library_of_the_network_is_among_those_with_a_version() -> None:
    recipe = make_recipe(network=torchvision("resnet18"))
    assert libraries(make_description(recipe)) == ["torch", "numpy", "pandas", "torchvision"]
    assert libraries(make_description()) == ["torch", "numpy", "pandas"]


def test_nested_values_are_named_by_their_path() -> None:
    nested = {"epochs": 2, "network": {"name": "lenet", "channels": [6, 16]}, "micro_batch": None}
    assert dict(flatten(nested)) == {
        "epochs": "2",
        "network.name": "lenet",
        "network.channels": "[6, 16]",
    }


def test_what_the_preview_stage_says_of_the_data_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    dataset = make_dataset(["Ö"], test=2, train=5)
    assert read_findings(path, dataset) is None
    data = {
        "attention": ["Ö, one", "two"],
        "classes": {"Ö": {"train": 5, "test": 2}},
        "duplicates": {
            "exact": {"within_train": 1, "across": 2, "within_test": 3},
            "near": {"within_train": 4, "across": 5, "within_test": 6},
            "labels_disagree": 7,
            "largest_distance": 0.125,
        },
        "test_images_in_train": 8,
        "skipped": {"files": 9, "reasons": {}},
        "other": 1,
    }
    path.write_text(json.dumps(data), encoding="utf-8")
    found = read_findings(path, dataset)
    assert found is not None
    assert found.attention == ["Ö, one", "two"]
    assert found.classes["Ö"] == {"train": 5, "test": 2}
    assert (found.duplicates.exact.across, found.duplicates.near.within_test) == (2, 6)
    assert (found.test_images_in_train, found.skipped.files) == (8, 9)


def test_what_the_preview_stage_writes_is_read(prepared: Project) -> None:
    prepared.call("preview")
    found = read_findings(prepared.reports / "data.json", load_images("train").dataset)
    assert found is not None
    labels = np.load(prepared.images / "train_labels.npy")
    assert [counts["train"] for counts in found.classes.values()] == np.bincount(labels).tolist()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"attention": []}', b"\xff"])
def test_damaged_findings_are_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    line = refused(lambda: read_findings(path, make_dataset(["a"], test=1)))
    assert line == f"{path}: damaged; run the preview stage again"


def test_findings_of_other_data_are_refused_before_anything_is_written(prepared: Project) -> None:
    for stage in ("preview", "train"):
        prepared.call(stage)
    path = prepared.reports / "data.json"
    data = json.loads(path.read_text())
    *others, (name, images) = data["classes"].items()
    fewer = {**images, "train": images["train"] - 1}
    for changed in {"another": images}, {name: fewer}:
        path.write_text(json.dumps({**data, "classes": {**dict(others), **changed}}))
        before = snapshot(prepared.reports)
        line = refused(lambda: prepared.call("evaluate"))
        assert line == (
            "reports/data.json: of other data than data/arrays; run the preview stage again"
        )
        assert snapshot(prepared.reports) == before


def test_test_time_augmentation_is_told_with_its_condition() -> None:
    classifier = Classifier(make_description())
    assert augmentation(classifier) == "none"
    classifier.test_time_augmentation = "mirror"
    told = augmentation(classifier)
    assert told.startswith("mirror, where the two highest probabilities, before the temperature, ")
    assert told.endswith("differ by less than 0.5")
