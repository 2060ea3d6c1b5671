"""tools/label_errors.py finds planted wrong labels, by models that did not see the images."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cross_validation.training
import label_errors
from cross_validation.folds import assign_folds
from cross_validation.suspects import find_suspects
from helpers import ROOT, refused, wait_until
from model.classifier import predict
from project import Project
from training.loop import fit
from trainings import posix

Array = np.ndarray[Any, Any]
CHANGED = 30  # of about 1,400 labels
FOLDS = Path("models/label_errors")


@pytest.fixture
def mislabelled(prepared: Project) -> tuple[Project, dict[str, str]]:
    """Digits of which some have a wrong label, and the right labels of these by name."""
    path = prepared.images / "train_labels.npy"
    labels = np.load(path)
    chosen = np.random.default_rng(0).choice(len(labels), CHANGED, replace=False)
    names = (prepared.images / "train_files.jsonl").read_text().splitlines()
    right = {names[index].strip('"'): str(labels[index]) for index in chosen}
    labels[chosen] = (labels[chosen] + 1 + np.arange(CHANGED) % 9) % 10
    np.save(path, labels)
    prepared.change(recipes__quick__epochs=12)
    return prepared, right


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["label_errors.py", *arguments])
    label_errors.main()


def listed(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_planted_wrong_labels_come_first_with_the_right_ones_suggested(
    mislabelled: tuple[Project, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project, right = mislabelled
    run(monkeypatch, "--folds", "3")
    rows = listed(project.reports / "label_errors.csv")
    first = rows[:CHANGED]
    found = [row for row in first if row["file"] in right]
    assert len(found) >= 0.75 * CHANGED
    assert sum(row["suggested"] == right[row["file"]] for row in found) >= 0.9 * len(found)
    assert all(row["label"] != row["suggested"] for row in rows)
    assert (project.reports / "label_errors.png").exists()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"{len(rows)} of ")
    assert "training images look like another class" in printed[0]
    assert printed[1] == "{file}: labelled {label}, looks like {suggested}".format(**rows[0])
    assert not (project.reports / "history.csv").exists()  # that is of the train stage
    assert not project.model.exists()


def test_no_model_sees_the_images_that_it_judges(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Array] = []
    judged: list[Array] = []

    def recording_fit(setup: Any, *arguments: Any) -> None:
        trained.append(setup.data.train.numpy())
        fit(setup, *arguments)

    def recording_predict(classifier: Any, images: Any, indices: Array, size: int) -> Any:
        judged.append(indices)
        return predict(classifier, images, indices, size)

    monkeypatch.setattr(cross_validation.training, "fit", recording_fit)
    monkeypatch.setattr(cross_validation.training, "predict", recording_predict)
    keys = np.load(prepared.images / "train_keys.npy")
    keys[:200] //= 1 << 60  # few groups
    np.save(prepared.images / "train_keys.npy", keys)
    run(monkeypatch, "--folds", "4")
    assert len(trained) == len(judged) == 4
    assert sorted(np.concatenate(judged).tolist()) == list(range(len(keys)))
    for seen, unseen in zip(trained, judged, strict=True):
        assert sorted([*seen, *unseen]) == list(range(len(keys)))
        assert not set(keys[seen].tolist()) & set(keys[unseen].tolist())


def start(project: Project) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, ROOT / "tools" / "label_errors.py", "--folds", "3"],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@posix
def test_a_killed_cross_validation_resumes_and_ends_in_the_same_bytes(
    mislabelled: tuple[Project, dict[str, str]], tmp_path: Path
) -> None:
    project, _ = mislabelled
    project.change(machine__checkpoint_minutes=1e-6, recipes__quick__epochs=4)
    undisturbed = project.copy_to(tmp_path / "undisturbed")
    assert start(undisturbed).wait(240) == 0

    process = start(project)
    folder = project.path / FOLDS
    wait_until(lambda: (folder / "fold_2_of_3.state").exists())
    process.kill()
    process.communicate(timeout=60)
    before = (folder / "fold_1_of_3.safetensors").stat().st_mtime_ns
    again = start(project)
    _, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    assert "resuming after epoch" in errors
    assert (folder / "fold_1_of_3.safetensors").stat().st_mtime_ns == before
    for name in ("label_errors.csv", "label_errors.png"):
        assert (project.reports / name).read_bytes() == (undisturbed.reports / name).read_bytes()


def test_another_recipe_trains_again_and_the_same_one_does_not(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    train = cross_validation.training.train

    def recording(fold: Any, *arguments: Any) -> Any:
        trained.append(fold.name)
        return train(fold, *arguments)

    monkeypatch.setattr(cross_validation.training, "train", recording)
    run(monkeypatch, "--folds", "2")
    assert trained == ["1 of 2", "2 of 2"]
    run(monkeypatch, "--folds", "2")
    assert len(trained) == 2
    prepared.change(recipes__quick__label_smoothing=0.1)
    run(monkeypatch, "--folds", "2")
    assert len(trained) == 4
    damaged = prepared.path / FOLDS / "fold_1_of_2.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    run(monkeypatch, "--folds", "2")
    assert trained[4:] == ["1 of 2"]


def test_folds_keep_keys_together_and_share_out_every_class() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 600)
    keys = generator.integers(0, 2**64, 600, np.uint64)
    folds = assign_folds(keys, labels, ["a", "b", "c"], 5, seed=0)
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert (folds != assign_folds(keys, labels, ["a", "b", "c"], 5, seed=1)).mean() > 0.5
    together = keys % 100
    grouped = assign_folds(together, labels, ["a", "b", "c"], 5, seed=0)
    assert all(len(set(grouped[together == key])) == 1 for key in np.unique(together))


def test_a_class_in_one_fold_alone_is_refused() -> None:
    keys, labels = np.array([1, 2, 3, 3], np.uint64), np.array([0, 0, 1, 1])
    line = refused(lambda: assign_folds(keys, labels, ["cat", "dog"], 2, seed=0))
    assert line.startswith("class dog: all its training images have the same content")


def test_the_image_whose_label_is_least_probable_comes_first() -> None:
    probabilities = np.array(
        [[0.6, 0.3, 0.1], [0.1, 0.9, 0.0], [0.05, 0.5, 0.45], [0.5, 0.5, 0.0]], np.float32
    )
    suspects = find_suspects(probabilities, np.array([1, 0, 0, 0]))
    assert [suspect.position for suspect in suspects] == [2, 1, 0]
    assert suspects[0][1:3] == (0, 1)
    assert suspects[0][3:] == pytest.approx((0.05, 0.5))


@pytest.mark.parametrize("folds", ["0", "1", "101"])
def test_fewer_than_two_folds_are_refused(
    prepared: Project, monkeypatch: pytest.MonkeyPatch, folds: str
) -> None:
    assert f"--folds {folds}: choose" in refused(lambda: run(monkeypatch, "--folds", folds))


def test_nothing_is_overwritten_and_nothing_trained_for_a_bad_output(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (prepared.path / "taken.csv").mkdir()
    for output in ("taken.csv", "out.txt", "nowhere/out.csv"):
        line = refused(lambda output=output: run(monkeypatch, "--output", output))  # type: ignore[misc]
        assert line.startswith(f"--output {output}")
    assert not (prepared.path / FOLDS).exists()


def test_more_folds_than_images_are_refused() -> None:
    keys, labels = np.arange(8, dtype=np.uint64), np.arange(8) % 2
    line = refused(lambda: assign_folds(keys, labels, ["cat", "dog"], 20, seed=0))
    assert line == "20 folds of 8 different images; choose 8 folds or fewer"
