"""From wherever the pictures are to arrays: the right pixels and labels, or what was there before."""

import io
import os
import pickle
import re
import signal
import struct
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import arrays, lay_out, refused, snapshot, solid, start_stage, wait_until, write_params
from PIL import Image
from misbehaving_server import Server, serving
from sklearn.datasets import load_digits
from test_archives import packed

import download
from sources import cifar as cifar_module

IMAGES = Path("data/images")
SMALL: dict[str, Any] = {"tutorial": {"kernel_size": 1}}  # a network for pictures of 8 x 8


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, in which the stage runs."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def bring(**changes: Any) -> dict[str, Any]:
    """Run the stage for pictures of 8 x 8, and read what it wrote."""
    write_params(Path(), {"download": {"image_size": 8} | changes, "recipes": SMALL})
    download.main()
    return arrays(IMAGES)


def fails(**changes: Any) -> str:
    """The line with which the stage fails, leaving what was there."""
    before = snapshot(Path("data")) if Path("data").exists() else {}
    line = refused(lambda: bring(**changes))
    after = snapshot(Path("data"))
    assert {name: content for name, content in after.items() if name.startswith("images")} == {
        name: content for name, content in before.items() if name.startswith("images")
    }
    return line


def by_picture(found: dict[str, Any], split: str) -> dict[tuple[int, ...], str]:
    """The class of each picture of one colour, by its colour."""
    images, labels = found[f"{split}_images"], found[f"{split}_labels"]
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert (images == images[:, :, :1, :1]).all()
    classes = found["dataset"]["classes"]
    colors = [tuple(map(int, image[:, 0, 0])) for image in images]
    assert len(set(colors)) == len(colors) == len(labels) == found["dataset"]["counts"][split]
    return {color: classes[label] for color, label in zip(colors, labels, strict=True)}


def color(name: str, number: int) -> tuple[int, int, int]:
    return ord(name[0]), ord(name[-1]), number


def pictures(**counts: int) -> dict[str, bytes]:
    """That many pictures of each class, each of a colour of its own, by their names."""
    return {
        f"{name}/{number:03}.png": solid(color(name, number))
        for name, count in counts.items()
        for number in range(count)
    }


# --- digits


def test_digits_are_scikit_learns_pixel_by_pixel() -> None:
    found = bring(dataset="digits")
    bundle = load_digits()
    # 0 to 16 become 0 to 255, to the nearest: 16 * 15.9375 = 255.
    grey = np.floor(bundle.images * 15.9375 + 0.5).astype(int)
    theirs = Counter(
        (label, image.tobytes()) for label, image in zip(bundle.target.tolist(), grey, strict=True)
    )
    images = np.concatenate([found["train_images"], found["test_images"]])
    labels = np.concatenate([found["train_labels"], found["test_labels"]])
    assert images.dtype == np.uint8
    assert images.shape == (1797, 3, 8, 8)
    assert (images == images[:, :1]).all()
    ours = Counter(
        (label, image[0].astype(int).tobytes())
        for label, image in zip(labels.tolist(), images, strict=True)
    )
    assert ours == theirs
    assert found["dataset"]["classes"] == list("0123456789")
    assert found["dataset"]["counts"] == {
        "train": len(found["train_labels"]),
        "test": len(found["test_labels"]),
    }
    assert found["dataset"]["image_size"] == 8


def test_an_array_s_file_is_as_numpy_writes_it() -> None:
    bring(dataset="digits")
    for path in IMAGES.glob("*.npy"):
        expected = io.BytesIO()
        np.save(expected, np.load(path))
        assert path.read_bytes() == expected.getvalue()


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_digits_are_split_by_class(fraction: float) -> None:
    found = bring(dataset="digits", test_fraction=fraction)
    totals = np.bincount(load_digits().target)
    test = np.bincount(found["test_labels"])
    assert (np.abs(test - fraction * totals) <= 0.5).all()
    assert (np.bincount(found["train_labels"]) + test == totals).all()


def test_27_digits_are_split_by_the_seed_and_0_is_a_seed() -> None:
    splits = [bring(dataset="digits", seed=seed)["test_images"] for seed in [0, 1, 0]]
    assert (splits[0] == splits[2]).all()
    assert not (splits[0] == splits[1]).all()


