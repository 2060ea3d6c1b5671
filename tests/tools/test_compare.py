"""tools/compare.py in a tiny project under Git and DVC."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import compare
from common.errors import UserError

CLASSES = ["cat", "dog", "NA"]  # the last one is what pandas takes for a missing value
N = 300


def call(project: Path, *command: str) -> None:
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def write_predictions(project: Path, wrong: set[int], n: int = N, shift: int = 0) -> None:
    """Predictions that are right but for the pictures in ``wrong``."""
    lines = ["index,actual,predicted,confidence"]
    for index in range(n):
        actual = index + shift
        predicted = actual + 1 if index in wrong else actual
        lines.append(f"{index},{CLASSES[actual % 3]},{CLASSES[predicted % 3]},0.9")
    (project / "reports" / "predictions.csv").write_text("\n".join(lines) + "\n")


def write_dataset(project: Path, sha256: str) -> None:
    dataset = {
        "name": "pets",
        "classes": CLASSES,
        "image_size": 8,
        "counts": {"train": 9, "test": N},
        "source": "p.zip",
    }
    path = project / "data" / "images" / "dataset.json"
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(dataset | {"sha256": sha256}))


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HEAD has 60 of 300 wrong; dataset.json is DVC's, inside a directory, and predictions.csv is Git's."""
    project = tmp_path_factory.mktemp("project")
    for folder in ("data/images", "reports"):
        (project / folder).mkdir(parents=True)
    call(project, "git", "init", "-q")
    for key, value in (("user.name", "somebody"), ("user.email", "somebody@example.com")):
        call(project, "git", "config", key, value)
    call(project, sys.executable, "-m", "dvc", "init", "-q")
    write_dataset(project, "0" * 64)
    write_predictions(project, set(range(60)))
    call(project, sys.executable, "-m", "dvc", "add", "-q", "data/images")
    call(project, "git", "add", "-A")
    call(project, "git", "commit", "-qm", "first")
    return project


@pytest.fixture
def project(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "project"
    shutil.copytree(committed, copy, symlinks=True)
    monkeypatch.chdir(copy)
    return copy


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    compare.main()


def test_better_model_in_the_workspace(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(project, {index for index in range(60) if index % 3} | {100})

    run(monkeypatch, "--json")

    found = json.loads(capsys.readouterr().out)
    assert (found["a"], found["b"], found["n"]) == ("HEAD", "workspace", 300)
    assert (found["accuracy_a"], found["accuracy_b"]) == pytest.approx((80, 100 * 259 / 300))
    assert found["difference"] == pytest.approx(100 * 19 / 300)
    # 20 pictures went right and 1 wrong.
    assert found["p_value"] == pytest.approx(2 * (1 + 21) / 2**21)
    assert found["moved"] == ["cat"]
    assert found["classes"]["NA"]["n"] == 100


def test_two_revisions_as_text(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(project, {index for index in range(60) if index % 3})
    call(project, "git", "commit", "-qam", "second")

    run(monkeypatch, "HEAD~1", "HEAD")

    text = capsys.readouterr().out
    for expected in (
        "HEAD~1 ",
        "80.00 % of 300 test pictures",
        "86.67 %",
        "+6.67",
        "really different",
        "cat",
    ):
        assert expected in text
    assert "dog" not in text


def test_small_difference_is_no_difference(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(project, set(range(58)))
    run(monkeypatch)
    text = capsys.readouterr().out
    assert "no more than chance would make" in text
    assert "no class moved" in text


def test_other_data_end_in_one_line_and_status_1(project: Path) -> None:
    write_dataset(project, "1" * 64)
    result = subprocess.run(
        [sys.executable, compare.__file__], check=False, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: the data sets differ: sha256 is 000")


def test_fewer_pictures_are_not_compared(project: Path) -> None:
    write_predictions(project, set(), n=299)
    with pytest.raises(UserError, match="300 test pictures at HEAD, 299 at workspace"):
        compare.pair("HEAD", "workspace")


def test_other_labels_are_not_compared(project: Path) -> None:
    write_predictions(project, set(), shift=1)
    with pytest.raises(UserError, match="300 of 300 test pictures have another label"):
        compare.pair("HEAD", "workspace")


def test_unknown_revision(project: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        compare.pair("nowhere", "HEAD")


def test_missing_and_damaged_predictions(project: Path) -> None:
    path = project / "reports" / "predictions.csv"
    path.write_text("\x00\x00")
    with pytest.raises(UserError, match="damaged"):
        compare.pair("HEAD", "workspace")
    path.unlink()
    with pytest.raises(UserError, match="no such file in the workspace"):
        compare.pair("HEAD", "workspace")
