"""The data set between download and the other stages: uint8 arrays and dataset.json."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from common.errors import UserError
from common.files import ARRAYS
from common.params import Download
from common.section import Count, Fit, Section

Split = Literal["train", "test"]
Array = npt.NDArray[Any]


class Dataset(Section):
    """What dataset.json says."""

    name: str
    classes: list[str]  # in label order
    image_size: int  # pixels
    fit: Fit
    counts: dict[Split, Count]
    source: str
    sha256: str | None  # of the source, when it is a file


class ImageFile:
    """Pictures in a .npy file, uint8 (N, 3, H, W), read by index.

    Not by mapping the file into memory: that would count all of it as this process's memory, and a shuffled epoch over
    mapped pages waits for a page fault a picture, which took up to 70 times as long as reading.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        mapped = np.lib.format.open_memmap(path, "r")  # checks header and length
        if not mapped.flags.c_contiguous:
            raise ValueError(f"{path.name} is in Fortran's order")
        self.shape, self.dtype, self.offset = mapped.shape, mapped.dtype, mapped.offset
        self.file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return int(self.shape[0])

    def read(self, indices: Sequence[int] | Array) -> Array:
        """Those pictures, (len(indices), 3, H, W)."""
        images = np.empty((len(indices), *self.shape[1:]), self.dtype)
        stride = images.nbytes // max(1, len(images))
        for image, index in zip(images, indices, strict=True):
            self.file.seek(self.offset + int(index) * stride)
            self.file.readinto(image)
        return images


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
    """Return the path of the images' names in their source: one JSON string per line, in the order of the arrays."""
    return directory / f"{split}_files.jsonl"


def keys_path(split: Split, directory: Path = ARRAYS) -> Path:
    """Return the path of the keys, uint64 (N,): the hash of each image's content or group, which decides splits."""
    return directory / f"{split}_keys.npy"


def load_images(split: Split, download: Download | None = None) -> LabelledImages:
    """Open a split as download wrote it.

    Args:
        download: the parameters that the arrays must have been made with.

    Raises:
        UserError: A file is missing or damaged, or the files do not belong together or to ``download``.
    """
    with damage_reported():
        dataset = Dataset.model_validate_json(dataset_path().read_bytes())
        images = ImageFile(images_path(split))
        labels = np.array(np.lib.format.open_memmap(labels_path(split), "r"))
    if download:
        check_agreement(dataset, download)
    size = dataset.image_size
    expected = (dataset.counts.get(split, 0), 3, size, size)
    if (
        images.shape != expected
        or images.dtype != np.uint8
        or labels.shape != expected[:1]
        or labels.dtype != np.int64
    ):
        raise UserError(
            f"{ARRAYS}: {split} holds {images.dtype} {images.shape} with labels {labels.dtype} {labels.shape}, "
            f"dataset.json says uint8 {expected}; run the download stage again"
        )
    if labels.min() < 0 or labels.max() >= len(dataset.classes):
        raise UserError(
            f"{labels_path(split)}: labels {labels.min()} to {labels.max()}, but {len(dataset.classes)} classes; "
            "run the download stage again"
        )
    return LabelledImages(dataset, images, labels)


def check_agreement(dataset: Dataset, download: Download) -> None:
    """Check that the arrays were made with these parameters, as far as dataset.json tells."""
    for key, has, wanted in [
        (
            "dataset",
            dataset.name,
            dataset.name if download.dataset == "folder" else download.dataset,
        ),
        ("image_size", dataset.image_size, download.image_size),
        ("fit", dataset.fit, download.fit),
    ]:
        if has != wanted:
            raise UserError(
                f"{ARRAYS}: made with download.{key} {has}, but params.yaml has {wanted}; "
                "run the download stage again"
            )


def read_keys(split: Split) -> Array:
    """Return the keys of a split, uint64 (N,).

    Raises:
        UserError: The file is missing or damaged.
    """
    with damage_reported():
        keys = np.array(np.lib.format.open_memmap(keys_path(split), "r"))
        if keys.dtype != np.uint64 or keys.ndim != 1:
            raise ValueError(f"{keys_path(split).name} holds {keys.dtype} {keys.shape}")
    return keys


def read_file_names(split: Split, indices: Sequence[int] | Array | None = None) -> list[str]:
    """Return the names of the images at ``indices``, in that order, or of all.

    The file is read line by line, and only the names asked for are kept.

    Raises:
        UserError: The file is missing or damaged, or has no such line.
    """
    wanted = None if indices is None else set(map(int, indices))
    with damage_reported(), files_path(split).open("rb") as file:
        names = {
            number: str(json.loads(line))
            for number, line in enumerate(file)
            if wanted is None or number in wanted
        }
        if wanted and not wanted <= names.keys():
            raise ValueError(
                f"{files_path(split).name} has no line {max(wanted - names.keys()) + 1}"
            )
    return list(names.values()) if indices is None else [names[int(index)] for index in indices]


@contextmanager
def damage_reported() -> Iterator[None]:
    """Turn what reading a missing or damaged file raises into a UserError."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such file; run the download stage first") from None
    except (ValidationError, ValueError) as error:
        raise UserError(
            f"{ARRAYS}: damaged ({str(error).splitlines()[0]}); run the download stage again"
        ) from None
