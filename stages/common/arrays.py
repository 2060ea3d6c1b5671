"""The data set between download and the other stages: uint8 arrays and dataset.json."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from common.errors import UserError
from common.explain import explain
from common.files import ARRAYS, check_is_file
from common.params import Download
from common.section import Count, Fit, Section

Split = Literal["train", "test"]
Array = npt.NDArray[Any]


class Dataset(Section):
    """The content of dataset.json."""

    name: str
    classes: list[str]  # in label order
    image_size: int  # pixels
    fit: Fit
    counts: dict[Split, Count]
    source: str
    sha256: str | None  # of the source, if that is a file
    # Width and height that images have in the source, by their number of pixels.
    source_sizes: dict[Literal["smallest", "median", "largest"], tuple[Count, Count]] | None = None


def open_array(path: Path) -> np.memmap[Any, Any]:
    """Map a .npy file into memory.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is damaged.
    """
    try:
        return np.lib.format.open_memmap(path, "r")
    except (TokenError, SyntaxError, OverflowError, TypeError) as error:  # of a damaged header
        raise ValueError(f"{path.name}: {error}") from None


class ImageFile:
    """Images in a .npy file, uint8 (N, 3, H, W), read by index.

    The file is not mapped into memory: that would count all of it as this process's memory, and a
    shuffled epoch would wait for one page fault per image, which took up to 70 times as long.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is damaged.
    """

    def __init__(self, path: Path) -> None:
        mapped = open_array(path)
        if not mapped.flags.c_contiguous:
            raise ValueError(f"{path.name} is in Fortran order")
        self.path, self.shape, self.dtype = path, mapped.shape, mapped.dtype
        self.offset, self.size = mapped.offset, mapped.offset + mapped.nbytes  # bytes
        self.file = path.open("rb", buffering=0)
        if os.fstat(self.file.fileno()).st_size != self.size:
            raise ValueError(f"{path.name} is longer than its header says")

    def __len__(self) -> int:
        return int(self.shape[0])

    def read(self, indices: Sequence[int] | Array) -> Array:
        """Return the images at ``indices``, uint8 (len(indices), 3, H, W).

        Raises:
            UserError: The file has become shorter or longer since it was opened.
        """
        images = np.empty((len(indices), *self.shape[1:]), self.dtype)
        stride = images.nbytes // max(1, len(images))
        complete = os.fstat(self.file.fileno()).st_size == self.size
        for image, index in zip(images, indices, strict=True):
            self.file.seek(self.offset + int(index) * stride)
            complete &= self.file.readinto(image) == stride
        if not complete:
            raise UserError(
                f"{self.path}: changed while it was read; run the download stage again, "
                "and not beside another stage"
            )
        return images


class Rows(Protocol):
    """What a training reads by index: images, or what was computed from them."""

    shape: tuple[int, ...]
    dtype: Any  # numpy's

    def __len__(self) -> int: ...
    def read(self, indices: Sequence[int] | Array) -> Array: ...


@dataclass(frozen=True)
class LabelledImages:
    """One split of a data set; labels are int64, (N,)."""

    dataset: Dataset
    images: ImageFile
    labels: Array


def images_path(split: Split, directory: Path = ARRAYS) -> Path:
    return directory / f"{split}_images.npy"


def labels_path(split: Split, directory: Path = ARRAYS) -> Path:
    return directory / f"{split}_labels.npy"


def dataset_path(directory: Path = ARRAYS) -> Path:
    return directory / "dataset.json"


def files_path(split: Split, directory: Path = ARRAYS) -> Path:
    """Return the path of the images' names: one JSON string per line, in the order of the arrays.

    A name is what the image has in its source, such as a path in a folder.
    """
    return directory / f"{split}_files.jsonl"


def keys_path(split: Split, directory: Path = ARRAYS) -> Path:
    """Return the path of the images' keys, uint64 (N,): the hash of the content or of the group.

    The key decides on which side of a split an image lands.
    """
    return directory / f"{split}_keys.npy"


def load_images(split: Split, download: Download | None = None) -> LabelledImages:
    """Open a split as download wrote it, with ``download`` as its parameters.

    Raises:
        UserError: A file is missing or damaged; the files do not belong together; they were made
            with other parameters.
    """
    for path in (dataset_path(), images_path(split), labels_path(split)):
        check_is_file(path)
    with damage_reported():
        dataset = Dataset.model_validate_json(dataset_path().read_bytes())
        images = ImageFile(images_path(split))
        labels = np.array(open_array(labels_path(split)))
        check_shapes(split, dataset, images, labels)
    if download:
        check_agreement(dataset, download)
    return LabelledImages(dataset, images, labels)


def check_shapes(split: Split, dataset: Dataset, images: ImageFile, labels: Array) -> None:
    """Check that the arrays are those that dataset.json describes.

    Raises:
        ValueError: They are not.
    """
    count, size = dataset.counts.get(split, 0), dataset.image_size
    found = f"{images.dtype} {images.shape} with labels {labels.dtype} {labels.shape}"
    wanted = f"uint8 {(count, 3, size, size)} with labels int64 {(count,)}"
    if found != wanted:
        raise ValueError(f"{split} holds {found}, dataset.json says {wanted}")
    if count and not 0 <= labels.min() <= labels.max() < len(dataset.classes):
        raise ValueError(
            f"{labels_path(split).name} holds {labels.min()} to {labels.max()}, but there are "
            f"{len(dataset.classes)} classes"
        )


def check_agreement(dataset: Dataset, download: Download) -> None:
    """Check that the arrays were made with these parameters, as far as dataset.json tells."""
    own = download.dataset == "folder"  # then the name is the folder's
    for key, made_with, wanted in [
        ("dataset", dataset.name, dataset.name if own else download.dataset),
        ("image_size", dataset.image_size, download.image_size),
        ("fit", dataset.fit, download.fit),
    ]:
        if made_with != wanted:
            raise UserError(
                f"{ARRAYS}: made with {key} {made_with}, and download.{key} is {wanted}; run the "
                "download stage again"
            )


def read_keys(split: Split) -> Array:
    """Return the keys of a split, uint64 (N,).

    Raises:
        UserError: The file is missing or damaged.
    """
    check_is_file(keys_path(split))
    with damage_reported():
        keys = np.array(open_array(keys_path(split)))
        if keys.dtype != np.uint64 or keys.ndim != 1:
            raise ValueError(f"{keys_path(split).name} holds {keys.dtype} {keys.shape}")
    return keys


def read_file_names(split: Split, indices: Sequence[int] | Array | None = None) -> list[str]:
    """Return the names of the images at ``indices``, in that order, or of all images.

    The file is read line by line, and only the names asked for are kept in memory.

    Raises:
        UserError: The file is missing or damaged, or has no such line.
    """
    check_is_file(files_path(split))
    path, wanted = files_path(split), None if indices is None else set(map(int, indices))
    names = {}
    with damage_reported(), path.open("rb") as file:
        for number, line in enumerate(file):
            if wanted is None or number in wanted:
                names[number] = json.loads(line)
        if absent := (wanted or set()) - names.keys():
            raise ValueError(f"{path.name} has no line for image {max(absent)}")
        if not all(isinstance(name, str) for name in names.values()):
            raise ValueError(f"{path.name} holds something else than strings")
    return [names[int(index)] for index in (names if indices is None else indices)]


@contextmanager
def damage_reported() -> Iterator[None]:
    """Turn what reading a missing or damaged file raises into a UserError."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such file; run the download stage first") from None
    except (ValueError, RecursionError) as error:
        reason = explain(error, Dataset)[0] if isinstance(error, ValidationError) else str(error)
        raise UserError(f"{ARRAYS}: damaged ({reason}); run the download stage again") from None
