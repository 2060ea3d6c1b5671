"""Images and archives of them, and the download stage run on them in a project of 8 x 8 pixels."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import download
from common.errors import UserError
from helpers import arrays, snapshot, solid, write_params
from sources.archives import open_tree

ARRAYS = Path("data/arrays")
PACK = {
    "tar": lambda tar: tar,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
}
KINDS = ["zip", *PACK]


def bring(**changes: Any) -> dict[str, Any]:
    """Run the stage, and return what it wrote, read without the project's code."""
    set_params(**changes)
    download.main()
    found = arrays(ARRAYS)
    for split in ("train", "test"):
        lines = (ARRAYS / f"{split}_files.jsonl").read_text(encoding="utf-8").splitlines()
        found[f"{split}_files"] = [json.loads(line) for line in lines]
        assert len(lines) == len(found[f"{split}_images"]) == len(found[f"{split}_keys"])
    return found


def bring_folder(source: Path, **changes: Any) -> dict[str, Any]:
    return bring(dataset="folder", source=str(source), **changes)


def set_params(**changes: Any) -> None:
    """Write params.yaml for images of 8 x 8 pixels; ``mirrors`` is a key of machine."""
    machine = {"mirrors": changes.pop("mirrors", None)}
    Path("data/images").mkdir(parents=True, exist_ok=True)
    write_params(
        Path(),
        {
            "download": {"image_size": 8, **changes},
            "machine": machine,
            "recipes": {"tutorial": {"network": {"kernel_size": 1}}},
        },
    )


def fails(**changes: Any) -> str:
    """Return the error of the stage, of printable lines, and check that it leaves the arrays."""
    before = snapshot(ARRAYS) if ARRAYS.exists() else {}
    with pytest.raises(UserError) as raised:
        bring(**changes)
    assert (snapshot(ARRAYS) if ARRAYS.exists() else {}) == before
    assert not ARRAYS.with_name("arrays.part").exists()
    assert all(line.isprintable() for line in raised.value.args)
    return str(raised.value)


def by_color(found: dict[str, Any], split: str) -> dict[tuple[int, ...], str]:
    """Return the class of each image of one colour, by that colour."""
    images, labels = found[f"{split}_images"], found[f"{split}_labels"]
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert (images == images[:, :, :1, :1]).all()
    classes = found["dataset"]["classes"]
    colors = [tuple(map(int, image[:, 0, 0])) for image in images]
    assert len(set(colors)) == len(colors) == len(labels) == found["dataset"]["counts"][split]
    return {color: classes[label] for color, label in zip(colors, labels, strict=True)}


def everything(found: dict[str, Any]) -> dict[tuple[int, ...], str]:
    return by_color(found, "train") | by_color(found, "test")


def in_test(found: dict[str, Any]) -> dict[str, bool]:
    """Return of each image, by its name, whether it is for testing."""
    return dict.fromkeys(found["train_files"], False) | dict.fromkeys(found["test_files"], True)


def color(name: str, number: int) -> tuple[int, int, int]:
    return ord(name[0]), ord(name[-1]), number


def images(**counts: int) -> dict[str, bytes]:
    """Return that many images of each class, each of a colour of its own, by their names."""
    return {
        f"{name}/{number:03}.png": solid(color(name, number))
        for name, count in counts.items()
        for number in range(count)
    }


def below(folder: str, contents: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in contents.items()}


def zipped(contents: dict[str, bytes], folders: bool = True) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if folders:
            archive.mkdir("dog")
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(contents: dict[str, bytes], prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in [".", "./dog"] if prefix == "./" else ["dog"]:
            member = tarfile.TarInfo(folder)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name, content in contents.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def packed(kind: str, contents: dict[str, bytes]) -> bytes:
    return zipped(contents) if kind == "zip" else PACK[kind](tarred(contents))


def read_all(path: Path) -> dict[str, bytes]:
    """Return the content of each file of a directory or an archive."""
    with open_tree(path) as tree:
        return {name: tree.read(name) for name in tree}
