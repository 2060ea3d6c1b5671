"""Arrays, names and keys are read by index; changed or missing ones are one line."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.arrays import (
    ImageFile,
    files_path,
    keys_path,
    load_images,
    read_file_names,
    read_keys,
)
from common.params import Download, load_params
from helpers import DIGITS, refused, write_params
from project import Project
from small_arrays import NAMES


def test_a_split_is_read_by_index(directory: Path) -> None:
    images = np.load(directory / "train_images.npy")
    train = load_images("train")
    assert len(train.images) == 5
    assert train.labels.tolist() == [0, 1, 1, 0, 1]
    assert train.dataset.classes == ["a", "b"]
    for indices in [[3, 0, 3], [4], [0, 1, 2, 3, 4], []]:
        for form in (indices, np.array(indices, int)):
            read = train.images.read(form)
            assert read.dtype == np.uint8
            assert read.shape == (len(indices), 3, 4, 4)
            assert (read == images[np.array(indices, int)]).all()
    assert load_images("test").labels.tolist() == [1, 0]


def test_images_read_by_index_are_those_of_the_whole_array(prepared_once: Project) -> None:
    path = prepared_once.images / "train_images.npy"
    expected, images = np.load(path), ImageFile(path)
    assert len(images) == len(expected)
    for indices in (
        [0],
        [len(expected) - 1],
        [5, 3, 3, 0],
        np.random.default_rng(0).permutation(len(expected)),
    ):
        read = images.read(indices)
        assert read.shape == (len(indices), 3, 32, 32)
        np.testing.assert_array_equal(read, expected[np.array(indices, int)])


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize("change", [cut, cut_to_nothing, append])
@pytest.mark.parametrize("indices", [[0], [4], [0, 1, 2, 3, 4]])
def test_an_array_that_changes_after_it_was_opened_is_named_at_the_next_read(
    change: Callable[[Path], None], indices: list[int], directory: Path
) -> None:
    """Never what memory held before, even where the images asked for are still there."""
    images = load_images("train").images
    images.read(indices)
    change(directory / "train_images.npy")
    line = refused(lambda: images.read(indices))
    assert "data/arrays/train_images.npy: changed while it was read; run the download" in line


def test_an_array_cut_short_between_two_images_is_named(directory: Path) -> None:
    images = load_images("train").images

    class Indices(list[int]):
        def __iter__(self) -> Iterator[int]:
            yield 0
            cut(directory / "train_images.npy")
            yield 4

    assert "changed while it was read" in refused(lambda: images.read(Indices([0, 4])))


def test_an_array_replaced_by_a_new_download_is_read_to_its_end(directory: Path) -> None:
    path = directory / "train_images.npy"
    expected, images = np.load(path), load_images("train").images
    np.save(directory / "new.npy", np.zeros((1, 3, 4, 4), np.uint8))
    (directory / "new.npy").replace(path)
    assert (images.read(range(5)) == expected).all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_size": 28}, "made with image_size 32, and download.image_size is 28"),
        ({"dataset": "CIFAR10"}, "made with dataset digits, and download.dataset is CIFAR10"),
        ({"fit": "pad"}, "made with fit squash, and download.fit is pad"),
    ],
)
def test_arrays_made_with_other_parameters_are_named_with_both(
    changes: dict[str, Any], reason: str, prepared: Project
) -> None:
    write_params(prepared.path, DIGITS, {"download": changes})
    download = load_params().download
    assert f"data/arrays: {reason}; run the download" in refused(
        lambda: load_images("train", download)
    )
    load_images("train")  # for tools, which have no parameters


def test_arrays_made_with_these_parameters_are_taken(prepared: Project) -> None:
    assert load_images("train", load_params().download).dataset.image_size == 32


def test_the_name_of_a_folder_need_not_be_that_of_a_data_set(directory: Path) -> None:
    download = Download(
        dataset="folder",
        source="x",
        image_size=4,
        fit="squash",
        unreadable="stop",
        group=None,
        test_fraction=0.2,
        seed=0,
    )
    assert load_images("test", download).dataset.name == "x"


def test_names_come_back_as_they_were_in_the_order_asked_for(directory: Path) -> None:
    names = NAMES[:5]
    assert read_file_names("train") == names
    for indices in ([3, 0, 3], [4], [], range(5)):
        assert read_file_names("train", indices) == [names[index] for index in indices]
        assert read_file_names("train", np.array(indices, np.int64)) == [
            names[index] for index in indices
        ]
    lines = [json.dumps(name) + "\n" for name in NAMES]
    files_path("test").write_text("".join(lines))
    assert read_file_names("test") == NAMES


def test_names_of_a_split_are_in_the_order_of_its_arrays(prepared_once: Project) -> None:
    for split in ("train", "test"):
        path = files_path(split, prepared_once.images)
        lines = path.read_text(encoding="ascii").splitlines()
        assert len({json.loads(line) for line in lines}) == len(lines)
        assert len(lines) == len(np.load(prepared_once.images / f"{split}_labels.npy"))


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b'"a"\n[1\n', b'"a"\n{}\n', b'"a\n"b"\n', b'"a"\n\n', b"[" * 100_000]
)
def test_damaged_names_are_one_line(directory: Path, content: bytes) -> None:
    files_path("test").write_bytes(content)
    assert "data/arrays: damaged (" in refused(lambda: read_file_names("test"))


@pytest.mark.parametrize("indices", [[5], [0, -1], [2**40]])
def test_a_name_that_is_not_there_is_one_line(directory: Path, indices: list[int]) -> None:
    assert "train_files.jsonl has no line for image" in refused(
        lambda: read_file_names("train", indices)
    )


def test_keys_are_those_of_the_file(directory: Path) -> None:
    assert read_keys("train").tolist() == np.load(keys_path("train")).tolist()


@pytest.mark.parametrize("keys", [np.zeros(5), np.zeros(5, np.int64), np.zeros((5, 1), np.uint64)])
def test_keys_of_another_form_are_one_line(directory: Path, keys: Any) -> None:
    np.save(directory / "train_keys.npy", keys)
    assert "data/arrays: damaged (train_keys.npy holds " in refused(lambda: read_keys("train"))


@pytest.mark.parametrize("read", [read_keys, read_file_names])
def test_missing_names_and_keys_say_what_to_run(directory: Path, read: Any) -> None:
    keys_path("train").unlink()
    files_path("train").unlink()
    assert "no such file; run the download stage first" in refused(lambda: read("train"))
