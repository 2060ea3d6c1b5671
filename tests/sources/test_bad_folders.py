"""Folders that are not laid out as they must be are refused, and what was there stays."""

import os
import re
from pathlib import Path

import pytest

from downloads import below, bring_folder, fails, images, packed
from helpers import lay_out, solid

BAD_FOLDERS: dict[str, tuple[dict[str, bytes], str]] = {
    "empty": ({}, "has no images; put a folder of images per class there"),
    "only hidden files": ({".gitignore": b"*"}, "has no images; put a folder of images per class"),
    "one class": (images(cat=5), "has one class, 'cat'"),
    "one class, with train and test": (
        below("train", images(cat=5)) | below("test", images(cat=2)),
        "has one class, 'cat'",
    ),
    "a class to train only": (
        below("train", images(cat=2, dog=2)) | below("test", images(cat=2)),
        r"test/ has no .* dog;",
    ),
    "a class to test only": (
        below("train", images(cat=2)) | below("test", images(dog=2, cat=2)),
        r"train/ has no .* dog;",
    ),
    "a single image": (images(cat=2, dog=1), "class dog has 1 image"),
    "the same image twice": (
        images(cat=2) | {"dog/1.png": solid(1), "dog/2.png": solid(1)},
        "class dog has 2 images of the same content",
    ),
    "an image beside the classes": (
        images(cat=2, dog=2) | {"odd.png": solid(0, "L")},
        r"'odd\.png' is not in a class folder",
    ),
    "an image too deep": (
        images(cat=2, dog=2) | {"cat/more/odd.png": solid(0, "L")},
        r"'cat/more/odd\.png' is not in",
    ),
    "an image beside train and test": (
        below("train", images(cat=2, dog=2))
        | below("test", images(cat=2, dog=2))
        | {"odd.png": solid(0, "L")},
        "is not in a class folder",
    ),
    "a third split": (
        below("train", images(cat=2, dog=2))
        | below("test", images(cat=2, dog=2))
        | below("valid", images(cat=1)),
        "is not in a class folder",
    ),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
@pytest.mark.parametrize("kind", ["directory", "zip"])
def test_a_bad_folder_is_refused_and_what_was_there_stays(mine: Path, name: str, kind: str) -> None:
    contents, message = BAD_FOLDERS[name]
    good = lay_out(mine.with_name("good"), images(cat=3, dog=3))
    bring_folder(good)
    path = mine.with_name(f"mine.{kind}")
    if kind == "zip":
        path.write_bytes(packed("zip", contents))
    else:
        path.mkdir()
        lay_out(path, contents)
    line = fails(dataset="folder", source=str(path))
    assert "\n" not in line
    assert str(path) in line or "class dog" in line
    assert re.search(message, line)


@pytest.mark.timeout(20)  # reading a pipe waits forever
@pytest.mark.parametrize(
    "name", ["nowhere", "nowhere.zip", "a.rar", "pipe.zip", "pipe.tar", "/dev/zero"]
)
def test_a_source_that_cannot_be_opened_is_named(mine: Path, name: str) -> None:
    lay_out(mine, {"a.rar": b"Rar!"})
    os.mkfifo(mine / "pipe.zip")
    os.mkfifo(mine / "pipe.tar")
    assert str(mine / name) in fails(dataset="folder", source=str(mine / name))


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "source",
    [
        "data/arrays",
        "data/arrays/",
        "./data/../data/arrays",
        "data/arrays/mine",
        "data/arrays.part",
        "data/arrays.part/mine",
        "link",
        "data",
        ".",
    ],
)
def test_images_where_the_arrays_go_are_refused_and_stay(source: str, mine: Path) -> None:
    lay_out(mine, images(cat=3, dog=3))
    bring_folder(mine)
    Path("link").symlink_to("data/arrays")
    for folder in ("data/arrays/mine", "data/arrays.part/mine"):
        lay_out(Path(folder), images(cat=3, dog=3))
    before = sorted(str(path) for path in Path().rglob("*"))
    with pytest.raises(Exception, match="move them, for example to data/images") as raised:
        bring_folder(Path(source))
    assert "DVC deletes that before each run" in str(raised.value)
    assert sorted(str(path) for path in Path().rglob("*")) == before
