"""Files that cannot become images are named all at once by reason, or skipped and listed."""

import csv
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from downloads import below, bring_folder, by_color, everything, fails, images, packed
from helpers import encode, lay_out, snapshot, solid

SKIPPED = Path("reports/skipped.csv")
LIST = Path("data/unreadable.csv")
# A file of each kind that cannot be read, with a word of its reason.
BAD = {
    "cat/a note.png": (b"to do", "not an image in a format that Pillow reads"),
    "cat/page.jpg": (b"<html></html>", "not an image in a format that Pillow reads"),
    "dog/empty.png": (b"", "not an image in a format that Pillow reads"),
    "dog/half.png": (solid(9, "L")[:50], "a damaged image"),
    "dog/half.jpg": (encode(Image.effect_noise((64, 64), 50), "JPEG")[:-500], "a damaged image"),
    "dog/float.tif": (solid(0.5, "F", "TIFF"), "floating-point pixels have no defined range"),
    "cat/iphone.jpg": (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC|not an image"),
    "cat/drawing.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS is a program"),
    'cat/ü, "x"\n.png': (b"", "not an image in a format that Pillow reads"),
    "cat/=cmd.png": (b"", "not an image in a format that Pillow reads"),
}


def planted() -> dict[str, bytes]:
    return images(cat=5, dog=5) | {name: content for name, (content, _) in BAD.items()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["directory", "zip", "tar.xz"])
def test_all_unreadable_files_are_named_at_once_by_reason(mine: Path, kind: str) -> None:
    good = lay_out(mine.with_name("good"), images(cat=3, dog=3))
    bring_folder(good)
    source = mine.with_name(f"mine.{kind}")
    if kind == "directory":
        lay_out(source, planted())
    else:
        source.write_bytes(packed(kind, planted()))
    first, *lines = fails(dataset="folder", source=str(source)).split("\n")
    assert f"{len(BAD)} of {len(BAD) + 10} image files cannot be read" in first
    assert "download.unreadable to skip" in first
    assert "not an image in a format that Pillow reads" in lines[0]  # the most frequent
    assert " more" in lines[0]
    assert not re.search("<|0x", "".join(lines))
    listed = {row["file"]: row["reason"] for row in rows(LIST)}
    assert str(LIST) in lines[-1]
    assert len(listed) == len(BAD)
    for name, (_, reason) in BAD.items():
        written = name.replace("\n", r"\n")
        assert re.search(reason, listed[written])


def test_few_unreadable_files_are_all_named_in_the_error(mine: Path) -> None:
    lay_out(mine, images(cat=5, dog=5) | {"cat/a.png": b"", "dog/b.png": b"", "cat/c.jpg": b"x"})
    lines = fails(dataset="folder", source=str(mine)).split("\n")
    assert lines[1:] == [
        "  not an image in a format that Pillow reads: cat/a.png, cat/c.jpg, dog/b.png"
    ]
    assert not LIST.exists()


def test_reasons_that_differ_in_numbers_are_one_group(mine: Path) -> None:
    noise = encode(Image.effect_noise((64, 64), 50), "JPEG")
    halves = {f"cat/{cut}.jpg": noise[:-cut] for cut in (500, 600, 700)}
    lay_out(mine, images(cat=5, dog=5) | halves)
    lines = fails(dataset="folder", source=str(mine)).split("\n")
    assert len(lines) == 2
    assert all(name in lines[1] for name in halves)


