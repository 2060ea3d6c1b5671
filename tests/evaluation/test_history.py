"""Reading reports/history.csv, and the validation numbers of the weights that were kept."""

import math
import os
from pathlib import Path

import pytest

from evaluation.history import COLUMNS, read_history, validation_metrics
from helpers import refused

HEADER = ",".join(COLUMNS)
GOOD = [
    "1,0.1,2.3,10.5,2.2,20.25",
    "2,0.1,1.3,40.5,1.2,61.125",
    "3,0.1,1.0,50.5,1.4,60.5",
]


def write(directory: Path, *lines: str) -> Path:
    path = directory / "history.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def test_rows_are_read_as_numbers(tmp_path: Path) -> None:
    rows = read_history(write(tmp_path, *GOOD))
    assert len(rows) == 3
    assert rows[1] == dict(zip(COLUMNS, [2, 0.1, 1.3, 40.5, 1.2, 61.125], strict=True))


@pytest.mark.parametrize("absent", ["nan", ""])
def test_what_was_not_measured_is_nan(tmp_path: Path, absent: str) -> None:
    (row,) = read_history(write(tmp_path, f"1,0.1,2.3,10.5,{absent},{absent}"))
    assert math.isnan(row["validation_loss"]) and math.isnan(row["validation_accuracy"])
    assert validation_metrics([row], None) == {}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "history.csv")
    assert "it must be a file" in refused(lambda: read_history(tmp_path / "history.csv"))


def test_without_a_file_the_line_names_the_stage_to_run(tmp_path: Path) -> None:
    line = refused(lambda: read_history(tmp_path / "history.csv"))
    assert line == f"{tmp_path}/history.csv: no such file; run the train stage first"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "its epochs are not 1, 2, ..."),
        (GOOD[1:], "its epochs are not 1, 2, ..."),
        ([GOOD[0], GOOD[0]], "its epochs are not 1, 2, ..."),
        (["1,0.1,2.3,10.5,2.2"], "its columns are not epoch"),
        (["1,0.1,2.3,10.5,2.2,20.25,9"], "its columns are not epoch"),
        (["1,0.1,nan,10.5,2.2,20.25"], "train_loss is 'nan'"),
        (["1,0.1,much,10.5,2.2,20.25"], "could not convert string to float: 'much'"),
        (['1,"0.1,2.3'], "unexpected end of data"),
    ],
)
def test_a_damaged_file_is_an_error_of_one_line(
    tmp_path: Path, lines: list[str], reason: str
) -> None:
    path = write(tmp_path, *lines)
    line = refused(lambda: read_history(path))
    assert line.startswith(f"{path}: damaged ({reason}")
    assert line.endswith("run the train stage again")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x00" * 100, b"a,b\n1,2\n", b"\n\n"])
def test_another_file_in_its_place_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    assert "damaged" in refused(lambda: read_history(path))


@pytest.mark.parametrize(
    ("best_epoch", "expected"),
    [
        (None, {"val_acc": 60.5, "val_loss": 1.4}),
        (2, {"val_acc": 61.12, "val_loss": 1.2}),
        (1, {"val_acc": 20.25, "val_loss": 2.2}),
    ],
)
def test_validation_numbers_are_those_of_the_weights_that_were_kept(
    tmp_path: Path, best_epoch: int | None, expected: dict[str, float]
) -> None:
    assert validation_metrics(read_history(write(tmp_path, *GOOD)), best_epoch) == expected


def test_an_infinite_validation_loss_is_left_out_of_json(tmp_path: Path) -> None:
    rows = read_history(write(tmp_path, "1,0.1,2.3,10.5,inf,20.25"))
    assert validation_metrics(rows, None) == {"val_acc": 20.25}


def test_a_history_of_another_training_is_refused(tmp_path: Path) -> None:
    rows = read_history(write(tmp_path, *GOOD))
    line = refused(lambda: validation_metrics(rows, 4))
    assert "has 3 epochs, but the model is of epoch 4; run the train stage again" in line