def test_digits_of_another_size_look_the_same() -> None:
    small, large = bring(dataset="digits"), bring(dataset="digits", image_size=32)
    assert large["test_images"].shape[1:] == (3, 32, 32)
    means = large["test_images"].reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5))
    assert np.corrcoef(means.ravel(), small["test_images"].ravel())[0, 1] > 0.98


# --- a folder of one's own


def test_a_folder_of_classes_is_split(tmp_path: Path) -> None:
    contents = pictures(cat=10, dog=5, Kühe=20)
    lay_out(tmp_path / "mine", contents)
    found = bring(dataset="folder", source=str(tmp_path / "mine"))
    train, test = by_picture(found, "train"), by_picture(found, "test")
    assert Counter(test.values()) == {"cat": 2, "dog": 1, "Kühe": 4}
    assert not train.keys() & test.keys()
    assert train | test == {
        color(name, number): name
        for name, count in {"cat": 10, "dog": 5, "Kühe": 20}.items()
        for number in range(count)
    }
    assert found["dataset"]["classes"] == ["Kühe", "cat", "dog"]  # sorted as Python sorts
    assert found["dataset"]["name"] == "mine"
    assert found["dataset"]["sha256"] is None


def test_a_folder_with_train_and_test_keeps_them(tmp_path: Path) -> None:
    contents = {f"train/{name}": content for name, content in pictures(cat=3, dog=4).items()}
    contents |= {f"test/{name}": content for name, content in pictures(owl=0, cat=2, dog=1).items()}
    contents["test/cat/000.png"], contents["test/cat/001.png"] = solid((1, 1, 1)), solid((2, 2, 2))
    contents["test/dog/000.png"] = solid((3, 3, 3))
    lay_out(tmp_path / "mine", contents)
    found = bring(dataset="folder", source=str(tmp_path / "mine"))
    assert by_picture(found, "test") == {(1, 1, 1): "cat", (2, 2, 2): "cat", (3, 3, 3): "dog"}
    assert by_picture(found, "train") == {color("cat", n): "cat" for n in range(3)} | {
        color("dog", n): "dog" for n in range(4)
    }


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("outer", ["", "mine/", "mine/pictures of 2024/"])
def test_an_archive_gives_what_its_directory_gives(tmp_path: Path, kind: str, outer: str) -> None:
    contents = pictures(cat=6, dog=4)
    lay_out(tmp_path / "mine", contents)
    path = tmp_path / f"mine.{kind}"
    path.write_bytes(packed(kind, {outer + name: content for name, content in contents.items()}))
    expected, found = (
        bring(dataset="folder", source=str(source), seed=3) for source in [tmp_path / "mine", path]
    )
    dataset = expected.pop("dataset") | {
        "source": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
    }
    assert found.pop("dataset") == dataset
    for name, array in expected.items():
        assert (found[name] == array).all()
    assert {entry.name for entry in Path("data").iterdir()} == {"images", "download.lock"}


