"""Arrays that are damaged or do not belong together are one line, and nothing in them is run."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.arrays import (
    load_images,
)
from common.errors import UserError
from helpers import refused, start
from small_arrays import describe


@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy", "dataset.json"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    line = refused(lambda: load_images("train"))
    assert f"data/arrays/{name}: no such file; run the download stage first" in line


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "random bytes": lambda content: random.Random(0).randbytes(len(content)),
    "text": lambda _: b"not an array",
    "cut short": lambda content: content[:-1],
    "cut in the header": lambda content: content[:50],
    "a zip's first bytes": lambda content: b"PK\x03\x04" + content,
    "a deep mapping": lambda _: b'{"a":' * 100_000,
    "a number of 5,000 digits": lambda content: content.replace(b"5", b"5" * 5000),
}


@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy", "dataset.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(directory: Path, name: str, damage: str) -> None:
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(DAMAGE[damage](content))
    line = refused(lambda: load_images("train"))
    assert "data/arrays: damaged (" in line
    assert len(line) < 600


@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy", "dataset.json"])
def test_a_pipe_in_a_file_s_place_is_refused_and_not_waited_for(directory: Path, name: str) -> None:
    (directory / name).unlink()
    os.mkfifo(directory / name)
    code = "from common import arrays, stage\nstage.run(lambda: arrays.load_images('train'))"
    with start(code, directory.parents[1]) as process:
        try:
            error = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert (
        error == f"error: data/arrays/{name}: is a directory, pipe or device; it must be a file\n"
    )


PARTS = [b"(", b")", b"{", b"'", b"9" * 30, b"-", b"True", b"O", b"[", b",", b"f8", b"#", b"\0"]


def mutate(content: bytes, generator: random.Random) -> bytes:
    """Change the header, the first 128 bytes, in one to three places."""
    mutated = bytearray(content)
    for _ in range(generator.randint(1, 3)):
        at, part = generator.randrange(128), generator.choice([*PARTS, generator.randbytes(1)])
        mutated[at : at + generator.choice([0, len(part)])] = part
    return bytes(mutated)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy"])
def test_a_damaged_header_is_refused_or_changes_nothing(directory: Path, name: str) -> None:
    content, generator = (directory / name).read_bytes(), random.Random(0)
    refusals = 0
    for _ in range(300):
        (directory / name).write_bytes(mutate(content, generator))
        try:
            train = load_images("train")
        except UserError as error:
            assert "data/arrays: damaged (" in str(error)
            refusals += 1
        else:
            assert train.images.read(range(5)).shape == (5, 3, 4, 4)
    assert 200 < refusals < 300


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy"])
def test_a_pickle_in_an_array_is_not_unpickled(directory: Path, tmp_path: Path, name: str) -> None:
    np.save(directory / name, np.array([Bomb()] * 5, object), allow_pickle=True)
    assert "data/arrays: damaged" in refused(lambda: load_images("train"))
    assert not (tmp_path / "exploded").exists()
    np.load(directory / name, allow_pickle=True)  # the bomb is a real one
    assert (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train_images.npy", np.zeros((4, 3, 4, 4), np.uint8)),
        ("train_images.npy", np.zeros((5, 4, 4, 3), np.uint8)),
        ("train_images.npy", np.zeros((5, 3, 8, 8), np.uint8)),
        ("train_images.npy", np.zeros((5, 48), np.uint8)),
        ("train_images.npy", np.zeros((5, 3, 4, 4), np.float32)),
        ("train_images.npy", np.zeros((5, 3, 4, 4), np.int8)),
        ("train_labels.npy", np.zeros(4, np.int64)),
        ("train_labels.npy", np.zeros((5, 1), np.int64)),
        ("train_labels.npy", np.zeros(5, np.int32)),
        ("train_labels.npy", np.zeros(5)),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(
    directory: Path, name: str, content: Any
) -> None:
    np.save(directory / name, content)
    line = refused(lambda: load_images("train"))
    assert f"{content.dtype} {content.shape}" in line
    assert "dataset.json says uint8 (5, 3, 4, 4)" in line


def test_an_array_in_columns_is_refused(directory: Path) -> None:
    images = np.load(directory / "train_images.npy")
    np.save(directory / "train_images.npy", np.asfortranarray(images))
    assert "data/arrays: damaged (train_images.npy" in refused(lambda: load_images("train"))


@pytest.mark.parametrize("label", [2, -1, 2**40])
def test_a_label_without_a_class_is_refused(directory: Path, label: int) -> None:
    np.save(directory / "train_labels.npy", np.array([0, 1, label, 0, 1]))
    line = refused(lambda: load_images("train"))
    assert str(label) in line
    assert "2 classes" in line


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": {"train": 6, "test": 2}},
        {"counts": {"test": 2}},
        {"image_size": 8},
        {"image_size": "4"},
        {"fit": "stretch"},
        {"classes": ["a"]},
        {"classes": None},
        {"more": 1},
    ],
)
def test_a_description_of_other_arrays_is_refused(directory: Path, changes: dict[str, Any]) -> None:
    describe(directory, **changes)
    assert "run the download stage again" in refused(lambda: load_images("train"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"image_size": "4"}, "image_size is '4'; it must be"), ({"more": 1}, "more: unknown key")],
)
def test_a_fault_of_the_description_is_named_by_its_key(
    directory: Path, changes: dict[str, Any], reason: str
) -> None:
    describe(directory, **changes)
    assert reason in refused(lambda: load_images("train"))


def test_no_images_at_all_are_refused(directory: Path) -> None:
    np.save(directory / "train_images.npy", np.zeros((0, 3, 4, 4), np.uint8))
    np.save(directory / "train_labels.npy", np.zeros(0, np.int64))
    describe(directory, counts={"train": 0, "test": 2})
    assert "data/arrays: damaged" in refused(lambda: load_images("train"))
