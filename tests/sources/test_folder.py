"""Images in class folders get their classes and splits from where they lie, in any container."""

import contextlib
import os
import socket
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from downloads import (
    below,
    bring_folder,
    by_color,
    color,
    everything,
    fails,
    images,
    packed,
)
from helpers import lay_out, solid


def test_a_folder_of_classes_is_split(mine: Path) -> None:
    counts = {"cat": 10, "dog": 5, "Kühe": 20}
    lay_out(mine, images(**counts))
    found = bring_folder(mine)
    train, test = by_color(found, "train"), by_color(found, "test")
    assert not train.keys() & test.keys()
    assert train | test == {
        color(name, number): name for name, count in counts.items() for number in range(count)
    }
    assert set(train.values()) == set(test.values()) == set(counts)
    assert found["dataset"]["classes"] == ["Kühe", "cat", "dog"]  # sorted as Python sorts
    assert found["dataset"]["name"] == "mine"
    assert found["dataset"]["sha256"] is None


def test_a_folder_with_train_and_test_keeps_them(mine: Path) -> None:
    lay_out(mine, below("train", images(cat=3, dog=4)))
    test = {"test/cat/a.png": (1, 1, 1), "test/cat/b.png": (2, 2, 2), "test/dog/a.png": (3, 3, 3)}
    lay_out(mine, {name: solid(value) for name, value in test.items()})
    found = bring_folder(mine)
    assert by_color(found, "test") == {(1, 1, 1): "cat", (2, 2, 2): "cat", (3, 3, 3): "dog"}
    assert by_color(found, "train") == {color("cat", n): "cat" for n in range(3)} | {
        color("dog", n): "dog" for n in range(4)
    }
    assert found["test_files"] == list(test)
    assert found["train_files"] == sorted(below("train", images(cat=3, dog=4)))


def test_names_are_in_the_order_of_the_arrays(mine: Path) -> None:
    lay_out(mine, images(cat=10, dog=20))
    found = bring_folder(mine)
    for split in ("train", "test"):
        rows = zip(found[f"{split}_files"], found[f"{split}_images"], strict=True)
        for name, image in rows:
            folder, number = name.split("/")
            assert tuple(image[:, 0, 0]) == color(folder, int(number[:3]))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("outer", ["", "mine/", "mine/images of 2024/"])
def test_an_archive_gives_what_its_directory_gives(mine: Path, kind: str, outer: str) -> None:
    contents = images(cat=6, dog=4)
    lay_out(mine, contents)
    path = mine.with_name(f"mine.{kind}")
    path.write_bytes(packed(kind, {outer + name: content for name, content in contents.items()}))
    expected, found = (bring_folder(source, seed=3) for source in [mine, path])
    dataset = expected.pop("dataset") | {
        "source": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
    }
    assert found.pop("dataset") == dataset
    for split in ("train", "test"):
        names = expected.pop(f"{split}_files")
        assert found.pop(f"{split}_files") == [outer + name for name in names]
    assert expected
    for name, array in expected.items():
        assert (found[name] == array).all()
    assert {entry.name for entry in Path("data").iterdir()} == {
        "arrays",
        "download.lock",
        "images",
    }


