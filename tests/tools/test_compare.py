"""tools/compare.py of two revisions, in a tiny project under Git and DVC."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import compare
from common.errors import UserError
from comparison.models import pair
from fabricated import Fabricated

CLASSES = ["cat", "dog", "NA"]  # the last one is what pandas takes for a missing value
N = 300


def write_predictions(
    project: Path, wrong: set[int], indices: range = range(N), shift: int = 0, named: bool = True
) -> None:
    """Write predictions that are right but for the images in ``wrong``.

    Image number n is of class n + shift modulo 3, and its file is named by n, or its row by index.
    """
    with (project / "reports/predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file" if named else "index", "actual", "predicted", "confidence"])
        for index in indices:
            actual = index + shift
            predicted = actual + 1 if index in wrong else actual
            name = f'{index}, "ä".jpg' if named else index
            writer.writerow([name, CLASSES[actual % 3], CLASSES[predicted % 3], 0.9])


def write_dataset(project: Path, folder: str = "data/arrays", **changes: str | None) -> None:
    dataset = {"name": "folder", "classes": CLASSES, "source": "p.zip", "sha256": "0" * 64}
    path = project / folder / "dataset.json"
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataset | changes))


def make(project: Path, folder: str, named: bool) -> Path:
    """Commit 60 of 300 wrong; dataset.json is DVC's, in a directory, predictions.csv is Git's."""
    fabricated = Fabricated(project)
    project.mkdir()
    fabricated.call("git", "init", "-q")
    for key, value in (("user.name", "somebody"), ("user.email", "somebody@example.com")):
        fabricated.call("git", "config", key, value)
    fabricated.call(sys.executable, "-m", "dvc", "init", "-q")
    (project / "reports").mkdir()
    write_dataset(project, folder)
    write_predictions(project, set(range(60)), named=named)
    fabricated.call(sys.executable, "-m", "dvc", "add", "-q", folder)
    fabricated.call("git", "add", "-A")
    fabricated.call("git", "commit", "-qm", "first")
    return project


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("now") / "project", "data/arrays", named=True)


@pytest.fixture(scope="module")
def committed_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As it was before images had names."""
    return make(tmp_path_factory.mktemp("before") / "project", "data/images", named=False)


