"""Arrays are read by index, and refused when damaged, changed or of other parameters."""

import json
import os
import random
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
from common.errors import UserError
from common.params import Download, load_params
from helpers import DIGITS, refused, start, write_params
from project import Project

NAMES = [
    "a b.png",
    "ü/ß.jpg",
    'quote".png',
    "line\nbreak",
    "tab\t\x1b[2J",
    "\udcff not UTF-8",
    "日本",
]
LABELS = {"train": [0, 1, 1, 0, 1], "test": [1, 0]}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data of 5 and 2 images of 4 x 4 pixels."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "data" / "arrays"
    directory.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split, labels in LABELS.items():
        images = generator.integers(0, 256, (len(labels), 3, 4, 4), np.uint8)
        np.save(directory / f"{split}_images.npy", images)
        np.save(directory / f"{split}_labels.npy", np.array(labels, np.int64))
        np.save(
            directory / f"{split}_keys.npy", generator.integers(0, 2**64, len(labels), np.uint64)
        )
        lines = [json.dumps(name) + "\n" for name in NAMES[: len(labels)]]
        (directory / f"{split}_files.jsonl").write_text("".join(lines))
    describe(directory)
    return directory


def describe(directory: Path, **changes: Any) -> None:
    says = {
        "name": "x",
        "classes": ["a", "b"],
        "image_size": 4,
        "fit": "squash",
        "counts": {"train": 5, "test": 2},
        "source": "x",
        "sha256": None,
    }
    (directory / "dataset.json").write_text(json.dumps(says | changes))


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