ODD_NAMES = {
    "ein Tier/grün ß.PNG": solid(10, "L"),
    "ein Tier/no suffix": solid((20, 20, 20), size=(30, 20)),
    "ein Tier/a.b.gif": solid((30, 30, 30), kind="GIF"),
    'a, "b"\n/ 1 .png': solid((40, 40, 40, 255), "RGBA"),
    'a, "b"\n/=cmd|\'.bmp': solid((50, 50, 50), kind="BMP", size=(1, 9)),
    'a, "b"\n/日本\x1b[2J.bmp': solid((60, 60, 60), kind="BMP"),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
@pytest.mark.parametrize("kind", ["directory", "zip", "tar"])
def test_images_of_many_kinds_and_names(mine: Path, kind: str) -> None:
    source = mine
    if kind == "directory":
        lay_out(mine, ODD_NAMES)
    else:
        source = mine.with_name(f"mine.{kind}")
        source.write_bytes(packed(kind, ODD_NAMES))
    found = bring_folder(source)
    classes = {values[0]: name for values, name in everything(found).items()}
    assert classes == {
        10: "ein Tier",
        20: "ein Tier",
        30: "ein Tier",
        40: 'a, "b"\n',
        50: 'a, "b"\n',
        60: 'a, "b"\n',
    }
    assert sorted(found["train_files"] + found["test_files"]) == sorted(ODD_NAMES)
    assert found["dataset"]["source_sizes"] == {
        "smallest": [1, 9],
        "median": [8, 8],
        "largest": [30, 20],
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such name")
def test_an_image_whose_name_is_not_unicode_keeps_it(mine: Path) -> None:
    latin = os.fsdecode("cat/Kätzchen.png".encode("latin-1"))
    lay_out(mine, images(cat=3, dog=3) | {latin: solid((1, 1, 1))})
    found = bring_folder(mine)
    assert latin in found["train_files"] + found["test_files"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such name")
def test_a_class_whose_name_is_not_unicode_is_refused(mine: Path) -> None:
    latin = os.fsdecode("Kätzchen".encode("latin-1"))
    names = [f"{folder}/{number}.png" for folder in (latin, "dog") for number in (1, 2)]
    lay_out(mine, {name: solid(number) for number, name in enumerate(names)})
    line = fails(dataset="folder", source=str(mine))
    assert "the folder 'K\\udce4tzchen' has a name that is not Unicode; rename it" in line


def test_large_files_keep_their_order_among_the_others(mine: Path) -> None:
    contents = images(cat=300, dog=250)
    for number in range(300):
        contents[f"cat/{number:03}.png"] = solid((number % 256, number // 256, 1))
    for number in range(20):
        content = solid((number, number, 2), kind="BMP", size=(200, 200))
        contents[f"owl/{number:03}.bmp"] = content
    assert len(content) > 100_000
    lay_out(mine, contents)
    found = bring_folder(mine, test_fraction=0.1)
    names: dict[tuple[int, ...], str] = {
        (n % 256, n // 256, 1): f"cat/{n:03}.png" for n in range(300)
    }
    names |= {color("dog", n): f"dog/{n:03}.png" for n in range(250)}
    names |= {(n, n, 2): f"owl/{n:03}.bmp" for n in range(20)}
    for split in ("train", "test"):
        colors = [tuple(map(int, image[:, 0, 0])) for image in found[f"{split}_images"]]
        assert [names[each] for each in colors] == found[f"{split}_files"]
        labels = [found["dataset"]["classes"][label] for label in found[f"{split}_labels"]]
        assert [name.split("/")[0] for name in found[f"{split}_files"]] == labels


def test_files_that_are_no_images_are_left_out_and_counted(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [
        "cat/.DS_Store",
        ".git/config",
        "__MACOSX/cat/._000.png",
        "dog/Thumbs.db",
        "desktop.ini",
        "README",
        "readme.md",
        "cat/notes.TXT",
        "labels.csv",
        "cat/000.json",
        "cat/000.xml",
        "cat/IMG_0001.MOV",
        "cat/IMG_0001.AAE",
        "dog/film.mp4",
        "dog/paper.pdf",
    ]
    lay_out(mine, images(cat=5, dog=5) | dict.fromkeys(others, b"x"))
    found = bring_folder(mine)
    assert sum(found["dataset"]["counts"].values()) == 10
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 1
    assert "15 files left out, hidden or no images, such as .git/config" in lines[0]


@pytest.mark.timeout(20)  # reading a pipe waits forever
def test_hidden_pipes_sockets_and_broken_links_are_left_out(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(mine, images(cat=5, dog=5) | {".cache/x": b""})
    os.mkfifo(mine / "cat/.pipe")
    (mine / ".cache/nothing").symlink_to("nowhere")
    (mine / ".cache/folder").symlink_to(mine / "dog")
    # A socket's path has at most 100 characters.
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(mine):
        server.bind(".socket")
    found = bring_folder(mine)
    assert sum(found["dataset"]["counts"].values()) == 10
    assert "5 files left out" in capsys.readouterr().err


def test_a_gitignore_as_in_the_default_folder_is_left_out_without_a_word(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(mine, images(cat=5, dog=5) | {".gitignore": b"*"})
    bring_folder(mine)
    assert "left out" not in capsys.readouterr().err


def test_a_name_with_terminal_escapes_is_printed_harmlessly(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = lay_out(mine.with_name("\x1b[2Jmine"), images(cat=3, dog=3) | {"\x1b[2J.txt": b""})
    bring_folder(source)
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out
    assert "\x1b" not in captured.err.replace("\x1b[A", "")
    assert captured.out.startswith(r"\x1b[2Jmine: ")


def test_arrays_of_the_images_do_not_depend_on_the_machine_s_order_of_files(mine: Path) -> None:
    contents = images(cat=20, dog=20)
    lay_out(mine, contents)
    other = mine.with_name("other") / "mine"
    lay_out(other, dict(reversed(contents.items())))
    first, second = bring_folder(mine), bring_folder(other)
    assert first.pop("dataset") == second.pop("dataset")
    for name, array in first.items():
        assert np.array_equal(second[name], array)