def test_19_pictures_of_many_kinds_and_names(tmp_path: Path) -> None:
    contents = {
        "ein Tier/grün ß.PNG": solid(10, "L"),
        "ein Tier/no suffix": solid((20, 20, 20), size=(30, 20)),
        "ein Tier/a.b.gif": solid((30, 30, 30), kind="GIF"),
        "zwei/ 1 .png": solid((40, 40, 40, 255), "RGBA"),
        "zwei/日本.bmp": solid((50, 50, 50), kind="BMP", size=(1, 9)),
    }
    lay_out(tmp_path / "mine", contents)
    found = bring(dataset="folder", source=str(tmp_path / "mine"))
    everything = by_picture(found, "train") | by_picture(found, "test")
    assert {values[0]: name for values, name in everything.items()} == {
        10: "ein Tier",
        20: "ein Tier",
        30: "ein Tier",
        40: "zwei",
        50: "zwei",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such name")
def test_19_a_class_whose_name_is_not_unicode_is_refused(tmp_path: Path) -> None:
    latin = os.fsdecode("Kätzchen".encode("latin-1"))
    contents = {
        f"{name}/{number}.png": solid(number) for name in (latin, "dog") for number in range(2)
    }
    lay_out(tmp_path / "mine", contents)
    line = refused(lambda: bring(dataset="folder", source=str(tmp_path / "mine")))
    assert "the folder 'K\\udce4tzchen' has a name that is not Unicode; rename it" in line


def test_more_and_larger_pictures_than_are_converted_at_a_time(tmp_path: Path) -> None:
    """Large files are decoded by several threads, which must keep their order."""
    contents = pictures(cat=300, dog=250)
    for number in range(300):
        contents[f"cat/{number:03}.png"] = solid((number % 256, number // 256, 1))
    large = {
        f"owl/{number:03}.bmp": solid((number, number, 2), kind="BMP", size=(200, 200))
        for number in range(20)
    }
    assert min(map(len, large.values())) > download.THREADS_PAY_FROM
    for source in [contents, large | pictures(dog=2)]:
        path = tmp_path / f"{len(source)}.zip"
        path.write_bytes(packed("zip", source))
        found = bring(dataset="folder", source=str(path), test_fraction=0.1)
        expected = {tuple(decoded(content)): name.split("/")[0] for name, content in source.items()}
        assert by_picture(found, "train") | by_picture(found, "test") == expected


def decoded(content: bytes) -> tuple[int, ...]:
    return Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0))  # type: ignore[return-value]


def test_a_split_by_fraction_leaves_other_classes_alone(tmp_path: Path) -> None:
    def test_pictures(**counts: int) -> set[tuple[int, ...]]:
        path = tmp_path / "mine.zip"
        path.write_bytes(packed("zip", pictures(**counts)))
        return set(by_picture(bring(dataset="folder", source=str(path), seed=5), "test"))

    first = test_pictures(cat=10, dog=20, owl=30)
    assert test_pictures(cat=10, dog=20, owl=30) == first
    more_cats = test_pictures(cat=16, dog=20, owl=30)
    assert more_cats != first
    assert {c for c in more_cats if c[0] != ord("c")} == {c for c in first if c[0] != ord("c")}


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
def test_a_class_of_two_pictures_has_one_in_each_split(tmp_path: Path, fraction: float) -> None:
    lay_out(tmp_path / "mine", pictures(cat=2, dog=2))
    found = bring(dataset="folder", source=str(tmp_path / "mine"), test_fraction=fraction)
    for split in ["train", "test"]:
        assert Counter(by_picture(found, split).values()) == {"cat": 1, "dog": 1}


def test_hidden_files_are_left_out_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = {"cat/.DS_Store": b"x", ".git/config": b"x", "__MACOSX/cat/._000.png": b"x"}
    lay_out(tmp_path / "mine", pictures(cat=2, dog=2) | hidden)
    found = bring(dataset="folder", source=str(tmp_path / "mine"))
    assert found["dataset"]["counts"] == {"train": 2, "test": 2}
    assert "3 hidden files left out, such as " in capsys.readouterr().err


def with_split(**splits: dict[str, bytes]) -> dict[str, bytes]:
    return {
        f"{split}/{name}": content
        for split, contents in splits.items()
        for name, content in contents.items()
    }


BAD_FOLDERS: dict[str, tuple[dict[str, bytes], str]] = {
    "empty": ({}, r"0 classes"),
    "one class": (pictures(cat=5), r"1 classes \['cat'\]"),
    "one class, with train and test": (
        with_split(train=pictures(cat=5), test=pictures(cat=2)),
        r"1 classes \['cat'\]",
    ),
    "a class to train only": (
        with_split(train=pictures(cat=2, dog=2), test=pictures(cat=2)),
        r"test/ has no .* dog;",
    ),
    "a class to test only": (
        with_split(train=pictures(cat=2), test=pictures(dog=2, cat=2)),
        r"train/ has no .* dog;",
    ),
    "a single picture": (pictures(cat=2, dog=1), r"class dog has 1 picture"),
    "a picture beside the classes": (
        pictures(cat=2, dog=2) | {"odd.png": solid(0, "L")},
        r"odd\.png is not where",
    ),
    "a picture too deep": (
        pictures(cat=2, dog=2) | {"cat/more/odd.png": solid(0, "L")},
        r"cat/more/odd\.png is not",
    ),
    "a picture beside train and test": (
        with_split(train=pictures(cat=2, dog=2), test=pictures(cat=2, dog=2))
        | {"odd.png": solid(0, "L")},
        "is not where",
    ),
    "a third split": (
        with_split(
            train=pictures(cat=2, dog=2), test=pictures(cat=2, dog=2), valid=pictures(cat=1)
        ),
        "is not where",
    ),
    "a text file": (
        pictures(cat=2, dog=2) | {"cat/notes (ü).txt": b"to do"},
        r"cat/notes \(ü\)\.txt: not a picture",
    ),
    "a picture cut short": (
        pictures(cat=2, dog=2) | {"dog/half.png": solid(9, "L")[:50]},
        r"dog/half\.png: not a pict",
    ),
    "an empty picture": (
        pictures(cat=2, dog=2) | {"dog/none.png": b""},
        r"dog/none\.png: not a picture",
    ),
    "floating point": (
        pictures(cat=2, dog=2) | {"dog/f.tif": solid(0.5, "F", "TIFF")},
        r"dog/f\.tif: floating-point",
    ),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
@pytest.mark.parametrize("kind", ["directory", "zip"])
def test_19_a_bad_folder_is_refused_and_what_was_there_stays(
    tmp_path: Path, name: str, kind: str
) -> None:
    contents, message = BAD_FOLDERS[name]
    good = lay_out(tmp_path / "good", pictures(cat=2, dog=3))
    bring(dataset="folder", source=str(good))
    path = tmp_path / f"mine.{kind}"
    if kind == "zip":
        path.write_bytes(packed("zip", contents))
    else:
        path.mkdir()
        lay_out(path, contents)
    line = fails(dataset="folder", source=str(path))
    assert str(path) in line or "class dog" in line
    assert re.search(message, line)


def test_19_a_bomb_among_the_pictures_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    lay_out(
        tmp_path / "mine", pictures(cat=2, dog=2) | {"dog/bomb.png": solid(0, "L", size=(11, 11))}
    )
    assert "dog/bomb.png: more than 100 pixels" in fails(
        dataset="folder", source=str(tmp_path / "mine")
    )


@pytest.mark.parametrize("name", ["nowhere", "nowhere.zip", "a.rar"])
def test_a_source_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    assert str(tmp_path / name) in fails(dataset="folder", source=str(tmp_path / name))


def test_14_two_downloads_at_once_give_one_valid_result(tmp_path: Path, project: Path) -> None:
    lay_out(tmp_path / "mine", pictures(cat=200, dog=200))
    write_params(project, {"download": {"dataset": "folder", "source": str(tmp_path / "mine")}})
    both = [start_stage("download", project) for _ in range(2)]
    assert [process.communicate()[1][-300:] for process in both if process.wait()] == []
    found = arrays(IMAGES)
    assert by_picture(found, "train") | by_picture(found, "test") == {
        color(name, number): name for name in ["cat", "dog"] for number in range(200)
    }
    assert {entry.name for entry in Path("data").iterdir()} == {"images", "download.lock"}


def test_16_a_kill_while_converting_leaves_what_was_there(tmp_path: Path, project: Path) -> None:
    bring(dataset="digits")
    before = snapshot(IMAGES)
    lay_out(tmp_path / "mine", pictures(cat=2, dog=2))
    large = solid((9, 9, 9), size=(1500, 1500))
    for number in range(60):
        (tmp_path / "mine" / "cat" / f"large {number}.png").write_bytes(large)
    write_params(project, {"download": {"dataset": "folder", "source": str(tmp_path / "mine")}})
    process = start_stage("download", project)
    wait_until(lambda: Path("data/images.part/train_images.npy").exists())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert Path("data/images.part").exists()  # the kill came in the middle
    assert snapshot(IMAGES) == before
    for number in range(60):
        (tmp_path / "mine" / "cat" / f"large {number}.png").unlink()
    found = bring(dataset="folder", source=str(tmp_path / "mine"))
    assert len(by_picture(found, "train") | by_picture(found, "test")) == 4
    assert not Path("data/images.part").exists()


# --- CIFAR


class Python2Pickler(pickle._Pickler):
    """Pickles as Python 2 did, which wrote CIFAR's archives: bytes are its strings, numpy's modules have old names."""

    def save_bytes(self, value: bytes) -> None:
        header = (
            b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
        )
        self.write(header + value)  # type: ignore[attr-defined]
        self.memoize(value)  # type: ignore[attr-defined]

    dispatch = {**pickle._Pickler.dispatch, bytes: save_bytes}  # type: ignore[dict-item]  # noqa: RUF012 - as the standard library declares it


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NOISE = np.random.default_rng(0).integers(0, 256, (26, 3072), np.uint8)


def batch(first: int, end: int) -> dict[bytes, Any]:
    return {
        b"batch_label": b"a batch",
        b"labels": [number % 10 for number in range(first, end)],
        b"data": NOISE[first:end],
        b"filenames": [b"%d.png" % number for number in range(first, end)],
    }


def cifar10() -> dict[str, bytes]:
    """Five batches of four pictures and a test batch of six, by member."""
    contents = {
        f"data_batch_{number}": pickled(batch(4 * number - 4, 4 * number)) for number in range(1, 6)
    }
    contents["test_batch"] = pickled(batch(20, 26))
    contents["batches.meta"] = pickled(
        {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    )
    contents["readme.html"] = b"<meta HTTP-EQUIV='REFRESH'>"
    return {f"cifar-10-batches-py/{name}": content for name, content in contents.items()}


def publish(
    monkeypatch: pytest.MonkeyPatch, archive: bytes, dataset: str = "CIFAR10", *servers: Server
) -> None:
    """Make ``archive`` the published one."""
    published = replace(
        download.PUBLISHED[dataset],
        size=len(archive),
        sha256=sha256(archive).hexdigest(),
        urls=tuple(server.url for server in servers),
    )
    monkeypatch.setitem(download.PUBLISHED, dataset, published)


def is_the_noise(found: dict[str, Any]) -> None:
    assert (found["train_images"].reshape(20, 3072) == NOISE[:20]).all()
    assert (found["test_images"].reshape(6, 3072) == NOISE[20:]).all()
    assert found["train_labels"].tolist() == [number % 10 for number in range(20)]
    assert found["test_labels"].tolist() == [number % 10 for number in range(20, 26)]


def test_cifar10_is_fetched_once_and_read_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed("tar.gz", cifar10())
    with serving(archive) as server:
        publish(monkeypatch, archive, "CIFAR10", server)
        found = bring(dataset="CIFAR10", image_size=32)
        requests = len(server.requests)
        smaller = bring(dataset="CIFAR10", image_size=16)
        assert len(server.requests) == requests > 0
    is_the_noise(found)
    assert found["dataset"] == {
        "name": "CIFAR10",
        "classes": ["plane", "car", *NAMES[2:]],
        "image_size": 32,
        "counts": {"train": 20, "test": 6},
        "source": "cifar-10-python.tar.gz",
        "sha256": sha256(archive).hexdigest(),
    }
    assert smaller["train_images"].shape == (20, 3, 16, 16)
    means = NOISE[:20].reshape(20, 3, 16, 2, 16, 2).mean(axis=(3, 5))
    assert np.corrcoef(means.ravel(), smaller["train_images"].ravel())[0, 1] > 0.9
    assert smaller["train_labels"].tolist() == found["train_labels"].tolist()
    assert Path("data/archives/cifar-10-python.tar.gz").read_bytes() == archive


def test_cifar10_is_fetched_from_mirrors_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed("tar.gz", cifar10())
    with serving(archive) as published, serving(archive) as own:
        publish(monkeypatch, archive, "CIFAR10", published)
        is_the_noise(bring(dataset="CIFAR10", image_size=32, mirrors=[own.url]))
        assert not published.requests


def test_a_copy_of_ones_own_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed("tar.gz", cifar10())
    publish(monkeypatch, archive)
    path = tmp_path / "my copy.tar.gz"
    path.write_bytes(archive)
    is_the_noise(bring(dataset="CIFAR10", image_size=32, source=str(path)))
    assert not Path("data/archives").exists()


def test_cifar100_has_its_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hundred(first: int, end: int) -> bytes:
        fine, coarse = [number * 7 % 100 for number in range(first, end)], [0] * (end - first)
        names = [b"%d.png" % number for number in range(first, end)]
        return pickled(
            {
                b"data": NOISE[first:end],
                b"fine_labels": fine,
                b"coarse_labels": coarse,
                b"filenames": names,
            }
        )

    names = [b"fine %d" % number for number in range(100)]
    contents = {"train": hundred(0, 20), "test": hundred(20, 26), "file.txt~": b""}
    contents["meta"] = pickled(
        {b"fine_label_names": names, b"coarse_label_names": [b"coarse"] * 20}
    )
    archive = packed(
        "tar.gz", {f"cifar-100-python/{name}": content for name, content in contents.items()}
    )
    publish(monkeypatch, archive, "CIFAR100")
    (tmp_path / "copy.tar.gz").write_bytes(archive)
    found = bring(dataset="CIFAR100", image_size=32, source=str(tmp_path / "copy.tar.gz"))
    assert found["dataset"]["classes"] == [f"fine {number}" for number in range(100)]
    assert (found["train_images"].reshape(20, 3072) == NOISE[:20]).all()
    assert found["test_labels"].tolist() == [number * 7 % 100 for number in range(20, 26)]


def other_labels() -> dict[str, bytes]:
    return cifar10() | {
        "cifar-10-batches-py/data_batch_1": pickled(batch(0, 4) | {b"labels": [10, 11, -1, 0]})
    }


OTHER_ARCHIVES: dict[str, Callable[[], dict[str, bytes]]] = {
    "a batch missing": lambda: {
        name: content for name, content in cifar10().items() if "batch_3" not in name
    },
    "a label without a class": other_labels,
    "an extra member": lambda: (
        cifar10() | {"cifar-10-batches-py/data_batch_6": pickled(batch(0, 4))}
    ),
    "a member that leads outside": lambda: cifar10() | {"../evil": b""},
}


@pytest.mark.parametrize("name", OTHER_ARCHIVES)
@pytest.mark.parametrize("how", ["source", "mirror"])
def test_17_another_archive_is_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    bring(dataset="digits")
    other = packed("tar.gz", OTHER_ARCHIVES[name]())
    published = packed("tar.gz", cifar10())
    publish(monkeypatch, published)
    monkeypatch.setitem(
        download.PUBLISHED, "CIFAR10", replace(download.PUBLISHED["CIFAR10"], size=len(other))
    )
    opened: list[Path] = []
    monkeypatch.setattr(download, "open_tree", opened.append)
    monkeypatch.setattr(cifar_module, "ArrayUnpickler", opened.append)
    (tmp_path / "copy.tar.gz").write_bytes(other)
    with serving(other) as server:
        place = (
            {"mirrors": [server.url]}
            if how == "mirror"
            else {"source": str(tmp_path / "copy.tar.gz")}
        )
        line = fails(dataset="CIFAR10", image_size=32, **place)
    assert sha256(published).hexdigest() in line
    assert sha256(other).hexdigest() in line
    assert not opened
    assert not Path("data/archives/cifar-10-python.tar.gz").exists()


@pytest.mark.parametrize("source", ["nowhere.tar.gz", "."])
def test_a_copy_that_is_not_there_is_an_error(source: str) -> None:
    line = fails(dataset="CIFAR10", image_size=32, source=source)
    assert (
        f"download.source: {source}: no such file; give cifar-10-python.tar.gz, or null to fetch it"
        in line
    )


class Bomb:
    """What runs code when it is unpickled."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


BOMBS = {
    "os": Bomb(os.mkdir, "exploded"),
    "builtins": Bomb(exec, "import os; os.mkdir('exploded')"),
    "numpy": Bomb(np.save, "exploded.npy", [1]),
    "in a list": [1, [Bomb(os.mkdir, "exploded")]],
    "a key": {Bomb(os.mkdir, "exploded"): 1},
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("member", ["data_batch_5", "batches.meta"])
def test_18_a_pickle_that_would_run_code_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, member: str
) -> None:
    """With the published checksum, so that the second lock alone holds."""
    bomb = pickle.dumps(BOMBS[name], protocol=2)
    archive = packed("tar.gz", cifar10() | {f"cifar-10-batches-py/{member}": bomb})
    publish(monkeypatch, archive)
    (tmp_path / "copy.tar.gz").write_bytes(archive)
    line = fails(dataset="CIFAR10", image_size=32, source=str(tmp_path / "copy.tar.gz"))
    assert "a pickle asks for " in line
    assert not list(Path().glob("exploded*"))
    pickle.loads(bomb)  # the bomb is a real one
    assert len(list(Path().glob("exploded*"))) == 1