def test_skipped_files_are_listed_and_everything_else_is_there(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(mine, planted())
    found = bring_folder(mine, unreadable="skip")
    assert (
        "10 image files could not be read; reports/skipped.csv says why" in capsys.readouterr().out
    )
    listed = rows(SKIPPED)
    names = {name.replace("\n", r"\n") for name in BAD}
    assert {row["file"] for row in listed} == names
    assert all(row["reason"] for row in listed)
    without = bring_folder(lay_out(mine.with_name("without"), images(cat=5, dog=5)))
    assert everything(found) == everything(without)
    assert by_color(found, "test") == by_color(without, "test")


def test_without_unreadable_files_the_list_has_a_header_only(mine: Path) -> None:
    lay_out(mine, images(cat=5, dog=5) | {"cat/a.png": b""})
    bring_folder(mine, unreadable="skip")
    assert len(rows(SKIPPED)) == 1
    (mine / "cat/a.png").unlink()
    for unreadable in ("skip", "stop"):
        bring_folder(mine, unreadable=unreadable)
        assert SKIPPED.read_bytes() == b"file,reason\n"


def test_a_failed_run_leaves_the_list_of_the_last_good_one(mine: Path) -> None:
    lay_out(mine, images(cat=5, dog=5) | {"cat/a.png": b""})
    bring_folder(mine, unreadable="skip")
    before = snapshot(Path("reports"))
    lay_out(mine, {"cat/b.png": b""})
    fails(dataset="folder", source=str(mine))
    assert snapshot(Path("reports")) == before


def test_a_class_without_a_readable_image_in_a_split_is_an_error(mine: Path) -> None:
    lay_out(mine, below("train", images(cat=5, dog=5)) | below("test", images(dog=1)))
    lay_out(mine, {"test/cat/only.png": b""})
    line = fails(dataset="folder", source=str(mine), unreadable="skip")
    assert "class cat: none of its images in test/ can be read" in line


@pytest.mark.parametrize("unreadable", [["cat"], ["cat", "dog"]])
def test_a_class_without_a_readable_image_is_an_error(mine: Path, unreadable: list[str]) -> None:
    lay_out(mine, images(cat=5, dog=5))
    for name in unreadable:
        lay_out(mine, {f"{name}/{number:03}.png": b"" for number in range(5)})
    line = fails(dataset="folder", source=str(mine), unreadable="skip")
    assert line == "class cat: none of its images can be read; repair some of them"


def test_the_list_of_an_earlier_run_is_removed(mine: Path) -> None:
    bad = {f"cat/{number}.png": b"" for number in range(9)}
    lay_out(mine, images(cat=5, dog=5) | bad)
    fails(dataset="folder", source=str(mine))
    assert LIST.exists()
    bring_folder(mine, unreadable="skip")
    assert not LIST.exists()


def test_a_file_that_the_system_does_not_read_is_named_with_the_others(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the system is made up: the tests may run as root, whom no mode stops."""
    lay_out(mine, images(cat=5, dog=5) | {"cat/secret.png": solid(1), "dog/x.png": b""})
    open_file = os.open

    def refuse(path: str, *arguments: Any, **options: Any) -> int:
        if "secret" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return open_file(path, *arguments, **options)

    monkeypatch.setattr("sources.directory.os.open", refuse)
    lines = fails(dataset="folder", source=str(mine)).split("\n")
    assert "  Permission denied: cat/secret.png" in lines
    assert len(lines) == 3
    found = bring_folder(mine, unreadable="skip")
    assert sum(found["dataset"]["counts"].values()) == 10


@pytest.mark.filterwarnings("ignore")  # Pillow's own word about it
def test_a_bomb_among_the_images_is_named(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    lay_out(mine, images(cat=2, dog=2) | {"dog/bomb.png": solid(0, "L", size=(11, 11))})
    line = fails(dataset="folder", source=str(mine))
    assert "more than 100 pixels; make it smaller: dog/bomb.png" in line


def test_a_name_that_a_spreadsheet_would_execute_is_made_harmless(mine: Path) -> None:
    lay_out(mine, images(cat=5) | below("=1+1", {f"{n}.png": solid(n) for n in range(5)}))
    lay_out(mine, {"=1+1/x.png": b""})
    bring_folder(mine, unreadable="skip")
    assert [row["file"] for row in rows(SKIPPED)] == ["'=1+1/x.png"]
