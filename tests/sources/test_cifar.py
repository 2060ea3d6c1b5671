"""CIFAR's archives: genuine ones are read pixel by pixel, others are refused unopened."""

import io
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import download
from downloads import bring, fails, packed
from helpers import lay_out
from misbehaving_server import Server, serving
from sources import cifar

pytestmark = pytest.mark.usefixtures("project")


class Python2Pickler(pickle._Pickler):
    """Pickle as Python 2 did, which wrote CIFAR's archives.

    Its strings are bytes, and numpy's modules have their old names.
    """

    def save_bytes(self, value: bytes) -> None:
        header = (
            b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
        )
        self.write(header + value)  # type: ignore[attr-defined]
        self.memoize(value)  # type: ignore[attr-defined]

    dispatch = {**pickle._Pickler.dispatch, bytes: save_bytes}  # type: ignore[dict-item]  # noqa: RUF012 - as in pickle


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
    """Return five batches of four images and a test batch of six, by member."""
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
        cifar.PUBLISHED[dataset],
        size=len(archive),
        sha256=sha256(archive).hexdigest(),
        urls=tuple(server.url for server in servers),
    )
    monkeypatch.setitem(cifar.PUBLISHED, dataset, published)


def is_the_noise(found: dict[str, Any]) -> None:
    assert (found["train_images"].reshape(20, 3072) == NOISE[:20]).all()
    assert (found["test_images"].reshape(6, 3072) == NOISE[20:]).all()
    assert found["train_labels"].tolist() == [number % 10 for number in range(20)]
    assert found["test_labels"].tolist() == [number % 10 for number in range(20, 26)]
    assert found["train_files"] == [f"{number}.png" for number in range(20)]
    assert found["test_files"] == [f"{number}.png" for number in range(20, 26)]
    digest = blake2b(NOISE[20].tobytes(), digest_size=8).digest()
    assert int(found["test_keys"][0]) == int.from_bytes(digest, "little")


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
        "fit": "squash",
        "counts": {"train": 20, "test": 6},
        "source": "cifar-10-python.tar.gz",
        "sha256": sha256(archive).hexdigest(),
        "source_sizes": {key: [32, 32] for key in ["smallest", "median", "largest"]},
    }
    assert smaller["train_images"].shape == (20, 3, 16, 16)
    assert (smaller["train_keys"] == found["train_keys"]).all()
    means = NOISE[:20].reshape(20, 3, 16, 2, 16, 2).mean(axis=(3, 5))
    assert np.corrcoef(means.ravel(), smaller["train_images"].ravel())[0, 1] > 0.9
    assert smaller["train_labels"].tolist() == found["train_labels"].tolist()
    assert Path("data/archives/cifar-10-python.tar.gz").read_bytes() == archive


def test_cifar10_is_fetched_from_mirrors_that_the_user_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = packed("tar.gz", cifar10())
    with serving(archive) as published, serving(archive) as own:
        publish(monkeypatch, archive, "CIFAR10", published)
        is_the_noise(bring(dataset="CIFAR10", image_size=32, mirrors=[own.url]))
        assert not published.requests


def test_a_local_copy_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed("tar.gz", cifar10())
    publish(monkeypatch, archive)
    path = lay_out(tmp_path / "mine", {"my copy.tar.gz": archive}) / "my copy.tar.gz"
    is_the_noise(bring(dataset="CIFAR10", image_size=32, source=str(path)))
    path.rename(path.with_name("cifar-10-python.tar.gz"))  # is found in its directory
    is_the_noise(bring(dataset="CIFAR10", image_size=32, source=str(path.parent)))
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
def test_another_archive_is_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    bring(dataset="digits")
    other = packed("tar.gz", OTHER_ARCHIVES[name]())
    published = packed("tar.gz", cifar10())
    publish(monkeypatch, published)
    monkeypatch.setitem(
        cifar.PUBLISHED, "CIFAR10", replace(cifar.PUBLISHED["CIFAR10"], size=len(other))
    )
    opened: list[Path] = []
    monkeypatch.setattr(download, "open_tree", opened.append)
    monkeypatch.setattr(cifar, "ArrayUnpickler", opened.append)
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


@pytest.mark.timeout(20)  # reading a pipe waits forever
@pytest.mark.parametrize("source", ["nowhere.tar.gz", "pipe", "/dev/zero"])
def test_a_copy_that_is_no_file_is_an_error(source: str) -> None:
    os.mkfifo("pipe")
    line = fails(dataset="CIFAR10", image_size=32, source=source)
    assert (
        f"download.source: {source}: no such file; name a copy of cifar-10-python.tar.gz, or a "
        "directory such as data/images to fetch it" in line
    )


class Bomb:
    """An object that runs code when it is unpickled."""

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
def test_a_pickle_that_would_run_code_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, member: str
) -> None:
    """The archive has the published checksum, so that the second lock alone holds."""
    bomb = pickle.dumps(BOMBS[name], protocol=2)
    archive = packed("tar.gz", cifar10() | {f"cifar-10-batches-py/{member}": bomb})
    publish(monkeypatch, archive)
    (tmp_path / "copy.tar.gz").write_bytes(archive)
    line = fails(dataset="CIFAR10", image_size=32, source=str(tmp_path / "copy.tar.gz"))
    assert "a pickle asks for " in line
    assert not list(Path().glob("exploded*"))
    pickle.loads(bomb)  # the bomb is a real one
    assert len(list(Path().glob("exploded*"))) == 1
