"""CSV files that every reader parses and no spreadsheet executes."""

import csv
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.tables import write_csv

HOSTILE = [
    "=1+1",
    "=HYPERLINK(\"http://example.org\",'x')",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "＝1+1",
    "\t=1+1",
    "\r=1+1",
    "a\nb",
    "a\r\n=b",
    "\x1b[2Jgone",
    "\u202egpj.exe",
    "\udcff",
]
HARMLESS = [
    "a,b",
    'say "x"',
    "O'Neil",
    "",
    " ",
    "ü/日本.png",
    "a;b",
    "a\\b",
    "-1.5",
    "+3",
    "a=b",
    "'a",
]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_comes_back_as_it_was(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [{text or "empty": "x", "file": text, "n": 1}])
    assert read(path) == [{text or "empty": "x", "file": text, "n": "1"}]
    assert pd.read_csv(path, keep_default_na=False).loc[0, "n"] == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_one_line_that_begins_with_no_formula(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [{text: "x", "file": text}, {text: "y", "file": "after"}])
    content = path.read_bytes().decode()
    assert content.count("\n") == 3
    assert not any(character in content for character in "\r\t\x1b\u202e")
    rows = read(path)
    assert [row["file"] for row in rows][1] == "after"
    for cell in (rows[0]["file"], next(iter(rows[0]))):
        assert cell[0] not in "=+-@＝＋－＠"


def test_the_file_has_a_line_per_row_below_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(
        path,
        [
            {
                "file": "a.png",
                "epoch": 1,
                "loss": 0.123456789,
                "right": True,
                "text": "0.123456789",
            },
            {"file": "b.png", "epoch": 20, "loss": math.nan, "right": False, "text": "1e3"},
            {"file": "c.png", "epoch": np.int64(3), "loss": np.float32(1 / 3), "text": None},
            {"file": "d.png", "epoch": 4, "loss": 1e-30, "right": None, "text": "x"},
            {"file": "e.png", "epoch": 4, "loss": -math.inf, "right": None, "text": "x"},
        ],
    )
    assert path.read_bytes() == (
        b"file,epoch,loss,right,text\n"
        b"a.png,1,0.123457,True,0.123456789\n"
        b"b.png,20,nan,False,1e3\n"
        b"c.png,3,0.333333,,\n"
        b"d.png,4,1e-30,,x\n"
        b"e.png,4,-inf,,x\n"
    )


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", [], ["file", "=reason"])
    assert (tmp_path / "table.csv").read_text() == "file,'=reason\n"


def test_a_row_with_another_column_is_an_error_that_leaves_the_table_before(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [{"a": 1}])
    with pytest.raises(ValueError, match="not in fieldnames"):
        write_csv(path, [{"a": 1}, {"a": 1, "b": 2}])
    assert path.read_text() == "a\n1\n"