@pytest.fixture
def project(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copied(committed, tmp_path, monkeypatch)


@pytest.fixture
def unnamed(committed_before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = copied(committed_before, tmp_path, monkeypatch)
    write_dataset(copy)
    return copy


def copied(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "project"
    shutil.copytree(project, copy, symlinks=True)
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
    # 20 images went right and 1 wrong.
    assert found["p_value"] == pytest.approx(2 * (1 + 21) / 2**21)
    assert found["moved"] == ["cat"]
    assert found["classes"]["NA"]["n"] == 100


def test_text_says_what_is_known_about_the_models_and_what_is_not_about_the_change(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(project, {index for index in range(60) if index % 3})
    subprocess.run(["git", "commit", "-qam", "second"], check=True)
    run(monkeypatch, "HEAD~1", "HEAD")
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    for expected in (
        "HEAD~1 ",
        "80.00 % of 300 test images",
        "86.67 %",
        "+6.67",
        "these two models differ on these test images",
        "cat",
        "Not known from one seed each: whether the change makes a difference.",
        "dvc exp run --queue -S 'train.seed=range(0,5)'",
        "python tools/compare.py --experiments",
    ):
        assert expected in text
    assert "dog" not in text


def test_small_difference_is_no_difference(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(project, set(range(58)))
    run(monkeypatch)
    text = capsys.readouterr().out
    assert "these two models are not shown to differ on these test images" in text
    assert "no class moved" in text


@pytest.mark.parametrize(("fewer", "disagree"), [(4, False), (5, True), (6, False)])
def test_an_interval_that_disagrees_with_the_exact_test_is_told(
    fewer: int,
    disagree: bool,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Five mistakes fewer and none more: p is 2 / 2**5, and the interval begins above 0."""
    write_predictions(project, set(range(60 - fewer)))
    run(monkeypatch)
    text = capsys.readouterr().out
    assert f"p = {2 / 2**fewer:.3g}: " in text
    assert ("The interval and the test disagree. The test is exact" in text) == disagree


def test_only_images_in_common_are_compared_and_counted(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """50 images are gone, 100 are new, in another order, and the archive is another one."""
    write_predictions(project, set(range(50, 55)), indices=range(399, 49, -1))
    write_dataset(project, sha256="1" * 64)

    run(monkeypatch, "--json")
    found = json.loads(capsys.readouterr().out)
    run(monkeypatch)
    text = capsys.readouterr().out

    assert (found["n"], found["test_images"]) == (250, {"HEAD": 300, "workspace": 350})
    # Of images 50 to 299, the model of HEAD has 10 wrong, that of the workspace 5 of these.
    assert (found["accuracy_a"], found["accuracy_b"]) == pytest.approx((96, 98))
    assert "250 test images in common (of 300 and 350)" in text
    assert "The data sets are not the same: sha256 is" in text


def test_images_with_another_label_are_not_compared(project: Path) -> None:
    path = project / "reports/predictions.csv"
    path.write_text(path.read_text().replace('"299, ""ä"".jpg",NA', '"299, ""ä"".jpg",dog'))
    pairs = pair("HEAD", "workspace")
    assert (len(pairs.rows), pairs.relabelled) == (299, 1)


def test_images_of_the_same_name_are_matched_in_their_order(project: Path) -> None:
    """The classes of some data sets share file names, and so may images of one class."""
    path = project / "reports/predictions.csv"
    for revision in ("HEAD", "workspace"):
        path.write_text("file,actual,predicted\na.jpg,cat,dog\na.jpg,cat,cat\na.jpg,dog,dog\n")
        if revision == "HEAD":
            subprocess.run(["git", "commit", "-qam", "same names"], check=True)
    rows = pair("HEAD", "workspace").rows
    assert (list(rows["a"]), list(rows["b"])) == ([False, True, True], [False, True, True])


def test_no_image_in_common_is_an_error(project: Path) -> None:
    write_predictions(project, set(), indices=range(1000, 1010))
    with pytest.raises(UserError, match="no test image of HEAD"):
        pair("HEAD", "workspace")


def test_other_data_set_ends_in_one_line_and_status_1(project: Path) -> None:
    write_dataset(project, name="digits")
    result = subprocess.run(
        [sys.executable, compare.__file__], check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: the data sets differ: name is 'folder' at HEAD, 'digits' at w")


def test_without_names_images_are_matched_by_position(unnamed: Path) -> None:
    write_predictions(unnamed, set(range(58)))  # today's file, with names
    pairs = pair("HEAD", "workspace")
    assert list(pairs.rows["a"]) == [False] * 60 + [True] * 240
    assert list(pairs.rows["b"]) == [False] * 58 + [True] * 242


def test_without_names_other_data_are_not_compared(unnamed: Path) -> None:
    write_predictions(unnamed, set(), indices=range(299))
    with pytest.raises(UserError, match="300 test images at HEAD, 299 at workspace"):
        pair("HEAD", "workspace")
    write_predictions(unnamed, set(), shift=1)
    with pytest.raises(UserError, match="300 of 300 test images have another label"):
        pair("HEAD", "workspace")
    write_predictions(unnamed, set())
    write_dataset(unnamed, source="elsewhere")
    assert len(pair("HEAD", "workspace").rows) == 300
    write_dataset(unnamed, sha256="1" * 64)
    with pytest.raises(UserError, match=r"sha256 is '000.* no file names to match by"):
        pair("HEAD", "workspace")
    write_dataset(unnamed, sha256=None)
    subprocess.run(["git", "rm", "-q", "data/images.dvc"], check=True)
    subprocess.run(["git", "add", "-f", "data/arrays/dataset.json"], check=True)
    subprocess.run(["git", "commit", "-qm", "a folder, which has no checksum"], check=True)
    write_dataset(unnamed, sha256=None, source="elsewhere")
    with pytest.raises(UserError, match=r"source is 'p.zip' at HEAD, 'elsewhere' at workspace"):
        pair("HEAD", "workspace")


def test_unknown_revision(project: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        pair("nowhere", "HEAD")


@pytest.mark.parametrize("content", ["\x00\x00", "a,b\n1,2\n", "file,actual,predicted\n", ""])
def test_damaged_predictions(project: Path, content: str) -> None:
    (project / "reports/predictions.csv").write_text(content)
    with pytest.raises(UserError, match="damaged"):
        pair("HEAD", "workspace")


def test_missing_files(project: Path) -> None:
    (project / "reports/predictions.csv").unlink()
    with pytest.raises(UserError, match=r"predictions.csv: no such file in the workspace"):
        pair("HEAD", "workspace")
    (project / "data/arrays/dataset.json").unlink()
    with pytest.raises(UserError, match=r"data/arrays/dataset.json: no such file in the workspace"):
        pair("HEAD", "workspace")
