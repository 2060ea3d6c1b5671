"""tools/predict.py --csv writes a row per image, all of them or no file."""

import csv
import gc
import json
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import prediction.forms
import prediction.images
from helpers import lay_out, refused, snapshot, solid
from model.classifier import Classifier
from model.file import save_classifier
from models import CLASSES, make_description, random_images, rewrite, save_whitened
from prediction.forms import csv_file
from prediction.images import Prediction
from predictions import DIGITS, Capture, expected, pngs_of, read_json, run
from project import Project

COLUMNS = ["file", "predicted", "confidence"]
COLUMNS += ["second", "second_probability", "third", "third_probability"]


def read_rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_per_image_has_what_evaluate_gives(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """In two batches; read by pandas."""
    lay_out(trained.path / "images", pngs_of(trained, 71))
    run(monkeypatch, "images", "--csv", "out.csv")
    assert capsys.readouterr().out == "out.csv: 71 of 71 images\n"
    table = pd.read_csv("out.csv", dtype=dict.fromkeys(("predicted", "second", "third"), str))
    assert list(table) == COLUMNS
    assert list(table["file"]) == [os.path.join("images", f"{n:03}.png") for n in range(71)]  # noqa: PTH118
    probabilities = expected(trained.model, trained.images / "test_images.npy", 71)
    labels = np.argsort(-probabilities, axis=1)[:, :3]
    assert (table[["predicted", "second", "third"]].to_numpy() == np.array(DIGITS)[labels]).all()
    highest = np.take_along_axis(probabilities, labels, axis=1)
    written = table[["confidence", "second_probability", "third_probability"]].to_numpy()
    np.testing.assert_allclose(written, highest, rtol=1e-5)


def test_csv_and_json_together_say_the_same(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    lay_out(trained.path / "images", pngs_of(trained, 5))
    run(monkeypatch, "images", "--csv", "out.csv", "--json", "--unsure", "0.9")
    captured = capsys.readouterr()
    listed = read_json(captured.out)
    for row, one in zip(read_rows("out.csv"), listed, strict=True):
        assert row["file"] == one["image"]
        assert row["unsure"] == json.dumps(one["unsure"])
        first, _, third = one["predictions"]
        assert (row["predicted"], row["third"]) == (first["class"], third["class"])
        assert float(row["confidence"]) == pytest.approx(first["probability"], rel=1e-5)
    assert "out.csv: 5 of 5 images" in captured.err.splitlines()


def test_names_can_neither_break_the_table_nor_become_formulas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is no UTF-8, where there can be one, is written too."""
    monkeypatch.chdir(tmp_path)
    path = save_whitened(tmp_path / "m.safetensors", "float32")
    classes = ["=1+1", "line\nbreak", 'a "class", quoted']
    rewrite(path, lambda _, description: description.update(classes=classes))
    odd = os.fsdecode(b"\xff.png") if sys.platform == "linux" else "b.png"
    names = ["@sum(a1).png", "comma, and\nline.png", odd]
    lay_out(tmp_path, dict.fromkeys(names, solid(0)))
    run(monkeypatch, path, *names, "--csv", "out.csv")
    rows = read_rows("out.csv")
    assert len(Path("out.csv").read_text(encoding="utf-8").splitlines()) == 4
    assert [row["file"] for row in rows[:2]] == ["'@sum(a1).png", r"comma, and\nline.png"]
    found = {rows[0][column] for column in ("predicted", "second", "third")}
    assert found == {"'=1+1", r"line\nbreak", 'a "class", quoted'}


def test_a_model_of_two_classes_leaves_the_third_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_classifier(Classifier(make_description(classes=["a", "b"])), Path("m.safetensors"))
    lay_out(tmp_path, {"x.png": solid(0)})
    run(monkeypatch, "m.safetensors", "x.png", "--csv", "out.csv", "--unsure", "0.01")
    (row,) = read_rows("out.csv")
    assert {row["predicted"], row["second"]} == {"a", "b"}
    assert (row["third"], row["third_probability"], row["unsure"]) == ("", "", "false")


def test_images_that_cannot_be_read_are_not_in_the_table(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    lay_out(trained.path, {"a.png": solid(0), "bad.png": b"no image", "c.png": solid(9)})
    line = refused(lambda: run(monkeypatch, "a.png", "bad.png", "c.png", "--csv", "out.csv"))
    assert line == "1 of 3 images could not be read; they are named above"
    assert [row["file"] for row in read_rows("out.csv")] == ["a.png", "c.png"]
    captured = capsys.readouterr()
    assert "bad.png: not an image" in captured.err
    assert captured.out == "out.csv: 2 of 3 images\n"


def test_an_earlier_table_stays_when_nothing_can_be_predicted(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(trained.path, {"out.csv": b"earlier", "bad.png": b"no image"})
    before = snapshot(trained.path)
    assert "1 of 1" in refused(lambda: run(monkeypatch, "bad.png", "--csv", "out.csv"))
    assert snapshot(trained.path) == before


def test_the_table_appears_at_the_end_and_a_failure_leaves_the_earlier_one(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of finished batches are in the file beside it, not in memory."""
    lay_out(trained.path, {**pngs_of(trained, 5), "out.csv": b"earlier"})
    names, seen = list(pngs_of(trained, 5)), []

    def stop_at_the_last(name: str, *arguments: Any) -> Any:
        seen.append((Path("out.csv").read_bytes(), Path("out.csv.part").exists()))
        if name == names[-1]:
            raise KeyboardInterrupt
        return likeliest(name, *arguments)

    likeliest = prediction.images.likeliest
    monkeypatch.setattr(prediction.images, "likeliest", stop_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, *names, "--csv", "out.csv")
    assert seen == [(b"earlier", True)] * 5
    assert Path("out.csv").read_bytes() == b"earlier"
    assert not Path("out.csv.part").exists()
    monkeypatch.undo()
    monkeypatch.chdir(trained.path)
    run(monkeypatch, *names, "--csv", "out.csv")
    assert len(read_rows("out.csv")) == 5


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes or devices among files")
@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("input.csv", "input.csv is a file to read"),
        ("hard.csv", "hard.csv is a file to read"),
        ("model.csv", "model.csv is a file to read"),
        ("link.csv", "link.csv is a folder, link, pipe or device"),
        ("folder.csv", "folder.csv is a folder, link, pipe or device"),
        ("part.csv", "part.csv.part is a file to read"),
        ("typo/out.csv", "there is no folder typo"),
        ("out.txt", "name a file that ends in .csv"),
    ],
)
def test_a_table_takes_the_place_of_nothing_that_is_read(
    table: str, said: str, trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image may have any name, also one in a folder that is named."""
    lay_out(trained.path, {"in/a.png": solid(0), "input.csv": solid(0), "folder.csv/a": b""})
    lay_out(trained.path, {"part.csv.part": solid(0)})
    os.link("in/a.png", "hard.csv")
    os.link(trained.model, "model.csv")
    Path("link.csv").symlink_to("params.yaml")
    before = snapshot(trained.path)
    line = refused(lambda: run(monkeypatch, "in", "input.csv", "part.csv.part", "--csv", table))
    assert line.startswith(f"--csv {table}: ")
    assert said in line
    assert snapshot(trained.path) == before


def test_no_more_predictions_than_a_batch_are_in_memory(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(trained.path / "images", pngs_of(trained, 9))
    alive: list[int] = []

    def count_and_make(one: Prediction) -> list[object]:
        alive.append(sum(type(each) is Prediction for each in gc.get_objects()))
        return as_row(one)

    as_row = prediction.forms.as_row
    monkeypatch.setattr(prediction.images, "BATCH_SIZE", 2)
    monkeypatch.setattr(prediction.forms, "as_row", count_and_make)
    run(monkeypatch, "images", "--csv", "out.csv")
    assert len(alive) == 9
    assert max(alive) <= 2


def test_rows_are_not_kept_in_memory(tmp_path: Path) -> None:
    """5,000 rows take more than a megabyte, twice that as Python's strings."""
    one = Prediction("n" * 200, random_images(1)[0], [(name, 0.3) for name in CLASSES], 0, False)
    with csv_file(tmp_path / "out.csv", unsure=True) as write_row:
        tracemalloc.start()
        for _ in range(5000):
            write_row(one)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (tmp_path / "out.csv").stat().st_size > 1_000_000
    assert peak < 100_000
